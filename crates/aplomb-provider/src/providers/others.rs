//! Providers that differ in little from what is common.

use super::provider;
use crate::dialect::Dialect;
use crate::error::{hint, phrases};
use crate::limits::rows;
use crate::{Accounting, Reason};

provider! {
    /// Mistral: a 429 with code 3505 is about its capacity, one with 1300 about the account.
    Mistral: Dialect {
        name: "mistral",
        phrases: &[phrases::MISTRAL],
        limits: &[rows::WINDOWED, rows::MISTRAL],
        ..Dialect::COMMON
    }
}

provider! {
    /// Cohere: the calls of a trial key are counted by minute and by month; a month that is used up is
    /// told in words.
    Cohere: Dialect {
        name: "cohere",
        phrases: &[phrases::COHERE],
        resets: &[hint::drafts, hint::window],
        limits: &[rows::COHERE],
        ..Dialect::COMMON
    }
}

provider! {
    /// Groq: its limit of requests is one of a day, that of tokens one of a minute. `max_tokens` is
    /// charged when a request arrives; input from a cache does not count.
    Groq: Dialect {
        name: "groq",
        // Flex processing has no capacity left.
        statuses: &[(498, Reason::Overloaded)],
        limits: &[rows::GROQ],
        accounting: Accounting::upfront().cached_counts(false),
        ..Dialect::COMMON
    }
}

provider! {
    /// Together: at or below the rate it gives, a failure is a 503; above it, a 429.
    Together: Dialect {
        name: "together",
        resets: &[hint::drafts, hint::window],
        limits: &[rows::TOGETHER],
        ..Dialect::COMMON
    }
}

provider! {
    /// Fireworks: prompt and generated tokens are limited apart. An account that is suspended is a 412;
    /// an answer above the limit says so in `x-ratelimit-over-limit`.
    Fireworks: Dialect {
        name: "fireworks",
        statuses: &[(412, Reason::QuotaExhausted)],
        limits: &[rows::OPENAI, rows::FIREWORKS],
        ..Dialect::COMMON
    }
}

provider! {
    /// `DeepSeek`: it limits how many requests are in flight, and says no numbers. Blank lines and comments
    /// keep a connection alive.
    DeepSeek: Dialect {
        name: "deepseek",
        statuses: &[(429, Reason::TooManyAtOnce)],
        limits: &[],
        ..Dialect::COMMON
    }
}

provider! {
    /// xAI: used-up credits come as 403 or 429, in words.
    XAi: Dialect {
        name: "xai",
        phrases: &[phrases::XAI],
        ..Dialect::COMMON
    }
}

provider! {
    /// Hugging Face: the IETF's `RateLimit` fields at its hub; a model that is being loaded is a 503 with
    /// `estimated_time`.
    HuggingFace: Dialect {
        name: "huggingface",
        limits: &[],
        // Providers of others are behind its router.
        is_lenient: true,
        ..Dialect::COMMON
    }
}

provider! {
    /// Scale's LLM Engine: `{"detail": "…"}`, no limits told, no codes.
    LlmEngine: Dialect {
        name: "scale-llm-engine",
        // Its one limit is of what is in flight.
        statuses: &[(429, Reason::TooManyAtOnce)],
        limits: &[],
        is_lenient: true,
        ..Dialect::COMMON
    }
}

/// What Cerebras charges at most for an answer, and where the request does not bound it.
const CEREBRAS_OUTPUT: u64 = 16_384;

provider! {
    /// Cerebras: limits whose names say their window. `max_completion_tokens`, up to 16,384 and that much
    /// where there is none, is charged when a request arrives.
    Cerebras: Dialect {
        name: "cerebras",
        phrases: &[phrases::CEREBRAS],
        resets: &[hint::drafts, hint::windowed],
        limits: &[rows::WINDOWED],
        accounting: Accounting::upfront().expected_output(CEREBRAS_OUTPUT).most_output(CEREBRAS_OUTPUT),
        ..Dialect::COMMON
    }
}
