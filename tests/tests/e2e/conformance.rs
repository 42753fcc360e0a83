//! The adapters on the engine's DynamoDB, in tables made as the template's, which no worker reads.

use jiff::Timestamp;
use millrace::aws::{
    DynamoCheckpoints, DynamoCounters, DynamoGroups, DynamoJobs, DynamoLimits, DynamoMail, DynamoMailLedger,
    DynamoSchedules, DynamoSuppressions, DynamoThrottle, Keys, random_hash_key,
};
use millrace::testing::conformance;
use millrace_tests::Inside;

/// A salt of this run's own, and a time in whole milliseconds, which is what the tables keep.
fn salt() -> (String, Timestamp) {
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).expect("a time");
    (now.as_millisecond().to_string(), now)
}

#[tokio::test]
async fn the_jobs_table_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    conformance::jobs(&DynamoJobs::new(inside.aws.dynamodb(), inside.copy_of("JobsTable").await), &salt, now).await;
}

#[tokio::test]
async fn what_else_the_jobs_table_holds_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let table = inside.copy_of("JobsTable").await;
    let jobs = DynamoJobs::new(inside.aws.dynamodb(), table.clone());
    conformance::dead_jobs(&jobs, &jobs, &salt, now).await;
    conformance::checkpoints(&DynamoCheckpoints::new(inside.aws.dynamodb(), table.clone()), &salt, now).await;
    conformance::schedules(&DynamoSchedules::new(inside.aws.dynamodb(), table), &salt, now).await;
}

#[tokio::test]
async fn the_limits_in_the_jobs_table_conform() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let limits = DynamoLimits::new(inside.aws.dynamodb(), inside.copy_of("JobsTable").await);
    conformance::limits(&limits, &salt, now).await;
}

#[tokio::test]
async fn the_keys_table_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let keys = Keys::new(inside.aws.dynamodb(), inside.copy_of("KeysTable").await);
    conformance::keys(&keys, &salt, now).await;
    conformance::token_keys(&keys).await;
    conformance::hash_keys(&keys).await;
    let seconds = Timestamp::from_second(now.as_second()).expect("a time");
    conformance::webhook_secrets(&keys, &salt, seconds).await;
}

#[tokio::test]
async fn the_outbox_table_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let table = inside.copy_of("OutboxTable").await;
    conformance::counters(&DynamoCounters::new(inside.aws.dynamodb(), table.clone()), &salt, now).await;
    conformance::groups(&DynamoGroups::new(inside.aws.dynamodb(), table), &salt, now).await;
}

#[tokio::test]
async fn the_account_conforms() {
    let _gate = super::shared().await;
    let account = Inside::from_env().await.aws.account();
    conformance::account(&account, &account).await;
}

#[tokio::test]
async fn the_mail_ledger_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let table = inside.copy_of("MailTable").await;
    conformance::mail_ledger(&DynamoMailLedger::new(inside.aws.dynamodb(), table), &salt, now).await;
}

#[tokio::test]
async fn the_mail_table_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let mail = DynamoMail::new(inside.aws.dynamodb(), inside.copy_of("MailTable").await);
    conformance::users(&mail, &salt, now).await;
    conformance::newsletters(&mail, &salt, now).await;
    conformance::subscribers(&mail, &salt, now).await;
    conformance::sign_ups(&mail, &salt, now).await;
    conformance::campaigns(&mail, &mail, &salt, now).await;
    conformance::campaign_list(&mail, &salt).await;
    conformance::chunks(&mail, &mail, &salt, now).await;
    conformance::hits(&mail, &salt, now).await;
    conformance::pace(&mail, &salt, now).await;
    conformance::send_line(&mail, &mail, &format!("{salt}-line"), now).await;
}

#[tokio::test]
async fn what_is_kept_as_keyed_hashes_conforms() {
    let (_gate, (salt, now)) = (super::shared().await, salt());
    let inside = Inside::from_env().await;
    let (table, key) = (inside.copy_of("MailTable").await, random_hash_key().expect("a key"));
    let suppressions = DynamoSuppressions::new(inside.aws.dynamodb(), table.clone(), key.clone());
    conformance::suppressions(&suppressions, &salt, now).await;
    conformance::throttle(&DynamoThrottle::new(inside.aws.dynamodb(), table, key), &salt, now).await;
}

#[tokio::test]
async fn the_bucket_conforms() {
    let _gate = super::shared().await;
    let bucket = Inside::from_env().await.new_bucket().await;
    conformance::blobs(&bucket, "blobs/").await;
    conformance::files(&bucket, &bucket, "files/").await;
}
