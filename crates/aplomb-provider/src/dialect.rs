//! How providers differ, as data.

use crate::Accounting;
use crate::error::codes::Table;
use crate::error::header_hints::{self as hints, HeaderHint};
use crate::error::phrases::{self, Phrase};
use crate::estimate::ImageTokens;
use crate::limits::table::{self as limits, Row};
use aplomb_core::{Reason, Scope};

/// How a provider differs from the others. Everything else is as in [`Dialect::COMMON`].
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) name: &'static str,
    /// Codes with a meaning of their own at this provider.
    pub(crate) codes: Table,
    /// Statuses with a meaning of their own at this provider.
    pub(crate) statuses: &'static [(u16, Reason)],
    /// Phrases of the provider where it has no code.
    pub(crate) phrases: &'static [&'static [Phrase]],
    /// The scope of a 409.
    pub(crate) conflict_scope: Scope,
    /// An exhausted quota without a name is the capacity shared by all customers.
    pub(crate) shares_capacity: bool,
    /// Headers that say when a throttled request may be sent again. The first one that is present counts.
    pub(crate) hints: &'static [HeaderHint],
    /// Headers that report limits.
    pub(crate) limits: &'static [&'static [Row]],
    /// Streams may end without their marker once they have said why they end.
    pub(crate) is_lenient: bool,
    pub(crate) accounting: Accounting,
    pub(crate) image_tokens: ImageTokens,
}

impl Dialect {
    /// OpenAI's shapes and headers, read strictly: what most providers have adopted.
    pub(crate) const COMMON: Self = Self {
        name: "",
        codes: &[],
        statuses: &[],
        phrases: &[],
        conflict_scope: Scope::Request,
        shares_capacity: false,
        hints: &[hints::ietf],
        limits: &[limits::OPENAI],
        is_lenient: false,
        accounting: Accounting::unknown(),
        image_tokens: ImageTokens::UNKNOWN,
    };

    /// Everything that any provider says, for gateways and unknown servers.
    pub(crate) const ANY: Self = Self {
        phrases: phrases::ALL,
        shares_capacity: true,
        hints: &[
            hints::anthropic,
            hints::ietf,
            hints::named_window,
            hints::window,
            hints::azure,
        ],
        limits: &[
            limits::OPENAI,
            limits::AZURE,
            limits::ANTHROPIC,
            limits::WINDOWED,
            limits::MISTRAL,
            limits::COHERE,
            limits::FIREWORKS,
            limits::BARE,
        ],
        is_lenient: true,
        ..Self::COMMON
    };

    /// Any unknown server.
    pub(crate) const GENERIC: Self = Self { name: "generic", ..Self::ANY };
}
