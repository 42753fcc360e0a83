//! What a stack has to have, by the table of functions.

use anyhow::Context;

use crate::infra::{self, FILE, Table};

/// The table this command line was built with.
const TABLE: &str = include_str!("../../../infra/functions.json");

/// What a stack has to have. All names are those of AWS, the stack's in front.
pub(super) struct Expected {
    pub(super) stack: String,
    pub(super) functions: Vec<Function>,
}

/// A function, and what belongs to it.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) queues: Vec<Queue>,
    pub(super) dead: Vec<String>,
    /// Whether a schedule calls it.
    pub(super) scheduled: bool,
    /// Whether it reads the stream of a table.
    pub(super) streams: bool,
}

/// A queue that a function reads.
pub(super) struct Queue {
    pub(super) name: String,
    /// Where its dead letters go.
    pub(super) dead: String,
    /// The most invocations at the same time.
    pub(super) concurrency: u32,
    /// Seconds it waits for a batch to fill.
    pub(super) window: u32,
}

impl Expected {
    pub(super) fn of(stack: &str) -> anyhow::Result<Self> {
        let table = Table::parse(TABLE).context(FILE)?;
        let full = |name: &str| format!("{stack}-{name}");
        let functions = table.functions.iter().map(|function| {
            let dead = infra::dead(function);
            let queues = infra::queues(function).into_iter().map(|queue| {
                let dead = dead.iter().find(|dead| dead.fifo == queue.fifo).context("a queue without dead letters")?;
                let (name, dead) = (full(&queue.name), full(&dead.name));
                Ok(Queue { name, dead, concurrency: queue.concurrency, window: queue.window })
            });
            Ok(Function {
                name: full(&function.name),
                queues: queues.collect::<anyhow::Result<_>>()?,
                dead: dead.iter().map(|dead| full(&dead.name)).collect(),
                scheduled: function.trigger.schedule.is_some(),
                streams: function.trigger.stream.is_some(),
            })
        });
        Ok(Self { stack: stack.to_owned(), functions: functions.collect::<anyhow::Result<_>>()? })
    }

    /// Every queue, those of dead letters too.
    pub(super) fn queues(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().flat_map(|function| {
            let queues = function.queues.iter().map(|queue| queue.name.as_str());
            queues.chain(function.dead.iter().map(String::as_str))
        })
    }

    /// Whether this is the name of one of its functions or queues.
    pub(super) fn has(&self, name: &str) -> bool {
        self.functions.iter().any(|function| function.name == name) || self.queues().any(|queue| queue == name)
    }
}
