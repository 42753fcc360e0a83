//! What is different on the ordered lane. A copy of a message would stand at the end of its key, so the message itself is
//! hidden until its job is tried again, and its key waits with it.

use crate::accept::wait_until;
use crate::domain::job::{Carrier, Event, JobError};
use aws_lambda_events::event::sqs::SqsMessage;
use jiff::Timestamp;
use std::time::Duration;

/// A message is hidden for so long at a time: a job that is cancelled while it waits lets its key go on by then.
const LONGEST_LOOK: Duration = Duration::from_secs(30 * 60);
/// SQS deletes a message after 14 days, and those behind it are hardly younger. A message of this age waits no more, so that
/// they are tried before they are gone.
const PATIENCE: Duration = Duration::from_secs(12 * 24 * 3_600);
/// SQS moves a message to the dead letters after 1,000 receives. One received so often waits no more either.
const MOST_RECEIVES: u32 = 900;

/// How long a message is hidden whose job has to wait for so long.
pub(super) fn look(wait: Duration) -> Duration {
    wait.min(LONGEST_LOOK)
}

/// What becomes of an attempt's outcome by the limits of its message: a wait is shortened, and a job that would wait beyond
/// them is dead.
pub(super) fn limited(event: Event, attempt: u32, record: &SqsMessage, now: Timestamp) -> Event {
    let Event::GiveBack { fence, run_at, spent, error, .. } = event else { return event };
    let left = time_left(record, now);
    if !left.is_zero() {
        return Event::GiveBack { fence, run_at: run_at.min(now + left), spent, by: Carrier::Queue, error };
    }
    let why = "it has kept its ordering key waiting for as long as SQS keeps messages";
    let error = match error {
        Some(error) => JobError::new(&error.class, &format!("{why}; at last: {}", error.message), attempt, now),
        None => JobError::new("expired", why, attempt, now),
    };
    Event::Bury { fence, error }
}

/// How often the message was shown before this time.
pub(super) fn shown_before(record: &SqsMessage) -> u8 {
    u8::try_from(received(record).saturating_sub(1)).unwrap_or(u8::MAX)
}

fn received(record: &SqsMessage) -> u32 {
    let times = record.attributes.get("ApproximateReceiveCount").and_then(|text| text.parse().ok());
    times.unwrap_or(0)
}

/// How long the message may still be kept.
fn time_left(record: &SqsMessage, now: Timestamp) -> Duration {
    if received(record) >= MOST_RECEIVES {
        return Duration::ZERO;
    }
    let sent = record.attributes.get("SentTimestamp").and_then(|text| text.parse().ok());
    let sent = sent.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    sent.map_or(PATIENCE, |sent| wait_until(Some(sent + PATIENCE), now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn outcome(run_at: i64, sent: i64, received: u32) -> Event {
        let mut record = SqsMessage::default();
        record.attributes.insert("SentTimestamp".into(), at(sent).as_millisecond().to_string());
        record.attributes.insert("ApproximateReceiveCount".into(), received.to_string());
        let error = Some(JobError::new("transient", "away", 1, at(0)));
        let event = Event::GiveBack { fence: 1, run_at: at(run_at), spent: true, by: Carrier::Clock, error };
        limited(event, 1, &record, at(2_000_000))
    }

    #[test]
    fn a_message_waits_only_as_long_as_sqs_keeps_it() {
        let waits = |event| match event {
            Event::GiveBack { run_at, by: Carrier::Queue, .. } => Some(run_at.as_second() - 2_000_000),
            Event::Bury { error, .. } => {
                assert!(error.class == "transient" && error.message.ends_with("away"), "{error:?}");
                None
            }
            other => panic!("{other:?}"),
        };
        let days = |days: i64| days * 24 * 3_600;
        assert_eq!(waits(outcome(2_000_060, 1_999_000, 1)), Some(60));
        assert_eq!(waits(outcome(2_000_000 + days(20), 2_000_000, 1)), Some(days(12)), "no longer than that");
        assert_eq!(waits(outcome(2_000_060, 2_000_000 - days(12), 1)), None, "it is too old");
        assert_eq!(waits(outcome(2_000_060, 1_999_000, 900)), None, "it was received too often");
    }
}
