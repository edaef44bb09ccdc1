//! OpenAI.

use aplomb_core::Scope;

use super::provider;
use crate::Accounting;
use crate::dialect::Dialect;
use crate::estimate::Rates;

provider! {
    /// OpenAI: chat completions, responses, embeddings, images; and servers that copy them closely.
    ///
    /// Its `x-ratelimit-reset-*` headers are no hint: they name the time until a bucket is full, not
    /// until a request is admitted. The hint is in `retry-after-ms`, `Retry-After` or the message.
    /// A request is charged the larger of its prompt and its `max_tokens` when it arrives.
    OpenAi: Dialect {
        name: "openai",
        // A lock on its side timed out.
        conflict: Scope::Server,
        accounting: Accounting::larger_upfront(),
        rates: Rates::OPENAI,
        ..Dialect::COMMON
    }
}
