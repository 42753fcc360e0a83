use super::port_error;
use crate::ports::{Blobs, PortError, PutBlob};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use std::time::Duration;

/// Objects of one S3 bucket.
#[derive(Clone)]
pub struct S3Blobs {
    pub(super) client: Client,
    pub(super) bucket: String,
}

impl S3Blobs {
    /// Objects in `bucket`.
    #[must_use]
    pub fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put_new(&self, key: &str, body: Vec<u8>, content_type: &str) -> Result<PutBlob, PortError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .content_type(content_type)
            .body(ByteStream::from(body));
        match put.send().await {
            Ok(_) => Ok(PutBlob::New),
            Err(error) if error.as_service_error().and_then(|e| e.code()) == Some("PreconditionFailed") => {
                Ok(PutBlob::Exists)
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn put(&self, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), PortError> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type);
        put.body(ByteStream::from(body)).send().await.map(drop).map_err(port_error)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        let object = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|service| service.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(port_error(error)),
        };
        let bytes = object.body.collect().await.map_err(|error| PortError::Unavailable(error.into()))?;
        Ok(Some(bytes.to_vec()))
    }

    async fn url(&self, key: &str, valid: Duration) -> Result<String, PortError> {
        let config = PresigningConfig::expires_in(valid).map_err(|error| PortError::Refused(error.into()))?;
        let signed = self.client.get_object().bucket(&self.bucket).key(key).presigned(config).await;
        signed.map(|request| request.uri().to_owned()).map_err(port_error)
    }
}
