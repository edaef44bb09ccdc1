//! Google's two hosts.

use super::provider;
use crate::dialect::Dialect;
use crate::estimate::Rates;
use crate::{Accounting, Reason};

const GOOGLE: Dialect = Dialect {
    // Cancelled on its side.
    statuses: &[(499, Reason::Timeout)],
    limits: &[],
    // Its newer APIs have shapes of their own, and one host serves models of others.
    is_lenient: true,
    rates: Rates::GOOGLE,
    ..Dialect::COMMON
};

provider! {
    /// The Gemini API.
    ///
    /// Errors are judged by `google.rpc.QuotaFailure` and `RetryInfo`. A quota per day that is used up
    /// is exhausted although a delay of seconds is named, see [`DailyQuota`](crate::DailyQuota); one per
    /// minute passes within a minute. No header tells of limits. Only the prompt counts.
    Gemini: Dialect {
        name: "gemini",
        accounting: Accounting::input_only(),
        ..GOOGLE
    }
}

provider! {
    /// Vertex AI.
    ///
    /// Judged as [`Gemini`] is; but a `RESOURCE_EXHAUSTED` that names neither a quota nor a delay is
    /// about the capacity that all its customers share.
    VertexAi: Dialect {
        name: "vertex-ai",
        shares_capacity: true,
        ..GOOGLE
    }
}
