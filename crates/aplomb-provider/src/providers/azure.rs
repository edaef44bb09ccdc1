//! Azure.

use super::provider;
use crate::Accounting;
use crate::dialect::Dialect;
use crate::error::{hint, phrases};
use crate::estimate::Rates;
use crate::limits::rows;

provider! {
    /// Azure OpenAI: OpenAI's shapes, limits by deployment and region.
    ///
    /// Where a 429 has no `Retry-After`, the hint is in `x-rate-limit-reset-*` or the message; -1 in a
    /// header stands for "not known". "High demand" is about its capacity, and not about the account.
    AzureOpenAi: Dialect {
        name: "azure-openai",
        phrases: &[phrases::AZURE],
        resets: &[hint::azure, hint::drafts],
        limits: &[rows::OPENAI, rows::AZURE],
        // It filters contents before and behind a model, and hosts models of others.
        is_lenient: true,
        accounting: Accounting::upfront(),
        rates: Rates::OPENAI,
        ..Dialect::COMMON
    }
}
