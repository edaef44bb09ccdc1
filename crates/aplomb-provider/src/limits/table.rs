//! The headers that report limits, by provider.
//!
//! Whatever a reset is called and however it is written, it is when the whole limit is available again: at
//! OpenAI, Anthropic, Groq and Cerebras when a continuously refilled bucket is full (`(limit - remaining) ×
//! window / limit` fits every report), elsewhere when a window ends. It is not when the next request is
//! admitted, which may be at once.

use std::time::Duration;

use aplomb_core::Dimension;

/// One limit: its dimension, its window if known, and its headers. An empty name is no header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) dimension: Dimension,
    pub(crate) window: Option<Duration>,
    pub(crate) limit: &'static str,
    pub(crate) remaining: &'static str,
    pub(crate) reset: &'static str,
    /// A header whose presence makes this limit redundant.
    pub(crate) unless: &'static str,
}

const UNKNOWN: Option<Duration> = None;
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
const HOUR: Option<Duration> = Some(Duration::from_secs(60 * 60));
const DAY: Option<Duration> = Some(Duration::from_secs(24 * 60 * 60));
const MONTH: Option<Duration> = Some(Duration::from_secs(30 * 24 * 60 * 60));

const REQUESTS: Dimension = Dimension::REQUESTS;
const TOKENS: Dimension = Dimension::TOKENS;
const INPUT: Dimension = Dimension::INPUT_TOKENS;
const OUTPUT: Dimension = Dimension::OUTPUT_TOKENS;

/// `x-ratelimit-limit-requests`: the field before the unit.
macro_rules! field_first {
    ($dimension:expr, $window:expr, $prefix:literal, $unit:literal) => {
        Row {
            dimension: $dimension,
            window: $window,
            limit: concat!($prefix, "limit", $unit),
            remaining: concat!($prefix, "remaining", $unit),
            reset: concat!($prefix, "reset", $unit),
            unless: "",
        }
    };
}

/// `anthropic-ratelimit-requests-limit`: the unit before the field.
macro_rules! unit_first {
    ($dimension:expr, $window:expr, $unit:literal) => {
        Row {
            dimension: $dimension,
            window: $window,
            limit: concat!($unit, "-limit"),
            remaining: concat!($unit, "-remaining"),
            reset: concat!($unit, "-reset"),
            unless: "",
        }
    };
}

/// OpenAI and its copies. The window is a minute, or a day for small accounts; the headers do not say which.
pub(crate) const OPENAI: &[Row] = &[
    field_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "-requests"),
    field_first!(TOKENS, UNKNOWN, "x-ratelimit-", "-tokens"),
    field_first!(TOKENS, UNKNOWN, "x-ratelimit-", "-project-tokens"),
    field_first!(Dimension::named("images"), UNKNOWN, "x-ratelimit-", "-images"),
];

/// Azure, whose gateways spell it in two ways.
pub(crate) const AZURE: &[Row] = &[
    field_first!(REQUESTS, UNKNOWN, "x-rate-limit-", "-requests"),
    field_first!(TOKENS, UNKNOWN, "x-rate-limit-", "-tokens"),
];

/// Anthropic: all per minute. `tokens` repeats the most restrictive limit, so it is read only if input and output
/// are not reported separately.
pub(crate) const ANTHROPIC: &[Row] = &[
    unit_first!(REQUESTS, MINUTE, "anthropic-ratelimit-requests"),
    unit_first!(INPUT, MINUTE, "anthropic-ratelimit-input-tokens"),
    unit_first!(OUTPUT, MINUTE, "anthropic-ratelimit-output-tokens"),
    Row {
        unless: "anthropic-ratelimit-input-tokens-remaining",
        ..unit_first!(TOKENS, MINUTE, "anthropic-ratelimit-tokens")
    },
    unit_first!(Dimension::named("priority input tokens"), MINUTE, "anthropic-priority-input-tokens"),
    unit_first!(Dimension::named("priority output tokens"), MINUTE, "anthropic-priority-output-tokens"),
    unit_first!(Dimension::named("fast input tokens"), MINUTE, "anthropic-fast-input-tokens"),
    unit_first!(Dimension::named("fast output tokens"), MINUTE, "anthropic-fast-output-tokens"),
];

/// Groq: "requests" are per day, "tokens" per minute.
pub(crate) const GROQ: &[Row] = &[
    field_first!(REQUESTS, DAY, "x-ratelimit-", "-requests"),
    field_first!(TOKENS, MINUTE, "x-ratelimit-", "-tokens"),
];

/// Names that include the window: Cerebras, Mistral and others.
pub(crate) const WINDOWED: &[Row] = &[
    field_first!(REQUESTS, MINUTE, "x-ratelimit-", "-requests-minute"),
    field_first!(REQUESTS, HOUR, "x-ratelimit-", "-requests-hour"),
    field_first!(REQUESTS, DAY, "x-ratelimit-", "-requests-day"),
    field_first!(TOKENS, MINUTE, "x-ratelimit-", "-tokens-minute"),
    field_first!(TOKENS, HOUR, "x-ratelimit-", "-tokens-hour"),
    field_first!(TOKENS, DAY, "x-ratelimit-", "-tokens-day"),
    field_first!(TOKENS, MONTH, "x-ratelimit-", "-tokens-month"),
    field_first!(REQUESTS, MINUTE, "x-ratelimit-", "-req-minute"),
];

/// Mistral's older names: "by size" means tokens.
pub(crate) const MISTRAL: &[Row] = &[
    field_first!(TOKENS, MINUTE, "x-ratelimitbysize-", "-minute"),
    field_first!(TOKENS, MONTH, "x-ratelimitbysize-", "-month"),
    field_first!(TOKENS, UNKNOWN, "ratelimitbysize-", ""),
];

/// Cohere, for trial keys.
pub(crate) const COHERE: &[Row] = &[
    unit_first!(REQUESTS, MINUTE, "x-trial-endpoint-call"),
    unit_first!(REQUESTS, MONTH, "x-endpoint-monthly-call"),
];

/// Together: the dynamic limits are enforced, whether they are larger than the others or not.
pub(crate) const TOGETHER: &[Row] = &[
    Row {
        reset: "x-ratelimit-reset",
        ..field_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "-dynamic")
    },
    Row {
        unless: "x-ratelimit-limit-dynamic",
        ..field_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "")
    },
    Row {
        reset: "x-ratelimit-reset",
        ..field_first!(TOKENS, UNKNOWN, "x-tokenlimit-", "-dynamic")
    },
    Row {
        reset: "x-ratelimit-reset",
        unless: "x-tokenlimit-limit-dynamic",
        ..field_first!(TOKENS, UNKNOWN, "x-tokenlimit-", "")
    },
];

/// Fireworks: the prompt, its uncached part, and generated tokens.
pub(crate) const FIREWORKS: &[Row] = &[
    field_first!(INPUT, MINUTE, "x-ratelimit-", "-tokens-prompt"),
    field_first!(
        Dimension::named("uncached input tokens"),
        MINUTE,
        "x-ratelimit-",
        "-tokens-cache-adjusted-prompt"
    ),
    field_first!(OUTPUT, MINUTE, "x-ratelimit-", "-tokens-generated"),
];

/// One limit without a unit: `OpenRouter` and many gateways.
pub(crate) const BARE: &[Row] = &[field_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "")];
