use super::item::{self, ms, n, s};
use super::port_error;
use crate::ports::{Mail, MailError, MailLedger, Mailer, Opened, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use aws_sdk_sesv2::error::SdkError;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use jiff::Timestamp;
use std::time::Duration;

/// Which configuration set mails name: by this SES knows what to tell of them, and whether to track opens and clicks.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationSets {
    /// Of all mails that are not tracked; `None` is none, and then no events arrive.
    pub plain: Option<String>,
    /// Of those that are tracked; `None` is that of the others.
    pub tracked: Option<String>,
}

/// Sends through SES v2, one request for each mail, never repeated by the SDK.
#[derive(Clone)]
pub struct SesMailer {
    client: aws_sdk_sesv2::Client,
    sets: ConfigurationSets,
}

impl SesMailer {
    /// How long one send may take.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A mailer. The client must have its retries off.
    #[must_use]
    pub fn new(client: aws_sdk_sesv2::Client, sets: ConfigurationSets) -> Self {
        Self { client, sets }
    }
}

fn utf8(text: &str) -> Result<Content, MailError> {
    Content::builder().charset("UTF-8").data(text).build().map_err(|error| MailError::Rejected(error.to_string()))
}

#[async_trait]
impl Mailer for SesMailer {
    async fn send(&self, mail: &Mail) -> Result<String, MailError> {
        let rejected = |error: aws_sdk_sesv2::error::BuildError| MailError::Rejected(error.to_string());
        let mut message = Message::builder()
            .subject(utf8(&mail.subject)?)
            .body(Body::builder().text(utf8(&mail.text)?).html(utf8(&mail.html)?).build());
        for (name, value) in &mail.headers {
            message = message.headers(MessageHeader::builder().name(name).value(value).build().map_err(rejected)?);
        }
        let tracked = self.sets.tracked.as_ref().filter(|_| mail.tracked);
        let mut call = self
            .client
            .send_email()
            .from_email_address(&mail.from)
            .set_reply_to_addresses(mail.reply_to.clone().map(|address| vec![address]))
            .destination(Destination::builder().to_addresses(&mail.to).build())
            .content(EmailContent::builder().simple(message.build()).build())
            .set_configuration_set_name(tracked.or(self.sets.plain.as_ref()).cloned());
        for (name, value) in &mail.tags {
            call = call.email_tags(MessageTag::builder().name(name).value(value).build().map_err(rejected)?);
        }
        match call.send().await {
            Ok(answer) => match answer.message_id {
                Some(id) => Ok(id),
                None => Err(MailError::Unknown("an answer without a message id".into())),
            },
            Err(error) => Err(classify(&error, &mail.to)),
        }
    }
}

/// Sorts an error about a mail `to` somebody by whether SES may have accepted it. Texts name codes, never addresses.
fn classify<R>(error: &SdkError<SendEmailError, R>, to: &str) -> MailError {
    match error {
        SdkError::ConstructionFailure(_) => MailError::Rejected("the request could not be built".into()),
        SdkError::DispatchFailure(failure) => {
            let refused = failure.as_connector_error().is_some_and(|error| connection_refused(error));
            if refused {
                MailError::NotSent("connection refused".into())
            } else {
                MailError::Unknown("the connection broke".into())
            }
        }
        SdkError::ServiceError(service) => {
            let inner = service.err();
            let code = inner.code().unwrap_or("no code").to_owned();
            let text = inner.message().unwrap_or_default();
            match inner {
                SendEmailError::TooManyRequestsException(_) | SendEmailError::LimitExceededException(_)
                    if is_quota(text) =>
                {
                    MailError::Quota(code)
                }
                SendEmailError::TooManyRequestsException(_) => MailError::Throttled(code),
                SendEmailError::AccountSuspendedException(_) => MailError::Halted(code),
                // The same words for the account and for a configuration set: the latter is the sender's own.
                SendEmailError::SendingPausedException(_) if text.contains("onfiguration") => MailError::Sender(code),
                SendEmailError::SendingPausedException(_) => MailError::Halted(code),
                SendEmailError::MailFromDomainNotVerifiedException(_)
                | SendEmailError::LimitExceededException(_)
                | SendEmailError::NotFoundException(_) => MailError::Sender(code),
                SendEmailError::MessageRejected(_) if text.contains("not verified") && !is_about(text, to) => {
                    MailError::Sender(code)
                }
                SendEmailError::MessageRejected(_) | SendEmailError::BadRequestException(_) => {
                    MailError::Rejected(code)
                }
                _ => match code.as_str() {
                    "Throttling" | "ThrottlingException" if is_quota(text) => MailError::Quota(code),
                    "Throttling" | "ThrottlingException" => MailError::Throttled(code),
                    "AccessDeniedException" => MailError::Halted(code),
                    // One process's credentials or clock: others go on, and so does this one when it has new ones.
                    "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
                        MailError::NotSent(code)
                    }
                    _ => MailError::Unknown(code),
                },
            }
        }
        _ => MailError::Unknown("no clear answer".into()),
    }
}

