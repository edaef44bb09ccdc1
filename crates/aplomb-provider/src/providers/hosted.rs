//! Providers that host their models.

use super::provider;
use crate::Accounting;
use crate::dialect::Dialect;
use crate::error::{header_hints as hints, phrases};
use crate::estimate::ImageTokens;
use crate::limits::table as limits;
use aplomb_core::{Reason, Scope};

provider! {
    /// OpenAI, and servers that copy it closely.
    ///
    /// Its `x-ratelimit-reset-*` headers are never a hint: they say when a bucket is full, not when a request is
    /// admitted. Hints are in `retry-after-ms`, `Retry-After` or the message. On arrival, a request is charged
    /// the larger of its prompt and its `max_tokens`.
    OpenAi: Dialect {
        name: "openai",
        // A lock on its side timed out.
        conflict_scope: Scope::Server,
        accounting: Accounting::larger_upfront(),
        image_tokens: ImageTokens::OPENAI,
        ..Dialect::COMMON
    }
}

provider! {
    /// Azure OpenAI: OpenAI's shapes, limits by deployment and region.
    ///
    /// If a 429 has no `Retry-After`, the hint is in `x-rate-limit-reset-*` or the message; -1 in a header means
    /// "unknown". "High demand" is about its capacity, not about the account.
    AzureOpenAi: Dialect {
        name: "azure-openai",
        phrases: &[phrases::AZURE],
        hints: &[hints::azure, hints::ietf],
        limits: &[limits::OPENAI, limits::AZURE],
        // It filters prompts and answers, and hosts models of others.
        is_lenient: true,
        accounting: Accounting::upfront(),
        image_tokens: ImageTokens::OPENAI,
        ..Dialect::COMMON
    }
}

provider! {
    /// Anthropic.
    ///
    /// If a 429 has no `Retry-After`, the hint is the reset of the exhausted dimension, relative to the
    /// response's own date. Output counts as it is produced, whatever `max_tokens` allows, and input that is read
    /// from a cache does not count.
    Anthropic: Dialect {
        name: "anthropic",
        phrases: &[phrases::ANTHROPIC],
        hints: &[hints::anthropic],
        limits: &[limits::ANTHROPIC],
        accounting: Accounting::as_produced().cached_counts(false),
        image_tokens: ImageTokens::ANTHROPIC,
        ..Dialect::COMMON
    }
}

const GOOGLE: Dialect = Dialect {
    // Cancelled on its side.
    statuses: &[(499, Reason::Timeout)],
    limits: &[],
    // Its newer APIs have shapes of their own, and one host serves models of others.
    is_lenient: true,
    image_tokens: ImageTokens::GOOGLE,
    ..Dialect::COMMON
};

provider! {
    /// The Gemini API.
    ///
    /// Errors are judged by `google.rpc.QuotaFailure` and `RetryInfo`. An exhausted daily quota is final even if
    /// a delay of seconds is named, see [`DailyQuota`](crate::DailyQuota); a quota per minute passes within a
    /// minute. No header reports limits. Only the prompt counts.
    Gemini: Dialect {
        name: "gemini",
        accounting: Accounting::input_only(),
        ..GOOGLE
    }
}

provider! {
    /// Vertex AI.
    ///
    /// Like [`Gemini`], but a `RESOURCE_EXHAUSTED` that names neither a quota nor a delay is about the capacity
    /// that all its customers share.
    VertexAi: Dialect {
        name: "vertex-ai",
        shares_capacity: true,
        ..GOOGLE
    }
}

