//! The settings of a mock.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::charging::{Charging, Dimension};
use crate::chosen::Chooser;
use crate::fault::Fault;
use crate::hints::Hints;
use crate::latency::Latency;
use crate::outage::{WhenFull, Window};
use crate::plan::Plan;
use crate::size::{Factor, Words};

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) requests: Option<u64>,
    pub(crate) request_burst: Option<u64>,
    pub(crate) request_window: Option<Duration>,
    pub(crate) tokens: Option<u64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) token_burst: Option<u64>,
    pub(crate) token_window: Option<Duration>,
    pub(crate) other_requests: u64,
    pub(crate) other_tokens: u64,
    pub(crate) changes: Vec<Change>,
    pub(crate) charging: Charging,
    pub(crate) refused_calls_count: bool,
    pub(crate) hints: Hints,
    pub(crate) plan: Plan,
    pub(crate) latency: Latency,
    /// That of faults without an answer, if it differs.
    pub(crate) fault_latency: Option<Latency>,
    pub(crate) token_gap: Duration,
    pub(crate) answer_words: Words,
    pub(crate) answer_with: Option<Chooser>,
    pub(crate) input_factor: Factor,
    pub(crate) outages: Vec<Window>,
    pub(crate) brownouts: Vec<Brownout>,
    pub(crate) insufficient_quota_after: Option<u64>,
    pub(crate) capacity: Option<u32>,
    pub(crate) abandoned_work_goes_on: bool,
    pub(crate) max_in_flight: Option<u64>,
    pub(crate) when_full: WhenFull,
    pub(crate) api_key: Option<Secret>,
    pub(crate) max_body_bytes: usize,
    pub(crate) tracked_prompts: usize,
}

/// A limit that changes this long after the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) after: Duration,
    pub(crate) dimension: Dimension,
    pub(crate) limit: u64,
}

/// A time in which this share of attempts gets a fault, in addition to the plan.
#[derive(Clone, Debug)]
pub(crate) struct Brownout {
    pub(crate) when: Range<Duration>,
    pub(crate) fault: Fault,
    pub(crate) rate: f64,
}

/// A key that is not printed.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            requests: None,
            request_burst: None,
            request_window: None,
            tokens: None,
            input_tokens: None,
            output_tokens: None,
            token_burst: None,
            token_window: None,
            other_requests: 0,
            other_tokens: 0,
            changes: Vec::new(),
            charging: Charging::default(),
            refused_calls_count: false,
            hints: Hints::default(),
            plan: Plan::default(),
            latency: Latency::default(),
            fault_latency: None,
            token_gap: Duration::ZERO,
            answer_words: Words::Exactly(32),
            answer_with: None,
            input_factor: Factor::default(),
            outages: Vec::new(),
            brownouts: Vec::new(),
            insufficient_quota_after: None,
            capacity: None,
            abandoned_work_goes_on: false,
            max_in_flight: None,
            when_full: WhenFull::default(),
            api_key: None,
            max_body_bytes: 4 << 20,
            tracked_prompts: 100_000,
        }
    }
}
