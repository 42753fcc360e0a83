use super::*;
use millrace::accept::Intake;
use millrace::aws::StreamEvent;
use millrace::domain::id::Tenant;
use millrace::domain::job::State;
use millrace::domain::stats::{Count, Happened, Minute, What};
use millrace::ports::{Clock, Counters as _};
use millrace::queues::JobQueues;
use millrace::testing::{ManualClock, MemoryBlobs, MemoryBus, MemoryCounters, MemoryGroups, MemoryJobs, MemoryQueues};
use serde_json::json;
use std::sync::Arc;

struct World {
    clock: Arc<dyn Clock>,
    counters: MemoryCounters,
    failures: millrace::testing::MemoryQueue,
    bus: MemoryBus,
    outbox: Outbox,
}

fn world() -> World {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let queues = MemoryQueues::new(clock.clone());
    let (counters, bus) = (MemoryCounters::default(), MemoryBus::default());
    let outbox = Outbox {
        counters: Arc::new(counters.clone()),
        groups: Arc::new(MemoryGroups::default()),
        intake: Intake {
            jobs: Arc::new(MemoryJobs::default()),
            blobs: Arc::new(MemoryBlobs::default()),
            queues: JobQueues::open(|name| queues.open(name)),
        },
        bus: Some(Arc::new(bus.clone())),
    };
    World { clock, counters, failures: queues.get("outbox-dead"), bus, outbox }
}

impl World {
    async fn handle(&self, event: Value) -> Result<Value, NotDone> {
        let event: StreamEvent = serde_json::from_value(event).unwrap();
        let shard = event.shard();
        let now = self.clock.now();
        handle(&self.outbox, &self.failures, &shard, event.told(), now).await.map(|answer| json!(answer))
    }
}

fn sample() -> Value {
    serde_json::from_str(include_str!("../../../events/outbox.json")).unwrap()
}

#[tokio::test]
async fn the_sample_event_is_counted_once_and_answered_with_a_state() {
    let world = world();
    let tenant = Tenant::parse("demo").unwrap();
    let count = |what| Count { kind: "echo".into(), what };
    let succeeded = async || world.counters.states(&tenant).await.unwrap()[&count(What::In(State::Succeeded))];
    let mut without_its_end = sample();
    without_its_end["Records"].as_array_mut().unwrap().pop();
    assert_eq!(world.handle(without_its_end).await.unwrap(), json!({"state": {}}));
    assert_eq!(succeeded().await, 1);
    assert_eq!(world.handle(sample()).await.unwrap(), json!({"state": {}}));
    assert_eq!(succeeded().await, 0, "it was deleted in the end");
    let minute = Minute::of("2027-01-15T08:00:00Z".parse().unwrap());
    let happened = &world.counters.minutes(&tenant, minute, minute).await.unwrap()[&minute];
    for what in [Happened::Accepted, Happened::Started, Happened::Succeeded] {
        assert_eq!(happened[&count(What::Happened(what))], 1, "{what:?}");
    }
    assert_eq!(world.bus.told().len(), 6, "three states, told twice");
}

#[tokio::test]
async fn what_cannot_be_read_is_put_aside_and_the_rest_is_done() {
    let world = world();
    let mut event = sample();
    event["Records"][1]["dynamodb"]["NewImage"]["state"] = json!({"S": "dreaming"});
    world.handle(event.clone()).await.unwrap();
    let kept: Vec<Value> =
        world.failures.all().iter().map(|letter| serde_json::from_str(&letter.body).unwrap()).collect();
    assert_eq!(kept, [event["Records"][1].clone()]);
    assert_eq!(world.bus.told().len(), 2);
}

#[tokio::test]
async fn a_batch_that_is_not_done_fails_whole() {
    let world = world();
    world.counters.faults.refuse_next("add");
    assert!(world.handle(sample()).await.is_err());
    assert!(world.bus.told().is_empty(), "nobody was told yet");
    let mut event = sample();
    event["Records"][1] = json!("a record?");
    world.failures.faults.refuse_next("send");
    assert!(world.handle(event).await.is_err(), "what cannot be read is not dropped");
}
