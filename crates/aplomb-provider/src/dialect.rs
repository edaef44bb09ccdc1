//! Where providers differ, as data.

use aplomb_core::Scope;

use crate::error::code::Table;
use crate::error::hint::{self, Hint};
use crate::error::phrases::{self, Phrase};
use crate::estimate::Rates;
use crate::limits::rows::{self, Row};
use crate::{Accounting, Reason};

/// Where a provider differs from the others. What is not set is as at [`Dialect::COMMON`].
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) name: &'static str,
    /// Codes that mean something else here than elsewhere.
    pub(crate) codes: Table,
    /// Statuses that mean something else here than elsewhere.
    pub(crate) statuses: &'static [(u16, Reason)],
    /// What is told in words alone.
    pub(crate) phrases: &'static [&'static [Phrase]],
    /// Whom a 409 concerns.
    pub(crate) conflict: Scope,
    /// A quota that is used up without being named is the capacity that everybody shares.
    pub(crate) shares_capacity: bool,
    /// When what a throttled request was refused for is there again, by headers; the first that says it.
    pub(crate) resets: &'static [Hint],
    /// Which headers tell of limits.
    pub(crate) limits: &'static [&'static [Row]],
    /// Its streams may end without their marker once they have said why.
    pub(crate) is_lenient: bool,
    pub(crate) accounting: Accounting,
    pub(crate) rates: Rates,
}

impl Dialect {
    /// OpenAI's shapes and headers, strictly read: what most providers have taken over.
    pub(crate) const COMMON: Self = Self {
        name: "",
        codes: &[],
        statuses: &[],
        phrases: &[],
        conflict: Scope::Request,
        shares_capacity: false,
        resets: &[hint::drafts],
        limits: &[rows::OPENAI],
        is_lenient: false,
        accounting: Accounting::unknown(),
        rates: Rates::UNKNOWN,
    };

    /// Whatever any provider says, since any may be behind it.
    pub(crate) const ANY: Self = Self {
        phrases: phrases::ALL,
        shares_capacity: true,
        resets: &[
            hint::anthropic,
            hint::drafts,
            hint::windowed,
            hint::window,
            hint::azure,
        ],
        limits: &[
            rows::OPENAI,
            rows::AZURE,
            rows::ANTHROPIC,
            rows::WINDOWED,
            rows::MISTRAL,
            rows::COHERE,
            rows::FIREWORKS,
            rows::BARE,
        ],
        is_lenient: true,
        ..Self::COMMON
    };
}
