//! Looking at the bytes of an answer as they go by.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aplomb_core::{Exchange, Outcome};
use aplomb_provider::{Accounting, Head, Judgement, Provider, StreamEnd, StreamEvent, StreamReader};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// What the body of a good response is, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An event stream, or JSON line by line.
    Stream,
    /// JSON, or what has no media type: it is an answer when all of it is there.
    Whole,
    /// Anything else, and what is compressed: that it ends without an error has to do.
    Opaque,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if is_encoded(headers) {
            return Self::Opaque;
        }
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Self::Whole;
        };
        let value = value.to_str().unwrap_or_default();
        let media_type = value.split(';').next().unwrap_or(value).trim().as_bytes();
        let ends = |end: &&str| {
            let at = media_type.len().checked_sub(end.len());
            at.is_some_and(|at| media_type[at..].eq_ignore_ascii_case(end.as_bytes()))
        };
        let is_any = |all: &[&str]| all.iter().any(ends);
        if media_type.eq_ignore_ascii_case(b"text/event-stream")
            || is_any(&["ndjson", "jsonl", "jsonlines", "stream+json"])
        {
            Self::Stream
        } else if is_any(&["/json", "+json"]) {
            Self::Whole
        } else {
            Self::Opaque
        }
    }
}

/// Whether the body is compressed. An empty header, as some proxies leave it, means that it is not.
fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Reads an answer as it goes by, without a copy, and keeps the record of the exchange.
pub(super) struct Observer {
    sight: Sight,
    noted: Noted,
    has_content: bool,
}

/// Never locked: it is there because a reader need not be `Sync`, and a body is where its client's is.
type Reader = Mutex<Box<dyn StreamReader>>;

enum Sight {
    Stream(Reader),
    /// And whether there may be nothing in it.
    Whole(Reader, bool),
    Opaque,
}

impl Observer {
    /// Looks at the body of a good response.
    pub(super) fn of_answer(form: Form, head: &Head<'_>, provider: &Arc<dyn Provider>) -> Self {
        let sight = match form {
            Form::Stream => Sight::Stream(Mutex::new(provider.stream(head))),
            Form::Whole => {
                let is_typed = head.headers().contains_key(CONTENT_TYPE);
                Sight::Whole(Mutex::new(provider.stream(head)), !is_typed)
            }
            Form::Opaque => Sight::Opaque,
        };
        Self::new(sight, provider.accounting())
    }

    /// Looks away.
    pub(super) fn opaque() -> Self {
        Self::new(Sight::Opaque, Accounting::unknown())
    }

    fn new(sight: Sight, accounting: Accounting) -> Self {
        let exchange = Exchange::new(Outcome::success());
        Self { sight, noted: Noted { exchange, accounting, error: None }, has_content: false }
    }

    pub(super) const fn exchange(&self) -> &Exchange {
        &self.noted.exchange
    }

    /// Whether some of the answer itself has been seen.
    pub(super) const fn has_content(&self) -> bool {
        self.has_content
    }

    /// The error that was seen in the answer.
    pub(super) fn error(&self) -> Option<&Judgement> {
        self.noted.error.as_ref()
    }

    /// Whether the body is JSON or a stream, and not compressed.
    pub(super) const fn is_legible(&self) -> bool {
        !matches!(self.sight, Sight::Opaque)
    }

    /// Takes back an error that was judged to be none. Says whether there was one.
    pub(super) fn forgive(&mut self) -> bool {
        if self.noted.error.take().is_none() {
            return false;
        }
        self.noted.exchange.set_outcome(Outcome::success());
        // There may be more of the answer than the reader, which stopped at the error, would look at.
        self.sight = Sight::Opaque;
        true
    }

    /// Looks at the next bytes; says whether there is content in them.
    pub(super) fn see(&mut self, data: &Bytes) -> bool {
        let mut has_content = false;
        let mut note = |event: StreamEvent<'_>| {
            has_content |= event.is_content();
            self.noted.note(event);
        };
        let content = match &mut self.sight {
            Sight::Stream(reader) => {
                unlocked(reader).push(data, &mut note);
                has_content
            }
            Sight::Whole(reader, _) => {
                unlocked(reader).push(data, &mut note);
                // Blank lines keep a connection alive.
                !data.trim_ascii().is_empty()
            }
            Sight::Opaque => !data.is_empty(),
        };
        self.has_content |= content;
        content
    }

    /// Takes note that the body has ended, and says how the answer did.
    pub(super) fn finish(&mut self) -> StreamEnd {
        let end = match &mut self.sight {
            Sight::Whole(_, true) if !self.has_content => StreamEnd::Complete,
            Sight::Stream(reader) | Sight::Whole(reader, _) => {
                unlocked(reader).finish(&mut |event| self.noted.note(event))
            }
            Sight::Opaque => StreamEnd::Complete,
        };
        match &end {
            StreamEnd::Complete => self.noted.exchange.set_whole(),
            end => self.noted.exchange.set_outcome(end.judgement().outcome()),
        }
        end
    }
}

fn unlocked(reader: &mut Reader) -> &mut dyn StreamReader {
    &mut **reader.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// Who goes away before the end has had no answer.
impl Drop for Noted {
    fn drop(&mut self) {
        if !self.exchange.is_whole() && self.exchange.outcome().is_success() {
            self.exchange.set_outcome(Outcome::local());
        }
    }
}

/// What the events of an answer have told.
struct Noted {
    exchange: Exchange,
    accounting: Accounting,
    error: Option<Judgement>,
}

impl Noted {
    fn note(&mut self, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Usage(usage) => {
                let usage = self.exchange.add_usage(usage);
                self.exchange.set_counted(self.accounting.counted(&usage));
            }
            StreamEvent::Done => self.exchange.set_whole(),
            StreamEvent::Error(judgement) => {
                self.exchange.set_outcome(judgement.outcome());
                self.error = Some(judgement);
            }
            _ => {}
        }
    }
}

/// Without the bytes: they are the answer.
impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("has_content", &self.has_content).finish_non_exhaustive()
    }
}
