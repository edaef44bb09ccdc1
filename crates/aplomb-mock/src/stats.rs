//! What a mock has seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A snapshot of what a mock has seen since its start or its last reset: what [`Mock::stats`](crate::Mock::stats) returns
/// and `GET /stats` sends.
///
/// A *retry* is a request whose prompt was seen before and whose latest attempt did not end in a whole answer, so asking the
/// same thing twice with success is not one. The prompt is the text of the last user message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests to the API, also to paths that are none; `/stats` and `/reset` are not counted.
    pub seen: u64,
    /// Requests that passed the checks, the limits and the outages.
    pub accepted: u64,
    /// Answers handed over whole and right.
    pub answered: u64,
    /// Accepted requests without a fault whose client went away before the end.
    pub abandoned: u64,
    /// Tokens of the prompts of accepted requests.
    pub input_tokens: u64,
    /// Tokens of answers, whole or not, as far as they were produced.
    pub output_tokens: u64,
    /// Tokens that [`charging`](crate::Builder::charging) has counted, whatever is limited: against a limit of input and
    /// output together, less what was given back.
    pub charged_tokens: u64,
    /// The same against a limit of input alone.
    pub charged_input_tokens: u64,
    /// The same against a limit of output alone.
    pub charged_output_tokens: u64,
    /// Answers by status; a connection reset or left hanging has none.
    pub by_status: BTreeMap<u16, u64>,
    /// Different prompts seen.
    pub prompts: u64,
    /// Retries of all prompts.
    pub retries: u64,
    /// How many prompts had how many retries: by retries, the prompts.
    pub prompts_by_retries: BTreeMap<u32, u64>,
    /// Retries that came before the instant a preceding 429 or 503 had told.
    pub early_retries: u64,
    /// Requests whose prompt is not tracked since too many were seen; they are counted in no retry.
    pub untracked: u64,
    /// Accepted requests not yet answered.
    pub in_flight: u64,
    /// The most there were of them.
    pub max_in_flight: u64,
    /// Faults dealt, by [`Fault::name`](crate::Fault::name), and requests met by an `outage`.
    pub faults: BTreeMap<String, u64>,
    /// TCP connections accepted; 0 in process.
    pub connections: u64,
}

/// What a mock has seen of one prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptStats {
    /// Requests with this prompt.
    pub seen: u32,
    /// Those that passed the limits and the outages: the number of the latest attempt in the [`Plan`](crate::Plan).
    pub accepted: u32,
    /// Requests that came after one that failed.
    pub retries: u32,
    /// Retries that came before the instant told.
    pub early_retries: u32,
}
