//! Anthropic.

use super::provider;
use crate::Accounting;
use crate::dialect::Dialect;
use crate::error::{hint, phrases};
use crate::estimate::Rates;
use crate::limits::rows;

provider! {
    /// Anthropic's messages.
    ///
    /// Where a 429 has no `Retry-After`, the hint is the reset of the dimension that is used up,
    /// counted against the response's own date. Output counts as it is produced, whatever `max_tokens`
    /// allows, and input that is read from a cache does not count.
    Anthropic: Dialect {
        name: "anthropic",
        phrases: &[phrases::ANTHROPIC],
        resets: &[hint::anthropic],
        limits: &[rows::ANTHROPIC],
        accounting: Accounting::as_produced().cached_counts(false),
        rates: Rates::ANTHROPIC,
        ..Dialect::COMMON
    }
}
