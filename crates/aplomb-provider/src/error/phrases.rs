//! Phrases of providers that have no code for what they mean.
//!
//! A phrase only refines the reason that the status gives: it never makes a 400 a throttle, nor a 429 a success.
//! So a prompt that is repeated in an error message decides nothing. Where there is no status, in a stream or a
//! 200, some phrases stand in for it.

use aplomb_core::Reason;

/// Words that refine a reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phrase {
    /// The reason without the words.
    from: Reason,
    /// The words in lower case.
    words: &'static str,
    /// The reason with the words.
    to: Reason,
    /// The words count only if there is no status.
    stands_in: bool,
}

const fn phrase(from: Reason, words: &'static str, to: Reason) -> Phrase {
    Phrase { from, words, to, stands_in: false }
}

const fn stand_in(from: Reason, words: &'static str, to: Reason) -> Phrase {
    Phrase { from, words, to, stands_in: true }
}

use Reason::{
    InvalidRequest, NotFound, Overloaded, QuotaExhausted, RateLimited, RequestTooLarge, TooManyAtOnce,
    Unauthorized, Unknown,
};

/// Azure: "System is experiencing high demand".
pub(crate) const AZURE: &[Phrase] = &[phrase(RateLimited, "experiencing high demand", Overloaded)];

/// Anthropic: a 400 that is about the account, and a 429 for a kind of request that is not in the plan.
pub(crate) const ANTHROPIC: &[Phrase] = &[
    phrase(RateLimited, "extra usage is required", RequestTooLarge),
    phrase(InvalidRequest, "reached your specified api usage limits", QuotaExhausted),
    phrase(InvalidRequest, "credit balance is too low", QuotaExhausted),
];

/// Bedrock: a daily quota is reported as throttling.
pub(crate) const BEDROCK: &[Phrase] = &[phrase(RateLimited, "too many tokens per day", QuotaExhausted)];

/// Mistral: "Service tier capacity exceeded for this model", with or without its code, and with the type of an
/// invalid request.
pub(crate) const MISTRAL: &[Phrase] = &[
    phrase(RateLimited, "capacity exceeded", Overloaded),
    stand_in(InvalidRequest, "service tier capacity exceeded", Overloaded),
];

/// Cohere: "limited to 1000 API calls / month".
pub(crate) const COHERE: &[Phrase] = &[phrase(RateLimited, "api calls / month", QuotaExhausted)];

/// `OpenRouter`: the daily requests to free models.
pub(crate) const OPENROUTER: &[Phrase] = &[phrase(RateLimited, "free-models-per-day", QuotaExhausted)];

/// xAI: "has either used all available credits or reached its monthly spending limit", as 403 or 429.
pub(crate) const XAI: &[Phrase] = &[
    phrase(Unauthorized, "used all available credits", QuotaExhausted),
    phrase(RateLimited, "used all available credits", QuotaExhausted),
];

/// Cerebras: "Tokens per day limit exceeded".
pub(crate) const CEREBRAS: &[Phrase] = &[phrase(RateLimited, "per day limit exceeded", QuotaExhausted)];

/// z.ai: "Usage limit reached for 5 hour".
const Z_AI: &[Phrase] = &[phrase(RateLimited, "usage limit reached for", QuotaExhausted)];

/// Alibaba Cloud: `insufficient_quota` for the tokens of a minute.
const ALIBABA: &[Phrase] = &[phrase(QuotaExhausted, "error-code#token-limit", RateLimited)];

/// `LiteLLM`: too many parallel requests.
const LITELLM: &[Phrase] = &[phrase(RateLimited, PARALLEL_LIMIT, TooManyAtOnce)];

/// `LiteLLM` names the window of its limits as the delay, although a place is free when a call ends.
pub(crate) const PARALLEL_LIMIT: &str = "limit type: max_parallel_requests";

/// LM Studio: "Unexpected endpoint or method. (POST /x). Returning 200 anyway".
const LM_STUDIO: &[Phrase] = &[stand_in(Unknown, "unexpected endpoint or method", NotFound)];

/// Those of all providers, for gateways.
pub(crate) const ALL: &[&[Phrase]] = &[
    AZURE, ANTHROPIC, BEDROCK, MISTRAL, COHERE, OPENROUTER, XAI, CEREBRAS, Z_AI, ALIBABA, LITELLM, LM_STUDIO,
];

/// Words for a prompt that is too long for the model. They matter to the caller, who may shorten it; to the layers
/// the request fails again either way.
const CONTEXT_TOO_LONG: &[&str] = &[
    "maximum context length",
    "maximum context limit",
    "exceed context limit",
    "model's context length",
    "context window",
    "available context size",
    "prompt is too long",
    "input is too long",
    "string too long. expected a string with maximum length",
    "input tokens exceed the configured limit",
    "`inputs` tokens + `max_new_tokens` must be",
    "exceeds the maximum number of tokens allowed",
];

/// Refines a reason by a message in lower case.
pub(crate) fn refine(reason: Reason, has_status: bool, text: &str, phrases: &[&[Phrase]]) -> Option<Reason> {
    let may_be_context = matches!(reason, InvalidRequest | Reason::RequestTooLarge);
    if may_be_context && CONTEXT_TOO_LONG.iter().any(|words| text.contains(words)) {
        return Some(Reason::ContextTooLong);
    }
    let counts = |phrase: &&Phrase| phrase.from == reason && !(phrase.stands_in && has_status);
    let mut phrases = phrases.iter().copied().flatten().filter(counts);
    phrases.find(|phrase| text.contains(phrase.words)).map(|phrase| phrase.to)
}