provider! {
    /// AWS Bedrock: errors by `x-amzn-errortype`, delays by `x-amz-retry-after`, usage in bodies and headers.
    ///
    /// Its streams are AWS event streams. On arrival, a request reserves its prompt and its
    /// maximum output, which is corrected when it ends.
    Bedrock: Dialect {
        name: "bedrock",
        // Throttling, as AWS's own SDKs know it.
        codes: &[(
            Reason::RateLimited,
            &[
                "throttling",
                "throttledexception",
                "requestthrottledexception",
                "toomanyrequestsexception",
                "provisionedthroughputexceededexception",
                "requestlimitexceeded",
                "bandwidthlimitexceeded",
                "limitexceededexception",
                "requestthrottled",
                "slowdown",
                "priorrequestnotcomplete",
                "ec2throttledexception",
            ],
        )],
        // The model server failed.
        statuses: &[(424, Reason::ServerError)],
        phrases: &[phrases::BEDROCK],
        limits: &[],
        // It serves many models, each in its own shape.
        is_lenient: true,
        accounting: Accounting::reserved_then_corrected(),
        image_tokens: ImageTokens::ANTHROPIC,
        ..Dialect::COMMON
    }
}

provider! {
    /// Mistral: a 429 with code 3505 is about its capacity, one with 1300 about the account.
    Mistral: Dialect {
        name: "mistral",
        phrases: &[phrases::MISTRAL],
        limits: &[limits::WINDOWED, limits::MISTRAL],
        ..Dialect::COMMON
    }
}

provider! {
    /// Cohere: calls of trial keys are limited per minute and per month; an exhausted month is reported in
    /// words.
    Cohere: Dialect {
        name: "cohere",
        phrases: &[phrases::COHERE],
        hints: &[hints::ietf, hints::window],
        limits: &[limits::COHERE],
        ..Dialect::COMMON
    }
}

provider! {
    /// Groq: requests are limited per day, tokens per minute. `max_tokens` is charged on arrival; cached input
    /// does not count.
    Groq: Dialect {
        name: "groq",
        // Flex processing has no capacity left.
        statuses: &[(498, Reason::Overloaded)],
        limits: &[limits::GROQ],
        accounting: Accounting::upfront().cached_counts(false),
        ..Dialect::COMMON
    }
}

provider! {
    /// Together: a failure at or below the granted rate is a 503, above it a 429.
    Together: Dialect {
        name: "together",
        hints: &[hints::ietf, hints::window],
        limits: &[limits::TOGETHER],
        ..Dialect::COMMON
    }
}

provider! {
    /// Fireworks: prompt and generated tokens have separate limits. 412 means a suspended account; an answer
    /// above the limit has `x-ratelimit-over-limit`.
    Fireworks: Dialect {
        name: "fireworks",
        statuses: &[(412, Reason::QuotaExhausted)],
        limits: &[limits::OPENAI, limits::FIREWORKS],
        ..Dialect::COMMON
    }
}

provider! {
    /// `DeepSeek`: limits the requests in flight, and reports no numbers. Blank lines and comments keep a
    /// connection alive.
    DeepSeek: Dialect {
        name: "deepseek",
        statuses: &[(429, Reason::TooManyAtOnce)],
        limits: &[],
        ..Dialect::COMMON
    }
}

provider! {
    /// xAI: exhausted credits are a 403 or a 429, in words.
    XAi: Dialect {
        name: "xai",
        phrases: &[phrases::XAI],
        ..Dialect::COMMON
    }
}

provider! {
    /// Scale's LLM Engine: `{"detail": "…"}`, no codes, no reported limits.
    LlmEngine: Dialect {
        name: "scale-llm-engine",
        // Its only limit is on the requests in flight.
        statuses: &[(429, Reason::TooManyAtOnce)],
        limits: &[],
        is_lenient: true,
        ..Dialect::COMMON
    }
}

/// The maximum output that Cerebras charges, also for a request without a maximum.
const CEREBRAS_OUTPUT: u64 = 16_384;

provider! {
    /// Cerebras: the names of its limits include the window. `max_completion_tokens` is charged on arrival, at
    /// most and by default 16,384.
    Cerebras: Dialect {
        name: "cerebras",
        phrases: &[phrases::CEREBRAS],
        hints: &[hints::ietf, hints::named_window],
        limits: &[limits::WINDOWED],
        accounting: Accounting::upfront().expected_output(CEREBRAS_OUTPUT).max_output(CEREBRAS_OUTPUT),
        ..Dialect::COMMON
    }
}