/// Whether the identities that SES has not verified are the recipient's alone, as in its sandbox: "The following identities
/// failed the check in region US-EAST-1: a@example.com, b@example.com".
fn is_about(text: &str, to: &str) -> bool {
    let identities = text.rsplit_once(": ").map_or("", |(_, identities)| identities);
    identities.split(", ").all(|identity| identity.trim().eq_ignore_ascii_case(to))
}

/// Whether SES speaks of the day's quota and not of the rate: "Daily message quota exceeded".
fn is_quota(text: &str) -> bool {
    text.contains("aily") || text.contains("quota")
}

/// Whether the cause is one that only a connection has that was never made. Every other broken connection may have carried
/// the request.
fn connection_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The ledger of single mails in the mail table.
#[derive(Clone)]
pub struct DynamoMailLedger {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

/// Kept longer than any message may wait on a queue and its dead letters together.
const KEEP: Duration = Duration::from_secs(45 * 24 * 3_600);

impl DynamoMailLedger {
    /// The ledger in `table`.
    #[must_use]
    pub fn new(client: aws_sdk_dynamodb::Client, table: String) -> Self {
        Self { client, table }
    }

    fn update(&self, mail: &str) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("pk", s(format!("MAIL#{mail}"))).key("sk", s("META"))
    }
}

#[async_trait]
impl MailLedger for DynamoMailLedger {
    async fn open(&self, mail: &str, now: Timestamp) -> Result<Opened, PortError> {
        let call = self
            .update(mail)
            .update_expression("SET intent_at = :now, expires_at = :keep")
            .condition_expression("attribute_not_exists(intent_at) AND attribute_not_exists(message_id)")
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":keep", n((now + KEEP).as_second()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match call.send().await {
            Ok(_) => Ok(Opened::Fresh),
            Err(error) => match refused(error)? {
                Some(old) => match item::optional_text(&old, "message_id") {
                    Some(id) => Ok(Opened::Sent { message_id: id.to_owned() }),
                    None => Ok(Opened::Unsettled { since: item::time(&old, "intent_at")? }),
                },
                None => Err(item::corrupt("intent_at")),
            },
        }
    }

    async fn reopen(&self, mail: &str, since: Timestamp, now: Timestamp) -> Result<bool, PortError> {
        let call = self
            .update(mail)
            .update_expression("SET intent_at = :now, expires_at = :keep")
            .condition_expression("intent_at = :since AND attribute_not_exists(message_id)")
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":since", ms(since))
            .expression_attribute_values(":keep", n((now + KEEP).as_second()));
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => refused(error).map(|_| false),
        }
    }

    async fn withdraw(&self, mail: &str) -> Result<(), PortError> {
        let call = self
            .update(mail)
            .update_expression("REMOVE intent_at")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(message_id)");
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => refused(error).map(drop),
        }
    }

    async fn accepted(&self, mail: &str, message_id: &str, now: Timestamp) -> Result<(), PortError> {
        let call = self
            .update(mail)
            .update_expression(
                "SET message_id = if_not_exists(message_id, :id), sent_at = if_not_exists(sent_at, :now), \
                 expires_at = :keep",
            )
            .expression_attribute_values(":id", s(message_id))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":keep", n((now + KEEP).as_second()));
        call.send().await.map(drop).map_err(port_error)
    }
}

/// The item as it is, when the condition failed; any other error as such.
fn refused(
    error: SdkError<aws_sdk_dynamodb::operation::update_item::UpdateItemError>,
) -> Result<Option<item::Item>, PortError> {
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException;
    match error {
        SdkError::ServiceError(service) if service.err().is_conditional_check_failed_exception() => {
            match service.into_err() {
                ConditionalCheckFailedException(failed) => Ok(failed.item),
                _ => Ok(None),
            }
        }
        error => Err(port_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sesv2::types::error::MessageRejected;
    use aws_smithy_types::error::ErrorMetadata;

    #[test]
    fn in_the_sandbox_a_recipient_is_refused_and_not_the_sender() {
        let rejected = |identities: &str| {
            let text = format!(
                "Email address is not verified. The following identities failed the check in region EU-WEST-1: {identities}"
            );
            let said = ErrorMetadata::builder().code("MessageRejected").message(text).build();
            let error = SendEmailError::MessageRejected(MessageRejected::builder().meta(said).build());
            classify(&SdkError::service_error(error, ()), "Reader@example.com")
        };
        assert!(matches!(rejected("reader@example.com"), MailError::Rejected(_)));
        for sender in ["news@example.org", "news@example.org, reader@example.com", "<news@example.org>", ""] {
            assert!(matches!(rejected(sender), MailError::Sender(_)), "{sender}");
        }
    }
}
