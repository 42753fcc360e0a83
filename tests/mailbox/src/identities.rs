//! The senders the mailbox knows: every address and domain is verified and signed, but those under `.invalid` (RFC 2606),
//! which nobody can own.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::ses::Refused;

/// Whether mail may be sent from an address or a domain, with or without a name before it.
pub(crate) fn is_verified(sender: &str) -> bool {
    let address = sender.rsplit('<').next().unwrap_or_default().trim_end_matches(['>', ' ']);
    let domain = address.rsplit('@').next().unwrap_or_default();
    domain != "invalid" && !domain.to_ascii_lowercase().ends_with(".invalid")
}

/// `GetEmailIdentity`.
pub(crate) async fn get(Path(name): Path<String>) -> Result<Json<Value>, Refused> {
    if !is_verified(&name) {
        return Err(Refused {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundException",
            message: format!("Email identity {name} does not exist."),
        });
    }
    let kind = if name.contains('@') { "EMAIL_ADDRESS" } else { "DOMAIN" };
    Ok(Json(json!({
        "IdentityType": kind,
        "FeedbackForwardingStatus": true,
        "VerifiedForSendingStatus": true,
        "VerificationStatus": "SUCCESS",
        "DkimAttributes": {"SigningEnabled": true, "Status": "SUCCESS", "SigningAttributesOrigin": "AWS_SES"},
        "MailFromAttributes": {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"},
        "Policies": {},
        "Tags": [],
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_can_own_is_not_verified() {
        for sender in ["example.com", "news@example.com", "The Mill <news@example.com>", "x.invalid.example"] {
            assert!(is_verified(sender), "{sender}");
        }
        for sender in ["invalid", "news@mill.invalid", "The Mill <news@Mill.INVALID>"] {
            assert!(!is_verified(sender), "{sender}");
        }
        assert_eq!(get(Path("news@mill.invalid".into())).await.unwrap_err().kind, "NotFoundException");
        assert_eq!(get(Path("example.com".into())).await.unwrap()["IdentityType"], "DOMAIN");
    }
}
