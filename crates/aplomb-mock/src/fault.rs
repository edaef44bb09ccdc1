//! The faults of a single request.

use std::time::Duration;

/// A fault of one accepted request.
///
/// For a request without a stream, a fault of streams (from `Unfinished` on) becomes the nearest equivalent, as documented
/// at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Answers 500 in the provider's shape.
    InternalError,
    /// Answers 502 with an HTML page, as the proxy in front of a provider does.
    BadGateway,
    /// Answers 503 without a `retry-after`.
    Unavailable,
    /// Answers 503 with a `retry-after` of this long, rounded up to whole seconds.
    UnavailableFor(Duration),
    /// Answers 429 without a delay, whatever the load: the shared capacity of a provider.
    Throttled,
    /// Answers 429 with a `retry-after` of this long, rounded up to whole seconds.
    ThrottledFor(Duration),
    /// Answers 529, Anthropic's status for overloaded, in both APIs.
    Overloaded,
    /// Resets the connection before any byte of an answer; in process, fails with
    /// [`ConnectionReset`](std::io::ErrorKind::ConnectionReset).
    Reset,
    /// Never answers; ends when the client goes away.
    Hang,
    /// Answers correctly, but this much later than the latency.
    SlowHead(Duration),
    /// Cuts the connection in the middle of the body: before `content-length` bytes, or within an event of a stream.
    /// In process, the body fails with [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof).
    Truncate,
    /// Ends a stream after half of the content: cleanly as far as HTTP goes, but without its end marker. Without a stream:
    /// `Truncate`.
    Unfinished,
    /// Answers 200 and sends an error as the first event of the stream. Without a stream: `InternalError`.
    StreamError,
    /// Answers 200 and sends an error after half of the content. Without a stream: `Truncate`.
    LateStreamError,
    /// Answers 200 and opens the stream, then sends only a keep-alive at this interval, forever: the comment `: keep-alive`
    /// in OpenAI's API, `event: ping` in Anthropic's. Without a stream: blank lines, as
    /// [DeepSeek](https://api-docs.deepseek.com/quick_start/rate_limit) sends while a request waits. The least interval is a
    /// millisecond.
    OnlyPings(Duration),
    /// Sends half of the content, then keep-alives forever, as `OnlyPings` does. Without a stream: `Stall`.
    LatePings(Duration),
    /// Sends half of the content, then nothing; the connection stays open until the client goes away. Without a stream: half
    /// of the body, with the `content-length` of all of it.
    Stall,
}

impl Fault {
    /// Returns one fault of every kind, with this `delay` where a kind takes one: for a test of them all.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use aplomb_mock::Fault;
    ///
    /// let faults = Fault::each(Duration::from_secs(1));
    /// assert!(faults.contains(&Fault::SlowHead(Duration::from_secs(1))));
    /// ```
    pub fn each(delay: Duration) -> Vec<Self> {
        vec![
            Self::InternalError,
            Self::BadGateway,
            Self::Unavailable,
            Self::UnavailableFor(delay),
            Self::Throttled,
            Self::ThrottledFor(delay),
            Self::Overloaded,
            Self::Reset,
            Self::Hang,
            Self::SlowHead(delay),
            Self::Truncate,
            Self::Unfinished,
            Self::StreamError,
            Self::LateStreamError,
            Self::OnlyPings(delay),
            Self::LatePings(delay),
            Self::Stall,
        ]
    }

    /// Returns the name under which [`Stats::faults`](crate::Stats::faults) counts it and the program's `--fault` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InternalError => "500",
            Self::BadGateway => "502",
            Self::Unavailable | Self::UnavailableFor(_) => "503",
            Self::Throttled | Self::ThrottledFor(_) => "429",
            Self::Overloaded => "529",
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::SlowHead(_) => "slow-head",
            Self::Truncate => "truncate",
            Self::Unfinished => "unfinished",
            Self::StreamError => "stream-error",
            Self::LateStreamError => "late-stream-error",
            Self::OnlyPings(_) => "only-pings",
            Self::LatePings(_) => "late-pings",
            Self::Stall => "stall",
        }
    }

    /// Returns whether the client still gets the whole correct answer.
    pub const fn spares_the_answer(self) -> bool {
        matches!(self, Self::SlowHead(_))
    }

    /// Returns whether it ends the request before any answer.
    pub(crate) const fn precedes_the_answer(self) -> bool {
        matches!(
            self,
            Self::InternalError
                | Self::BadGateway
                | Self::Unavailable
                | Self::UnavailableFor(_)
                | Self::Throttled
                | Self::ThrottledFor(_)
                | Self::Overloaded
                | Self::Reset
        )
    }

    /// The equivalent for a request without a stream.
    pub(crate) const fn without_stream(self) -> Self {
        match self {
            Self::StreamError => Self::InternalError,
            Self::Unfinished | Self::LateStreamError => Self::Truncate,
            Self::LatePings(_) => Self::Stall,
            other => other,
        }
    }
}
