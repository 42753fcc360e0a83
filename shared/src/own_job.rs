//! Jobs that Millrace submits by itself.

use crate::accept::{NewJob, fingerprint};
use crate::domain::id::{JobId, Tenant};
use crate::domain::lane::Priority;
use crate::job::Job;
use crate::jobs::kind;
use jiff::Timestamp;

/// The job, to be accepted. `id` is derived from what makes it unique, so that a repeat is the same job.
///
/// # Panics
/// When the kind is not in the list of kinds, which a test would have shown.
pub fn own_job<J: Job>(id: JobId, tenant: &Tenant, job: &J, run_at: Option<Timestamp>) -> NewJob {
    let payload = serde_json::json!(job);
    NewJob {
        id,
        repeatable: true,
        fingerprint: fingerprint(&payload),
        tenant: tenant.clone(),
        kind: kind(J::KIND).expect("every kind is in the list"),
        payload,
        priority: Priority::Normal,
        ordering_key: None,
        run_at,
        expires_at: None,
        max_attempts: None,
        timeout: None,
        callback_url: None,
        group: None,
        tags: Vec::new(),
    }
}
