//! Going through dead letters: looking at them, or bringing them back to a worker's queue.

use crate::jobs::JobMessage;
use crate::ports::{DeadLetter, DeadLetters, Group, Message, PortError, Queue};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How long letters are hidden from other receivers while they are looked at. If nobody shows them again, this does.
const HIDE: Duration = Duration::from_secs(300);

/// Which letters.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those that name this kind.
    pub kind: Option<String>,
    /// Only those whose body has this in it.
    pub contains: Option<String>,
    /// Only those that SQS moved from the queue of this name.
    pub source: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Filter {
    fn fits(&self, letter: &DeadLetter) -> bool {
        self.kind.as_ref().is_none_or(|wanted| kind(&letter.body).as_ref() == Some(wanted))
            && self.contains.as_ref().is_none_or(|part| letter.body.contains(part.as_str()))
            && self.source.as_ref().is_none_or(|source| letter.source.as_ref() == Some(source))
    }
}

/// The kind that a body names, if it is JSON at all.
#[must_use]
pub fn kind(body: &str) -> Option<String> {
    serde_json::from_str::<Value>(body).ok()?.get("kind")?.as_str().map(str::to_owned)
}

/// Why no worker of this build can read a body as a job, without quoting it. `None`: it can.
#[must_use]
pub fn why(body: &str) -> Option<String> {
    JobMessage::parse(body).err().map(|error| error.to_string())
}

/// What is done with the letters that fit.
#[derive(Clone, Copy)]
pub enum Then<'a> {
    /// They are left where they are.
    Look,
    /// Each is sent to the queue that this names, and then deleted.
    Redrive(&'a (dyn Fn(&DeadLetter) -> Arc<dyn Queue> + Send + Sync)),
}

/// What became of the letters that fit.
#[derive(Debug, Default)]
pub struct Passed {
    /// The letters, in the order in which they came.
    pub letters: Vec<DeadLetter>,
    /// How many of them are on their other queue now.
    pub sent: usize,
    /// Why the last of them is not, if it is not: with it the work ended.
    pub failed: Option<PortError>,
}

/// Goes through the letters of a queue. A letter is deleted only after it was sent; ending in between leaves it on both queues,
/// which harms no job. What is left is shown to others again at the end. Only letters from before `now` are looked at: what a
/// worker puts aside again would else go round for ever. `step` is told how many fitted so far.
///
/// # Errors
/// When the queue of dead letters cannot be read.
pub async fn go_through(
    dead: &dyn DeadLetters,
    filter: &Filter,
    then: Then<'_>,
    now: Timestamp,
    step: impl Fn(usize),
) -> Result<Passed, PortError> {
    let (mut passed, mut left) = (Passed::default(), Vec::new());
    let read = passing(dead, filter, then, now, &mut passed, &mut left, step).await;
    dead.show(&left).await?;
    read.map(|()| passed)
}

async fn passing(
    dead: &dyn DeadLetters,
    filter: &Filter,
    then: Then<'_>,
    now: Timestamp,
    passed: &mut Passed,
    left: &mut Vec<DeadLetter>,
    step: impl Fn(usize),
) -> Result<(), PortError> {
    let full = |passed: &Passed| filter.limit.is_some_and(|limit| passed.letters.len() >= limit);
    let mut known = HashSet::new();
    while !full(passed) && passed.failed.is_none() {
        let mut news = false;
        for letter in dead.receive(HIDE).await? {
            // One that comes again was hidden too long ago: all were looked at.
            let new = letter.sent_at < now && known.insert(letter.id.clone());
            news |= new;
            if !new || full(passed) || passed.failed.is_some() || !filter.fits(&letter) {
                left.push(letter);
                continue;
            }
            match then {
                Then::Look => left.push(letter.clone()),
                Then::Redrive(queue) => match moved(dead, &*queue(&letter), &letter).await {
                    Ok(()) => passed.sent += 1,
                    Err(error) => {
                        // What is behind it keeps its place in its group.
                        passed.failed = Some(error);
                        left.push(letter.clone());
                    }
                },
            }
            passed.letters.push(letter);
            step(passed.letters.len());
        }
        if !news {
            break;
        }
    }
    Ok(())
}

