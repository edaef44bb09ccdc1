//! What a dialect has to answer.

use std::fmt;
use std::sync::Arc;

use aplomb_core::{Reading, Usage};

use crate::{
    Accounting, CharactersPerToken, Estimate, Generic, Head, Judgement, StreamEnd, StreamReader, Tokenizer,
};
use crate::{ask_usage, estimate, whole};

/// The dialect an AI provider speaks: how it says that a request failed and why, when to come back,
/// what its limits are, what an answer consumed and where it ends.
///
/// Every method is a pure function of bytes and headers; none waits, and none panics, whatever the
/// bytes are. The trait is object-safe. Each method but the name has a default that asks
/// [`Generic`], so a dialect of one's own says only what differs.
///
/// # Examples
///
/// A server that answers 418 when its queue is full:
///
/// ```
/// use aplomb_core::{Outcome, Scope, WallClock};
/// use aplomb_provider::{Generic, Head, Judgement, Provider, Reason};
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
///     fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
///         if head.status() == StatusCode::IM_A_TEAPOT {
///             Judgement::new(Outcome::throttled().with_scope(Scope::Server), Reason::Overloaded)
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

    /// Judges a response whose body is there, as far as it was read: an error, or an answer.
    ///
    /// A JSON answer that is an error although its status says otherwise is judged as that error.
    /// Whether an answer is whole is for [`whole`](Self::whole) to say.
    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
        Generic.judge(head, body)
    }

    /// Reads what the head of a response says about the provider's limits: one reading for each, none
    /// where it says nothing.
    ///
    /// The reset of a reading says when all of the limit is there again, which is later than when the
    /// next request is admitted.
    fn limits(&self, head: &Head<'_>) -> Vec<Reading> {
        Generic.limits(head)
    }

    /// Reads what a whole answer consumed, from JSON, an event stream, or its headers.
    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
        Generic.usage(head, body)
    }

    /// Begins to read an answer that streams by: server-sent events, a list of JSON values, one to a
    /// line, or a single one.
    ///
    /// A body of another media type is believed: its reader tells of content once, and that it is
    /// complete at its end. Without a media type the first bytes decide.
    ///
    /// Of a single JSON answer the reader says what [`usage`](Self::usage) and [`whole`](Self::whole) say of
    /// it when all of it is there, an error inside it included, which it judges by its body and the
    /// head's date alone.
    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        Generic.stream(head)
    }

    /// Says how a buffered response ended: an event stream by its end marker, JSON by being whole, a list
    /// and lines by their last chunk; anything else is believed.
    fn whole(&self, head: &Head<'_>, body: &[u8]) -> StreamEnd {
        whole::end(self, head, body)
    }

    /// The text of a whole answer, joined: that of its first choice, where there are several.
    /// `None` where it has no text.
    fn text(&self, head: &Head<'_>, body: &[u8]) -> Option<String> {
        whole::text(self, head, body)
    }

    /// Estimates what a request with this body will consume, with a token for four characters.
    fn estimate(&self, body: &[u8]) -> Estimate {
        self.estimate_with(body, &CharactersPerToken::default())
    }

    /// Estimates what a request with this body will consume.
    fn estimate_with(&self, body: &[u8], tokenizer: &dyn Tokenizer) -> Estimate {
        Generic.estimate_with(body, tokenizer)
    }

    /// Estimates what a request to this path will consume: an embedding, a ranking, a count has no output.
    fn estimate_request(&self, path: &str, body: &[u8]) -> Estimate {
        let estimate = self.estimate(body);
        if estimate::has_no_output(path) {
            Estimate::new(estimate.input(), Some(0))
        } else {
            estimate
        }
    }

    /// A request that asks for a stream and does not say whether it wants to be told the usage, changed so
    /// that it does, where this has to be asked for: in OpenAI's chat and completion shapes. `None` where
    /// there is nothing to change.
    fn ask_for_usage(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
        ask_usage::ask(path, body)
    }

    /// How the provider counts tokens against its quotas.
    fn accounting(&self) -> Accounting {
        Generic.accounting()
    }
}

/// What holds a provider speaks as it does.
macro_rules! forward {
    ($($holder:ty),+) => {$(
        impl<P: Provider + ?Sized> Provider for $holder {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
                (**self).judge(head, body)
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

            fn whole(&self, head: &Head<'_>, body: &[u8]) -> StreamEnd {
                (**self).whole(head, body)
            }

            fn text(&self, head: &Head<'_>, body: &[u8]) -> Option<String> {
                (**self).text(head, body)
            }

            fn estimate(&self, body: &[u8]) -> Estimate {
                (**self).estimate(body)
            }

            fn estimate_with(&self, body: &[u8], tokenizer: &dyn Tokenizer) -> Estimate {
                (**self).estimate_with(body, tokenizer)
            }

            fn estimate_request(&self, path: &str, body: &[u8]) -> Estimate {
                (**self).estimate_request(path, body)
            }

            fn ask_for_usage(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
                (**self).ask_for_usage(path, body)
            }

            fn accounting(&self) -> Accounting {
                (**self).accounting()
            }
        }
    )+};
}

forward!(&P, Box<P>, Arc<P>);
