//! Which headers tell of which limit, provider by provider.
//!
//! Whatever form a reset comes in, and whatever it is called, it says when all of the limit is there
//! again: at OpenAI, Anthropic, Groq and Cerebras when a bucket that flows back continuously is full
//! (`(limit - remaining) × window / limit` fits every report), elsewhere when a window ends. It is not
//! when the next request is admitted, which may be at once.

use std::time::Duration;

use aplomb_core::Dimension;

/// One limit: what it counts, in which window where that is known, and who tells of it. A name that is
/// empty is that of no header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) dimension: Dimension,
    pub(crate) window: Option<Duration>,
    pub(crate) limit: &'static str,
    pub(crate) remaining: &'static str,
    pub(crate) reset: &'static str,
    /// A header beside which this limit is told twice.
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

/// `x-ratelimit-limit-requests`: the part before the unit.
macro_rules! part_first {
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

/// `anthropic-ratelimit-requests-limit`: the unit before the part.
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

/// OpenAI and who copies it. The window is a minute, or a day for small accounts: it is not said.
pub(crate) const OPENAI: &[Row] = &[
    part_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "-requests"),
    part_first!(TOKENS, UNKNOWN, "x-ratelimit-", "-tokens"),
    part_first!(TOKENS, UNKNOWN, "x-ratelimit-", "-project-tokens"),
    part_first!(Dimension::named("images"), UNKNOWN, "x-ratelimit-", "-images"),
];

/// Azure, whose gateways write it in two ways.
pub(crate) const AZURE: &[Row] = &[
    part_first!(REQUESTS, UNKNOWN, "x-rate-limit-", "-requests"),
    part_first!(TOKENS, UNKNOWN, "x-rate-limit-", "-tokens"),
];

/// Anthropic: all per minute. `tokens` is whichever limit is the most restrictive: it is read only
/// where input and output are not told apart.
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

/// Groq: "requests" are those of a day, "tokens" those of a minute.
pub(crate) const GROQ: &[Row] = &[
    part_first!(REQUESTS, DAY, "x-ratelimit-", "-requests"),
    part_first!(TOKENS, MINUTE, "x-ratelimit-", "-tokens"),
];

/// Names that say their window: Cerebras, Mistral and others.
pub(crate) const WINDOWED: &[Row] = &[
    part_first!(REQUESTS, MINUTE, "x-ratelimit-", "-requests-minute"),
    part_first!(REQUESTS, HOUR, "x-ratelimit-", "-requests-hour"),
    part_first!(REQUESTS, DAY, "x-ratelimit-", "-requests-day"),
    part_first!(TOKENS, MINUTE, "x-ratelimit-", "-tokens-minute"),
    part_first!(TOKENS, HOUR, "x-ratelimit-", "-tokens-hour"),
    part_first!(TOKENS, DAY, "x-ratelimit-", "-tokens-day"),
    part_first!(TOKENS, MONTH, "x-ratelimit-", "-tokens-month"),
    part_first!(REQUESTS, MINUTE, "x-ratelimit-", "-req-minute"),
];

/// Mistral's older names: what it limits "by size" are tokens.
pub(crate) const MISTRAL: &[Row] = &[
    part_first!(TOKENS, MINUTE, "x-ratelimitbysize-", "-minute"),
    part_first!(TOKENS, MONTH, "x-ratelimitbysize-", "-month"),
    part_first!(TOKENS, UNKNOWN, "ratelimitbysize-", ""),
];

/// Cohere, for trial keys.
pub(crate) const COHERE: &[Row] = &[
    unit_first!(REQUESTS, MINUTE, "x-trial-endpoint-call"),
    unit_first!(REQUESTS, MONTH, "x-endpoint-monthly-call"),
];

/// Together: the dynamic limits are those that are enforced, be they larger than the others or not.
pub(crate) const TOGETHER: &[Row] = &[
    Row {
        reset: "x-ratelimit-reset",
        ..part_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "-dynamic")
    },
    Row {
        unless: "x-ratelimit-limit-dynamic",
        ..part_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "")
    },
    Row {
        reset: "x-ratelimit-reset",
        ..part_first!(TOKENS, UNKNOWN, "x-tokenlimit-", "-dynamic")
    },
    Row {
        reset: "x-ratelimit-reset",
        unless: "x-tokenlimit-limit-dynamic",
        ..part_first!(TOKENS, UNKNOWN, "x-tokenlimit-", "")
    },
];

/// Fireworks: prompt, the part of it that was not cached, and what is generated.
pub(crate) const FIREWORKS: &[Row] = &[
    part_first!(INPUT, MINUTE, "x-ratelimit-", "-tokens-prompt"),
    part_first!(
        Dimension::named("uncached input tokens"),
        MINUTE,
        "x-ratelimit-",
        "-tokens-cache-adjusted-prompt"
    ),
    part_first!(OUTPUT, MINUTE, "x-ratelimit-", "-tokens-generated"),
];

/// One limit without a unit, as `OpenRouter` and many gateways have it.
pub(crate) const BARE: &[Row] = &[part_first!(REQUESTS, UNKNOWN, "x-ratelimit-", "")];
