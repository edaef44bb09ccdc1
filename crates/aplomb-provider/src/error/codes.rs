//! The meaning of an error code.

use super::code_table::{BASE_RESP, BROAD, EXACT, EXHAUSTED};
use crate::Settings;
#[allow(
    clippy::enum_glob_use,
    reason = "a table reads better without the prefix on each line"
)]
use aplomb_core::Reason::{self, *};

/// The meaning of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) reason: Reason,
    /// True if it takes precedence over the status.
    pub(crate) is_exact: bool,
}

/// Reasons and their codes in lower case.
pub(crate) type Table = &'static [(Reason, &'static [&'static str])];

/// The known codes: the user's, those with a meaning of their own at this provider, and the common ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codes<'a> {
    pub(crate) settings: &'a Settings,
    /// Codes with a meaning of their own at this provider.
    pub(crate) dialect: Table,
    /// Statuses with a meaning of their own at this provider.
    pub(crate) statuses: &'static [(u16, Reason)],
}

impl Codes<'_> {
    /// The meaning of a code, if it is known.
    pub(crate) fn known(&self, code: &str) -> Option<Code> {
        let code = code.to_ascii_lowercase();
        let exhausted = || EXHAUSTED.iter().any(|end| code.ends_with(end)).then_some(QuotaExhausted);
        let exact = find(self.dialect, &code).or_else(|| find(EXACT, &code)).or_else(exhausted);
        exact
            .map(|reason| Code { reason, is_exact: true })
            .or_else(|| find(BROAD, &code).map(|reason| Code { reason, is_exact: false }))
    }

    /// The user's meaning of a code.
    pub(crate) fn own(&self, code: &str) -> Option<Code> {
        let reason = self.settings.own_code(&code.to_ascii_lowercase())?;
        Some(Code { reason, is_exact: true })
    }

    /// The meaning of a status.
    pub(crate) fn by_status(&self, status: u16) -> Reason {
        let own = self.statuses.iter().find(|&&(known, _)| known == status);
        own.map_or_else(|| by_status(status), |&(_, reason)| reason)
    }
}

/// The meaning of a code in `MiniMax`'s `base_resp`.
pub(crate) fn of_base_resp(code: u64) -> Option<Code> {
    let (_, reason) = BASE_RESP.iter().find(|(known, _)| *known == code)?;
    Some(Code { reason: *reason, is_exact: true })
}

fn find(table: Table, code: &str) -> Option<Reason> {
    let row = table.iter().find(|(_, codes)| codes.contains(&code));
    row.map(|&(reason, _)| reason)
}

/// A code without its wrapping: AWS's `com.amazon.coral#ThrottlingException:http://…`, the
/// IETF's `https://iana.org/assignments/http-problem-types#quota-exceeded`.
pub(crate) fn bare(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split(':').next().unwrap_or(code).trim()
}

/// The common meaning of a status.
const fn by_status(status: u16) -> Reason {
    match status {
        200..=299 => Answered,
        401 | 403 => Unauthorized,
        402 => QuotaExhausted,
        404 | 410 => NotFound,
        408 | 504 | 522 | 524 => Timeout,
        409 | 425 => Conflict,
        413 => RequestTooLarge,
        429 => RateLimited,
        503 | 529 => Overloaded,
        500 | 502 | 506..=599 => ServerError,
        // 101 and 3xx: the endpoint is elsewhere, or something else answered. 501 and 505: what the server does not
        // implement will not work later either.
        _ => InvalidRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappings_are_removed() {
        for (wrapped, code) in [
            (
                "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
                "ThrottlingException",
            ),
            ("com.amazon.coral.service#AccessDeniedException", "AccessDeniedException"),
            ("https://iana.org/assignments/http-problem-types#quota-exceeded", "quota-exceeded"),
            ("rate_limit_exceeded", "rate_limit_exceeded"),
            ("", ""),
        ] {
            assert_eq!(bare(wrapped), code);
        }
    }

    #[test]
    fn no_code_is_in_two_rows() {
        let all = EXACT.iter().chain(BROAD).flat_map(|(_, codes)| codes.iter());
        let mut all = all.collect::<Vec<_>>();
        let len = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), len);
    }
}
