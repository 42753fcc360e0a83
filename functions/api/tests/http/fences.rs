//! What a handler that panics or waits for ever costs: its own request, and no more.

use crate::site::Site;
use async_trait::async_trait;
use jiff::Timestamp;
use millrace::domain::id::UserId;
use millrace::domain::people::User;
use millrace::ports::{Added, PortError, Users};
use std::sync::Arc;

/// Users of which one makes the table panic and the others make it wait for ever.
struct Broken;

#[async_trait]
impl Users for Broken {
    async fn add(&self, _: &User) -> Result<Added<User>, PortError> {
        std::future::pending().await
    }

    async fn get(&self, id: &UserId) -> Result<Option<User>, PortError> {
        assert_ne!(id.as_str(), "usr_panic", "as the test wants it");
        std::future::pending().await
    }

    async fn welcomed(&self, _: &UserId, _: Timestamp) -> Result<bool, PortError> {
        std::future::pending().await
    }

    async fn remove(&self, _: &UserId) -> Result<(), PortError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_never_answers_is_503_in_time() {
    let site = Site::with(|api| api.users = Arc::new(Broken));
    let begun = tokio::time::Instant::now();
    site.get("/v1/users/usr_1").await.expect(503);
    let took = begun.elapsed().as_secs();
    assert!((10..25).contains(&took), "API Gateway waits 30 s, not {took}");
}

#[tokio::test]
async fn a_panic_is_500_and_the_next_request_is_served() {
    let site = Site::with(|api| api.users = Arc::new(Broken));
    let reply = site.get("/v1/users/usr_panic").await.expect(500);
    assert!(!reply.text().contains("as the test wants it"), "the cause is not part of the answer");
    site.get("/v1/jobs/job_1").await.expect(404);
}
