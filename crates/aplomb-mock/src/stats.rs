//! The statistics of a mock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The statistics of a mock since its start or last reset. [`Mock::stats`](crate::Mock::stats) returns them, and `GET /stats` sends
/// them.
///
/// A *retry* is a request whose prompt was seen before, and whose latest attempt did not end with a whole answer. The prompt
/// is the text of the last user message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests, valid or not, except those to `/stats` and `/reset`.
    pub seen: u64,
    /// Requests that passed the checks, the limits and the outages.
    pub accepted: u64,
    /// Answers handed over whole and correct.
    pub answered: u64,
    /// Accepted requests without a fault whose client went away before the end.
    pub abandoned: u64,
    /// Tokens of the prompts of accepted requests.
    pub input_tokens: u64,
    /// Tokens of answers that were produced, including those of answers that failed.
    pub output_tokens: u64,
    /// Tokens that [`charging`](crate::Builder::charging) counts against a limit of input and output together, less those
    /// given back. Counted with or without a limit.
    pub charged_tokens: u64,
    /// The same for a limit of input.
    pub charged_input_tokens: u64,
    /// The same for a limit of output.
    pub charged_output_tokens: u64,
    /// Answers by status. A reset or hanging connection has none.
    pub by_status: BTreeMap<u16, u64>,
    /// Different prompts seen.
    pub prompts: u64,
    /// Retries of all prompts.
    pub retries: u64,
    /// The number of prompts, by their retries.
    pub prompts_by_retries: BTreeMap<u32, u64>,
    /// Retries that came earlier than a 429 or 503 before had asked for.
    pub early_retries: u64,
    /// Requests whose prompt is not tracked, because there are too many. They do not count as retries.
    pub untracked: u64,
    /// Accepted requests not yet answered.
    pub in_flight: u64,
    /// The most that were in flight at a time.
    pub max_in_flight: u64,
    /// Faults dealt, by [`Fault::name`](crate::Fault::name), and requests during an `outage`.
    pub faults: BTreeMap<String, u64>,
    /// TCP connections accepted; 0 in process.
    pub connections: u64,
}

/// The statistics of one prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptStats {
    /// Requests with this prompt.
    pub seen: u32,
    /// Those that passed the limits and the outages, which is the number of the latest attempt in the [`Plan`](crate::Plan).
    pub accepted: u32,
    /// Requests after one that failed.
    pub retries: u32,
    /// Retries that came earlier than told.
    pub early_retries: u32,
}
