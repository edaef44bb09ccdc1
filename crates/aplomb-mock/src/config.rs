//! The settings of a mock.

use std::fmt;
use std::time::Duration;

use crate::charging::Charging;
use crate::hints::Hints;
use crate::latency::Latency;
use crate::outage::Window;
use crate::plan::Plan;
use crate::size::{Factor, Words};

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) requests: Option<u64>,
    pub(crate) request_burst: Option<u64>,
    pub(crate) tokens: Option<u64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) token_burst: Option<u64>,
    pub(crate) charging: Charging,
    pub(crate) refused_calls_count: bool,
    pub(crate) hints: Hints,
    pub(crate) plan: Plan,
    pub(crate) latency: Latency,
    pub(crate) token_gap: Duration,
    pub(crate) answer_words: Words,
    pub(crate) input_factor: Factor,
    pub(crate) outages: Vec<Window>,
    pub(crate) insufficient_quota_after: Option<u64>,
    pub(crate) capacity: Option<u32>,
    pub(crate) max_in_flight: Option<u64>,
    pub(crate) api_key: Option<Secret>,
    pub(crate) max_body_bytes: usize,
    pub(crate) tracked_prompts: usize,
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
            tokens: None,
            input_tokens: None,
            output_tokens: None,
            token_burst: None,
            charging: Charging::default(),
            refused_calls_count: false,
            hints: Hints::default(),
            plan: Plan::default(),
            latency: Latency::default(),
            token_gap: Duration::ZERO,
            answer_words: Words::Exactly(32),
            input_factor: Factor::default(),
            outages: Vec::new(),
            insufficient_quota_after: None,
            capacity: None,
            max_in_flight: None,
            api_key: None,
            max_body_bytes: 4 << 20,
            tracked_prompts: 100_000,
        }
    }
}
