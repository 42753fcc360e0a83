use super::{S3Blobs, port_error};
use crate::ports::{Files, Found, PortError};
use async_trait::async_trait;
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use std::time::Duration;

fn nameless(what: &str) -> PortError {
    PortError::Unavailable(anyhow::anyhow!("S3 answered without {what}"))
}

fn number_of(size: Option<i64>) -> Result<u64, PortError> {
    size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| nameless("a size"))
}

#[async_trait]
impl Files for S3Blobs {
    async fn find(&self, key: &str) -> Result<Option<Found>, PortError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => {
                let size = number_of(head.content_length)?;
                Ok(Some(Found { size, tag: head.e_tag.ok_or_else(|| nameless("an entity tag"))? }))
            }
            Err(error) if error.as_service_error().is_some_and(|service| service.is_not_found()) => Ok(None),
            Err(error) => Err(port_error(error)),
        }
    }

    async fn read(&self, key: &str, tag: &str, from: u64, len: u64) -> Result<Vec<u8>, PortError> {
        let range = format!("bytes={from}-{}", from.saturating_add(len).saturating_sub(1));
        let object = self.client.get_object().bucket(&self.bucket).key(key).if_match(tag).range(range).send().await;
        let bytes = object.map_err(port_error)?.body.collect().await;
        bytes.map(|bytes| bytes.to_vec()).map_err(|error| PortError::Unavailable(error.into()))
    }

    async fn upload_url(&self, key: &str, valid: Duration) -> Result<String, PortError> {
        let config = PresigningConfig::expires_in(valid).map_err(|error| PortError::Refused(error.into()))?;
        let signed = self.client.put_object().bucket(&self.bucket).key(key).presigned(config).await;
        signed.map(|request| request.uri().to_owned()).map_err(port_error)
    }

    async fn begin(&self, key: &str, content_type: &str) -> Result<String, PortError> {
        let begin = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(content_type);
        begin.send().await.map_err(port_error)?.upload_id.ok_or_else(|| nameless("an upload id"))
    }

    async fn part(&self, key: &str, upload: &str, number: u16, body: Vec<u8>) -> Result<String, PortError> {
        let part = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload);
        let part = part.part_number(number.into()).body(ByteStream::from(body));
        part.send().await.map_err(port_error)?.e_tag.ok_or_else(|| nameless("an entity tag"))
    }

    async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<(), PortError> {
        let parts =
            (1..).zip(parts).map(|(number, tag)| CompletedPart::builder().part_number(number).e_tag(tag).build());
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(key);
        match complete.upload_id(upload).multipart_upload(whole).send().await {
            Ok(_) => Ok(()),
            // An earlier, equal call completed it.
            Err(error)
                if error.as_service_error().and_then(CompleteMultipartUploadError::code) == Some("NoSuchUpload")
                    && self.find(key).await?.is_some() =>
            {
                Ok(())
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn remove(&self, key: &str) -> Result<(), PortError> {
        self.client.delete_object().bucket(&self.bucket).key(key).send().await.map(drop).map_err(port_error)
    }
}
