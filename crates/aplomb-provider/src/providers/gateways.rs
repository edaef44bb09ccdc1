//! Who stands before other providers.

use super::provider;
use crate::dialect::Dialect;
use crate::error::{hint, phrases};
use crate::limits::rows;

provider! {
    /// `OpenRouter`: codes in `error.metadata`, one limit without a unit, errors in place of answers.
    OpenRouter: Dialect {
        name: "openrouter",
        phrases: &[phrases::OPENROUTER],
        resets: &[hint::drafts, hint::window],
        limits: &[rows::BARE],
        ..Dialect::COMMON
    }
}

provider! {
    /// `LiteLLM`'s proxy.
    ///
    /// Any provider may be behind it. What that one said comes in headers that begin with
    /// `llm_provider-`; what the proxy says itself goes before. Every other provider here reads such
    /// headers too.
    LiteLlm: Dialect {
        name: "litellm",
        ..Dialect::ANY
    }
}
