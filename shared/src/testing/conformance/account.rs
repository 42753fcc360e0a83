use crate::ports::{Identities, SendingAccount};

/// Asks an account of a development mailbox, or one in memory.
///
/// # Panics
/// When it differs from what [`SendingAccount`] and [`Identities`] say.
pub async fn account(account: &dyn SendingAccount, identities: &dyn Identities) {
    let answer = account.account().await.expect("account");
    assert!(answer.production_access && answer.sending_enabled && answer.max_send_rate > 0.0, "{answer:?}");
    for known in ["example.com", "news@example.com"] {
        let identity = identities.identity(known).await.expect("identity").expect("it is known");
        assert!(identity.verified && identity.dkim, "{identity:?}");
    }
    for unknown in ["mill.invalid", "news@mill.invalid", "invalid"] {
        assert_eq!(identities.identity(unknown).await.expect("identity"), None, "{unknown}");
    }
}
