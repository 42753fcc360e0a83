//! The tenants' secrets, kept for a while.

use jiff::{SignedDuration, Timestamp};
use millrace::domain::id::Tenant;
use millrace::domain::webhook::{Secret, Secrets};
use millrace::ports::{PortError, WebhookSecrets};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How long secrets are used without another look: so long a secret that was replaced may still sign alone.
const KEEP: SignedDuration = SignedDuration::from_secs(60);
/// How many tenants' secrets are kept at most.
const MOST: usize = 500;

/// Secrets with those used lately in memory. A tenant that has none gets one.
pub(crate) struct SecretBox {
    store: Arc<dyn WebhookSecrets>,
    draw: fn() -> Result<Secret, PortError>,
    found: Mutex<HashMap<Tenant, (Secrets, Timestamp)>>,
}

impl SecretBox {
    /// An empty memory in front of `store`. `draw` makes a new secret.
    pub(crate) fn new(store: Arc<dyn WebhookSecrets>, draw: fn() -> Result<Secret, PortError>) -> Self {
        Self { store, draw, found: Mutex::default() }
    }

    /// A tenant's secrets.
    pub(crate) async fn get(&self, tenant: &Tenant, now: Timestamp) -> Result<Secrets, PortError> {
        if let Some(secrets) = self.kept(tenant, now) {
            return Ok(secrets);
        }
        let secrets = self.store.ensure(tenant, &(self.draw)()?).await?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MOST {
            found.clear();
        }
        found.insert(tenant.clone(), (secrets.clone(), now));
        Ok(secrets)
    }

    fn kept(&self, tenant: &Tenant, now: Timestamp) -> Option<Secrets> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |since: &Timestamp| (SignedDuration::ZERO..KEEP).contains(&now.duration_since(*since));
        found.get(tenant).filter(|(_, since)| fresh(since)).map(|(secrets, _)| secrets.clone())
    }
}
