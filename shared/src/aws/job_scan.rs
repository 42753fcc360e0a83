use super::item::{Item, optional_text, s};
use super::jobs::{DynamoJobs, read};
use super::port_error;
use crate::domain::job::State;
use crate::ports::{JobScan, PortError, ScanPage, ScannedJob};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

#[async_trait]
impl JobScan for DynamoJobs {
    async fn scan(&self, segment: u32, of: u32, from: Option<&str>) -> Result<ScanPage, PortError> {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let scan = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(number(segment))
            .total_segments(number(of))
            .set_exclusive_start_key(from.map(|pk| Item::from([("pk".into(), s(pk))])))
            // Whatever else stands in `state` is to be seen too.
            .filter_expression("begins_with(pk, :job) AND NOT #state IN (:succeeded, :cancelled)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":job", s("JOB#"))
            .expression_attribute_values(":succeeded", s(State::Succeeded.as_str()))
            .expression_attribute_values(":cancelled", s(State::Cancelled.as_str()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = scan.send().await.map_err(port_error)?;
        let jobs = answer.items().iter().map(|item| ScannedJob {
            id: optional_text(item, "pk").unwrap_or_default().trim_start_matches("JOB#").to_owned(),
            job: read(item).map(Box::new),
        });
        Ok(ScanPage {
            jobs: jobs.collect(),
            looked_at: u64::try_from(answer.scanned_count()).unwrap_or_default(),
            units: answer.consumed_capacity().and_then(|used| used.capacity_units()).unwrap_or_default(),
            next: answer.last_evaluated_key().and_then(|key| optional_text(key, "pk")).map(str::to_owned),
        })
    }
}
