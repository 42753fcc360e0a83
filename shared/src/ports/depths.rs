use super::PortError;
use async_trait::async_trait;

/// How many messages a queue holds, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Can be received now.
    pub visible: u64,
    /// Were received and neither deleted nor shown again.
    pub in_flight: u64,
    /// Will be visible when their delay is over.
    pub delayed: u64,
}

/// The depths of queues.
#[async_trait]
pub trait QueueDepths: Send + Sync {
    /// The depth of the queue of this name, the stack's own part left out (`echo`, `echo-dead`).
    async fn depth(&self, queue: &str) -> Result<Depth, PortError>;
}
