//! Gateways in front of other providers, and unknown servers.

use super::provider;
use crate::dialect::Dialect;
use crate::error::{header_hints as hints, phrases};
use crate::limits::table as limits;

provider! {
    /// Any other server: gateways, self-hosted servers, everything that is not known.
    ///
    /// It goes by the status, tries the common shapes of error bodies, and understands the codes, headers,
    /// words and streams of every known provider. It forgives what it does not understand: a stream of an
    /// unknown shape counts as complete when it ends, and its events count as content.
    Generic: Dialect::GENERIC
}

provider! {
    /// The proxy of `LiteLLM`.
    ///
    /// Any provider may be behind it. Headers of that provider start with `llm_provider-`; the proxy's own
    /// take precedence. All other providers here read such headers too.
    LiteLlm: Dialect {
        name: "litellm",
        ..Dialect::ANY
    }
}

provider! {
    /// `OpenRouter`: codes in `error.metadata`, one limit without a unit, errors in place of answers.
    OpenRouter: Dialect {
        name: "openrouter",
        phrases: &[phrases::OPENROUTER],
        hints: &[hints::ietf, hints::window],
        limits: &[limits::BARE],
        ..Dialect::COMMON
    }
}

provider! {
    /// Hugging Face: the IETF's `RateLimit` headers on its hub; 503 with `estimated_time` while a model is
    /// being loaded.
    HuggingFace: Dialect {
        name: "huggingface",
        limits: &[],
        // Its router forwards to other providers.
        is_lenient: true,
        ..Dialect::COMMON
    }
}
