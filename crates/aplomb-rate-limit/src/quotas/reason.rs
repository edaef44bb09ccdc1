//! Why a call waits or is rejected.

use std::fmt;
use std::time::Duration;

use aplomb_core::Dimension;

/// The limit that a call waits for, or why it cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitReason {
    /// A quota of this dimension is used up for the moment.
    Quota(Dimension),
    /// A throttled response pauses all callers.
    Paused,
    /// The server asked for a longer pause than the longest allowed: calls are rejected.
    Exhausted {
        /// How long the pause still lasts. After an hour at the latest one call goes to see whether it is over.
        retry_after: Duration,
    },
    /// The server's limit is unknown: it is being estimated, with fewer calls than there are.
    Unknown,
    /// A quota of this dimension is set, but not what a call draws from it: see
    /// [`RateLimitLayer::cost`](crate::RateLimitLayer::cost).
    CostUnknown(Dimension),
    /// The call costs more than the configured quota of this dimension ever holds.
    AboveCapacity {
        /// The dimension.
        dimension: Dimension,
        /// The cost of the call.
        cost: u64,
        /// The most that one call may cost.
        capacity: u64,
    },
}

impl fmt::Display for RateLimitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota(dimension) => write!(f, "quota of {dimension}"),
            Self::Paused => f.write_str("paused by the server"),
            Self::Exhausted { retry_after } => write!(f, "paused by the server for {retry_after:.0?}"),
            Self::Unknown => f.write_str("the server's limit is being estimated"),
            Self::CostUnknown(dimension) => write!(f, "unknown cost in {dimension}"),
            Self::AboveCapacity { dimension, cost, capacity } => {
                write!(f, "{cost} {dimension}, where the quota never holds more than {capacity}")
            }
        }
    }
}
