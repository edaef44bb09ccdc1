//! What is told by words alone: providers that have no code for what they mean.
//!
//! A phrase only makes a reason finer that the status has given: it turns no 400 into a throttle, and
//! no 429 into a success. So a request that is repeated in an error's message decides nothing. Where there is
//! no status, in a stream or in a 200, it stands in for one that is missing.

use crate::Reason;

/// What a message says when it contains certain words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phrase {
    /// The reason without it.
    from: Reason,
    /// The words, in lower case.
    words: &'static str,
    /// The reason with it.
    to: Reason,
    /// It counts only where there is no status.
    stands_in: bool,
}

const fn phrase(from: Reason, words: &'static str, to: Reason) -> Phrase {
    Phrase { from, words, to, stands_in: false }
}

const fn stand_in(from: Reason, words: &'static str, to: Reason) -> Phrase {
    Phrase { from, words, to, stands_in: true }
}

use Reason::{InvalidRequest, Overloaded, QuotaExhausted, RateLimited, Unauthorized};

/// Azure: "System is experiencing high demand".
pub(crate) const AZURE: &[Phrase] = &[phrase(RateLimited, "experiencing high demand", Overloaded)];

/// Anthropic: a 400 that is about the account.
pub(crate) const ANTHROPIC: &[Phrase] = &[
    phrase(InvalidRequest, "reached your specified api usage limits", QuotaExhausted),
    phrase(InvalidRequest, "credit balance is too low", QuotaExhausted),
];

/// Bedrock: the quota of a day comes as a throttle.
pub(crate) const BEDROCK: &[Phrase] = &[phrase(RateLimited, "too many tokens per day", QuotaExhausted)];

/// Mistral: "Service tier capacity exceeded for this model", with or without its code, and with the type of
/// an invalid request.
pub(crate) const MISTRAL: &[Phrase] = &[
    phrase(RateLimited, "capacity exceeded", Overloaded),
    stand_in(InvalidRequest, "service tier capacity exceeded", Overloaded),
];

/// Cohere: "limited to 1000 API calls / month".
pub(crate) const COHERE: &[Phrase] = &[phrase(RateLimited, "api calls / month", QuotaExhausted)];

/// `OpenRouter`: the requests of a day to free models.
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

/// Anybody's, for who may be behind a gateway.
pub(crate) const ALL: &[&[Phrase]] = &[
    AZURE, ANTHROPIC, BEDROCK, MISTRAL, COHERE, OPENROUTER, XAI, CEREBRAS, Z_AI,
];

/// Words for a prompt that is too long for the model. They are for the caller, who may shorten it: to
/// the layers it is a request that fails again either way.
const CONTEXT: &[&str] = &[
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

/// The finer reason, if `text`, in lower case, has words for it.
pub(crate) fn refine(reason: Reason, has_status: bool, text: &str, phrases: &[&[Phrase]]) -> Option<Reason> {
    let may_be_context = matches!(reason, InvalidRequest | Reason::RequestTooLarge);
    if may_be_context && CONTEXT.iter().any(|words| text.contains(words)) {
        return Some(Reason::ContextTooLong);
    }
    let counts = |phrase: &&Phrase| phrase.from == reason && !(phrase.stands_in && has_status);
    let mut phrases = phrases.iter().flat_map(|phrases| phrases.iter()).filter(counts);
    phrases.find(|phrase| text.contains(phrase.words)).map(|phrase| phrase.to)
}