async fn moved(dead: &dyn DeadLetters, to: &dyn Queue, letter: &DeadLetter) -> Result<(), PortError> {
    let group = letter.group.as_ref().map(|group| match group {
        Group::Tenant(tenant) => Group::Tenant(tenant.clone()),
        // SQS drops what has the number of a message of the last five minutes, which the letter itself may have been.
        Group::Ordered { group, .. } => {
            Group::Ordered { group: group.clone(), deduplication: format!("redrive-{}", letter.id) }
        }
    });
    to.send_one(Message { body: letter.body.clone(), delay: Duration::ZERO, group }).await?;
    dead.delete(letter).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Tenant;
    use crate::ports::Clock as _;
    use crate::testing::{ManualClock, MemoryQueue};
    use serde_json::json;

    struct World {
        clock: Arc<ManualClock>,
        dead: MemoryQueue,
        work: MemoryQueue,
    }

    fn world(suffix: &str) -> World {
        let clock = Arc::new(ManualClock::default());
        let queue = |name: &str| MemoryQueue::named(&format!("{name}{suffix}"), clock.clone());
        World { dead: queue("echo-dead"), work: queue("echo"), clock }
    }

    impl World {
        async fn letter(&self, body: &str, group: Option<Group>) {
            let message = Message { body: body.to_owned(), delay: Duration::ZERO, group };
            self.dead.send_one(message).await.unwrap();
            self.clock.advance(Duration::from_millis(1));
        }

        async fn redrive(&self, filter: &Filter) -> Passed {
            let to = |_: &DeadLetter| Arc::new(self.work.clone()) as Arc<dyn Queue>;
            go_through(&self.dead, filter, Then::Redrive(&to), self.clock.now(), |_| ()).await.unwrap()
        }
    }

    fn bodies(queue: &MemoryQueue) -> Vec<String> {
        queue.all().into_iter().map(|message| message.body).collect()
    }

    fn shown(queue: &MemoryQueue) -> bool {
        queue.all().iter().all(|message| message.visible_at <= message.sent_at + Duration::from_secs(1))
    }

    #[tokio::test]
    async fn looking_leaves_everything_where_it_is() {
        let world = world("");
        for i in 0..25 {
            world.letter(&format!("garbled {i}"), None).await;
        }
        let filter = Filter { contains: Some("garbled".into()), ..Filter::default() };
        let passed = go_through(&world.dead, &filter, Then::Look, world.clock.now(), |_| ()).await.unwrap();
        assert_eq!((passed.letters.len(), passed.sent), (25, 0));
        assert_eq!((world.dead.all().len(), world.work.all().len()), (25, 0));
        assert!(shown(&world.dead));
    }

    #[tokio::test]
    async fn what_fits_is_sent_as_it_came_and_the_rest_stays() {
        let world = world("");
        let tenant = Group::Tenant(Tenant::parse("acme").unwrap());
        let echo = json!({"v": 9, "kind": "echo", "x": "ü"}).to_string();
        world.letter(&echo, Some(tenant.clone())).await;
        world.letter(r#"{"v": 9, "kind": "welcome"}"#, None).await;
        world.letter("{{", None).await;
        let passed = world.redrive(&Filter { kind: Some("echo".into()), ..Filter::default() }).await;
        assert_eq!((passed.letters.len(), passed.sent), (1, 1));
        let sent = world.work.all().remove(0);
        assert_eq!((sent.body, sent.group), (echo, Some(tenant)));
        assert_eq!(bodies(&world.dead), [r#"{"v": 9, "kind": "welcome"}"#, "{{"]);
        assert!(shown(&world.dead));
        assert_eq!(world.redrive(&Filter { limit: Some(1), ..Filter::default() }).await.sent, 1);
        assert_eq!(world.dead.all().len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_sent_is_not_deleted() {
        let world = world("");
        world.letter("one", None).await;
        world.work.faults.refuse_next("send");
        let passed = world.redrive(&Filter::default()).await;
        assert!(passed.failed.is_some() && passed.sent == 0);
        assert_eq!((bodies(&world.dead), bodies(&world.work)), (vec!["one".to_owned()], vec![]));
        assert!(shown(&world.dead));
        assert_eq!(world.redrive(&Filter::default()).await.sent, 1);
    }

    #[tokio::test]
    async fn what_is_put_aside_again_does_not_go_round() {
        let world = world("");
        for i in 0..12 {
            world.letter(&format!("{i}"), None).await;
        }
        let back = |_: &DeadLetter| Arc::new(world.dead.clone()) as Arc<dyn Queue>;
        let now = world.clock.now();
        let passed = go_through(&world.dead, &Filter::default(), Then::Redrive(&back), now, |_| ()).await.unwrap();
        assert_eq!((passed.sent, world.dead.all().len()), (12, 12));
        assert!(shown(&world.dead));
    }

    #[tokio::test]
    async fn a_groups_letters_keep_their_group_and_order() {
        let world = world(".fifo");
        for i in 0..30 {
            let group = Group::Ordered { group: (i % 3).to_string(), deduplication: format!("d{i}") };
            world.letter(&format!("{i}"), Some(group)).await;
        }
        assert_eq!(world.redrive(&Filter::default()).await.sent, 30);
        let mut by_group = std::collections::BTreeMap::<String, Vec<u32>>::new();
        for message in world.work.all() {
            let Some(Group::Ordered { group, .. }) = message.group else { panic!("it has a group") };
            by_group.entry(group).or_default().push(message.body.parse().unwrap());
        }
        assert!(by_group.len() == 3 && by_group.values().all(|bodies| bodies.len() == 10 && bodies.is_sorted()));
    }

    #[test]
    fn what_is_told_of_a_body_does_not_quote_it() {
        assert_eq!(kind(r#"{"kind": "echo"}"#).as_deref(), Some("echo"));
        assert_eq!((kind("{{"), kind("[1]"), kind(r#"{"kind": 1}"#)), (None, None, None));
        assert!(!why(r#"{"v": 1, "id": "ann@example.com"}"#).unwrap().contains("ann"));
    }
}
