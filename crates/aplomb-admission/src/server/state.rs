//! The state of a server, as it is shown.

use std::time::Duration;

use aplomb_core::{ConcurrencyCause, Outcome};
use tokio::time::Instant;

/// Why nobody gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutCause {
    /// All calls fail.
    Failures,
    /// All calls are throttled.
    Throttles,
}

/// The brake that holds a call back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldBy {
    /// Nobody gets through.
    Shut {
        /// Why.
        cause: ShutCause,
        /// Since when.
        since: Instant,
        /// When the next probe is due.
        probe_at: Instant,
        /// True if a probe is in flight.
        probing: bool,
        /// How the call ended that shut it.
        last: Outcome,
    },
    /// Only a few calls are out of which nothing is known.
    SlowStart {
        /// So many.
        window: u32,
    },
    /// The rate that the server was found to accept.
    Pace {
        /// In calls per second.
        rate: f64,
    },
    /// The number of calls that the server was found to take at a time.
    Places {
        /// So many.
        limit: u32,
        /// How many are in flight.
        in_flight: u32,
    },
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServerEvent {
    /// Nobody gets through.
    Shut {
        /// Why.
        cause: ShutCause,
        /// When the first probe is due.
        until: Instant,
        /// How the last call ended.
        last: Outcome,
    },
    /// A probe is sent.
    Probing {
        /// Why it is shut.
        cause: ShutCause,
    },
    /// A probe was refused or failed.
    StillShut {
        /// Why it is shut.
        cause: ShutCause,
        /// When the next probe is due.
        until: Instant,
        /// How the probe ended.
        last: Outcome,
    },
    /// Calls get through again.
    Opened {
        /// Why it was shut.
        cause: ShutCause,
        /// True if a probe was accepted; otherwise a call that was sent before shows that it was not shut for everybody.
        by_probe: bool,
    },
    /// The limit of the calls in flight has changed; there is none at first.
    Places {
        /// The limit before.
        from: Option<u32>,
        /// The limit after.
        to: Option<u32>,
        /// Why.
        cause: ConcurrencyCause,
    },
}

/// A server at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerSnapshot {
    /// The brake that would hold back a call now.
    pub held_by: Option<HeldBy>,
    /// How many calls have been sent and have not ended.
    pub in_flight: u32,
    /// How many calls may be out of which nothing is known, during a slow start.
    pub slow_start: Option<u32>,
    /// The rate that the server was found to accept, in calls per second.
    pub rate: Option<f64>,
    /// The number of calls that the server was found to take at a time.
    pub places: Option<u32>,
    /// The length of the server's fixed windows, if refusals end at regular instants.
    pub period: Option<Duration>,
    /// The share of calls that are refused by chance, whatever the load.
    pub refused_by_chance: f64,
}
