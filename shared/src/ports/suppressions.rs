use super::PortError;
use crate::domain::address::EmailAddress;
use crate::domain::id::Tenant;
use crate::domain::suppression::{Reason, Suppression};
use async_trait::async_trait;
use jiff::Timestamp;

/// Which addresses of a tenant get no newsletter. Addresses are kept as keyed hashes only.
#[async_trait]
pub trait Suppressions: Send + Sync {
    /// Whether the addresses are suppressed, as of the last write; at most 100. The answer has one entry for each, in order.
    async fn check(&self, tenant: &Tenant, addresses: &[EmailAddress]) -> Result<Vec<Option<Suppression>>, PortError>;

    /// Suppresses an address. The first time of each reason stays.
    async fn suppress(
        &self,
        tenant: &Tenant,
        address: &EmailAddress,
        reason: Reason,
        at: Timestamp,
    ) -> Result<(), PortError>;

    /// Counts that a mail, known by this name, bounced softly: each mail once. `true` when the address is suppressed for it,
    /// see [`SOFT_BOUNCES`](crate::domain::suppression::SOFT_BOUNCES).
    async fn soft_bounce(
        &self,
        tenant: &Tenant,
        address: &EmailAddress,
        mail: &str,
        at: Timestamp,
    ) -> Result<bool, PortError>;

    /// Takes back these reasons. Others stay.
    async fn lift(&self, tenant: &Tenant, address: &EmailAddress, reasons: &[Reason]) -> Result<(), PortError>;
}
