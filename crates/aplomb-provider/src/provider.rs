//! The trait that every provider implements.

use std::fmt;
use std::sync::Arc;

use aplomb_core::{Classification, Reading, Usage};

use crate::dialect::Dialect;
use crate::error::classify;
use crate::{Accounting, AnyReader, Estimate, Head, StreamEnd, StreamReader, Tokenizer};
use crate::{buffered, include_usage, limits, stream};

/// The dialect of the defaults.
static GENERIC: Dialect = Dialect::GENERIC;

/// How an AI provider speaks: how it reports failures, limits and usage, and how its answers end.
///
/// Every method is a pure function of bytes and headers: it neither waits nor panics, whatever the bytes are.
/// The trait is object-safe. Every method except [`name`](Self::name) has a default, that of
/// [`Generic`](crate::Generic), so an implementation states only what differs.
///
/// # Examples
///
/// A server that answers 418 when its queue is full:
///
/// ```
/// use aplomb_core::{Classification, Outcome, Reason, Scope, WallClock};
/// use aplomb_provider::{Generic, Head, Provider};
/// use http::{HeaderMap, StatusCode};
///
/// #[derive(Debug)]
/// struct Teapot;
///
/// impl Provider for Teapot {
///     fn name(&self) -> &'static str {
///         "teapot"
///     }
///
///     fn judge(&self, head: &Head<'_>, body: &[u8]) -> Classification {
///         if head.status() == StatusCode::IM_A_TEAPOT {
///             let outcome = Outcome::throttled().with_scope(Scope::Server);
///             Classification::new(outcome).with_reason(Reason::Overloaded)
///         } else {
///             Generic.judge(head, body)
///         }
///     }
/// }
///
/// let (headers, clock) = (HeaderMap::new(), WallClock::system());
/// let head = Head::new(StatusCode::IM_A_TEAPOT, &headers, &clock);
/// assert!(Teapot.judge(&head, b"").outcome().is_retryable());
/// ```
pub trait Provider: fmt::Debug + Send + Sync {
    /// The provider's name, as a label.
    fn name(&self) -> &'static str;

    /// Judges a response by its head and as much of its body as was read.
    ///
    /// The status may be any: a 2xx whose body is an error is that error, and a redirect or an upgrade that
    /// was not requested is a permanent failure. Whether a 2xx is complete is up to [`ending`](Self::ending).
    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Classification {
        classify::response(head, body, &GENERIC)
    }

    /// Returns whether [`judge`](Self::judge) should see the body of a 2xx as well, once all of it has been received.
    ///
    /// The default is `true`. The built-in providers say `false`, because their stream readers find the same
    /// errors and nothing needs to be read twice.
    fn judges_success(&self) -> bool {
        true
    }

    /// Reads the limits that a response's headers report: one reading per limit, none if there are none.
    ///
    /// The reset of a reading is when the whole limit is available again, which is later than when the next
    /// request is admitted.
    fn limits(&self, head: &Head<'_>) -> Vec<Reading> {
        limits::read(head, GENERIC.limits)
    }

    /// Reads the usage of a buffered answer, from JSON, an event stream or its headers.
    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
        buffered::usage(head, body, || self.stream(head))
    }

    /// Creates a reader for an answer that is received piece by piece: server-sent events, an AWS event stream, a
    /// JSON list, JSON lines or a single JSON value.
    ///
    /// A body of another media type is trusted: its reader reports content once and completes at its end.
    /// Without a media type, the first bytes decide.
    ///
    /// For a single JSON answer the reader reports what [`usage`](Self::usage) and [`ending`](Self::ending)
    /// report for the buffered body. An error inside it is judged by its body and the head's date alone.
    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        Box::new(stream::reader(head, &GENERIC))
    }

    /// The same reader as [`stream`](Self::stream), for an owner that keeps it in place.
    #[doc(hidden)]
    fn reader(&self, head: &Head<'_>) -> AnyReader {
        self.stream(head).into()
    }

    /// Says how a buffered response ended: an event stream needs its end marker, JSON must be complete, a
    /// list and lines need their last chunk; anything else is trusted.
    fn ending(&self, head: &Head<'_>, body: &[u8]) -> StreamEnd {
        let judge = || self.judge(head, body);
        buffered::ending(head, body, self.judges_success(), judge, || self.stream(head))
    }

    /// Joins the text of a buffered answer: that of its first choice if there are several, `None` if it has
    /// no text.
    fn text(&self, head: &Head<'_>, body: &[u8]) -> Option<String> {
        buffered::text(head, body, || self.stream(head))
    }

    /// Estimates how many tokens a request with this path and body will consume. Embeddings, rankings and
    /// token counts have no output.
    ///
    /// Without a tokenizer, four characters count as one token; see also [`Settings::tokenizer`].
    ///
    /// [`Settings::tokenizer`]: crate::Settings::tokenizer
    fn estimate(&self, path: &str, body: &[u8], tokenizer: Option<&dyn Tokenizer>) -> Estimate {
        Estimate::of(path, body, tokenizer, GENERIC.image_tokens)
    }

    /// Adds `include_usage` to the body of a streaming request that does not say whether its stream should
    /// report usage, if the provider reports it only on demand, as OpenAI's chat and completions endpoints
    /// do. Returns `None` if there is nothing to change.
    fn include_usage(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
        include_usage::added(path, body)
    }

    /// How the provider counts tokens against its quotas.
    fn accounting(&self) -> Accounting {
        GENERIC.accounting
    }
}

/// Forwards every method to the provider inside a pointer.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[warn(clippy::missing_trait_methods, reason = "a default would hide the inner provider's own method")]
        impl<P: Provider + ?Sized> Provider for $pointer {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn judge(&self, head: &Head<'_>, body: &[u8]) -> Classification {
                (**self).judge(head, body)
            }

            fn judges_success(&self) -> bool {
                (**self).judges_success()
            }

            fn limits(&self, head: &Head<'_>) -> Vec<Reading> {
                (**self).limits(head)
            }

            fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
                (**self).usage(head, body)
            }

            fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
                (**self).stream(head)
            }

            fn reader(&self, head: &Head<'_>) -> AnyReader {
                (**self).reader(head)
            }

            fn ending(&self, head: &Head<'_>, body: &[u8]) -> StreamEnd {
                (**self).ending(head, body)
            }

            fn text(&self, head: &Head<'_>, body: &[u8]) -> Option<String> {
                (**self).text(head, body)
            }

            fn estimate(&self, path: &str, body: &[u8], tokenizer: Option<&dyn Tokenizer>) -> Estimate {
                (**self).estimate(path, body, tokenizer)
            }

            fn include_usage(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
                (**self).include_usage(path, body)
            }

            fn accounting(&self) -> Accounting {
                (**self).accounting()
            }
        }
    )+};
}

forward!(&P, Box<P>, Arc<P>);
