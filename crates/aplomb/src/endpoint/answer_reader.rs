//! Reads the bytes of a response as they pass.

use std::fmt;

use aplomb_core::{Classification, Exchange, Outcome, Reason};
use aplomb_provider::{Accounting, AnyReader, Head, Provider, StreamEnd, StreamEvent, StreamReader};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// The kind of a success response's body, as its head describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An event stream, of AWS too, or JSON line by line.
    Stream,
    /// JSON, text, or a body without a media type: a response only when it is complete.
    Whole,
    /// Anything else, and compressed bodies: passed through and treated as successful.
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
            || is_any(&[
                "ndjson",
                "jsonl",
                "jsonlines",
                "stream+json",
                "/vnd.amazon.eventstream",
            ])
        {
            Self::Stream
        } else if is_any(&["/json", "+json"]) || media_type.starts_with(b"text/") {
            Self::Whole
        } else {
            Self::Opaque
        }
    }
}

/// Returns whether the body is compressed. Some proxies leave an empty header, which means that it is not.
fn is_encoded(headers: &HeaderMap) -> bool {
    if !headers.contains_key(CONTENT_ENCODING) {
        return false;
    }
    let codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Reads a response as it passes, without copying it, and writes what it finds into the record of the attempt.
pub(super) struct AnswerReader {
    form: Form,
    /// Reads nothing where the form is opaque.
    reader: AnyReader,
    /// True if an empty body is acceptable.
    may_be_empty: bool,
    findings: Findings,
    has_content: bool,
}

impl AnswerReader {
    /// Reads the body of a response.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a reader is large, and made in its place instead of being moved"
    )]
    pub(super) fn new(form: Form, head: &Head<'_>, provider: &dyn Provider, exchange: Exchange) -> Self {
        let (provider_name, accounting) = (provider.name(), provider.accounting());
        Self {
            form,
            reader: match form {
                Form::Stream | Form::Whole => provider.reader(head),
                Form::Opaque => AnyReader::opaque(),
            },
            may_be_empty: form == Form::Whole && !head.headers().contains_key(CONTENT_TYPE),
            findings: Findings { exchange, provider: provider_name, accounting, is_done: false, error: None },
            has_content: false,
        }
    }

    pub(super) const fn exchange(&self) -> &Exchange {
        &self.findings.exchange
    }

    /// Returns whether some of the response's content has been seen.
    pub(super) const fn has_content(&self) -> bool {
        self.has_content
    }

    /// Returns whether the end marker has been seen, or the end.
    pub(super) const fn is_done(&self) -> bool {
        self.findings.is_done
    }

    /// The error that was seen in the response.
    pub(super) fn error(&self) -> Option<&Classification> {
        self.findings.error.as_deref()
    }

    /// Returns whether the body is JSON or a stream, and not compressed.
    pub(super) const fn is_legible(&self) -> bool {
        !matches!(self.form, Form::Opaque)
    }

    /// Takes back an error that was judged not to be one. Returns whether there was one.
    pub(super) fn forgive(&mut self) -> bool {
        if self.findings.error.take().is_none() {
            return false;
        }
        self.findings.exchange.set_outcome(Outcome::success());
        // The reader stopped at the error, but there may be more of the response.
        self.form = Form::Opaque;
        true
    }

    /// Reads the next bytes. Returns how many of them are content.
    pub(super) fn see(&mut self, data: &Bytes) -> usize {
        let mut content = 0;
        let mut note = |event: StreamEvent<'_>| {
            match &event {
                StreamEvent::Content(Some(text)) => content += text.size().max(1),
                // A tool call, reasoning, or something unknown.
                StreamEvent::Content(None) => content += data.len(),
                _ => {}
            }
            self.findings.note(event);
        };
        let content = match self.form {
            Form::Stream => {
                self.reader.push(data, &mut note);
                content
            }
            Form::Whole => {
                self.reader.push(data, &mut note);
                // Blank lines keep a connection alive.
                data.trim_ascii().len()
            }
            Form::Opaque => data.len(),
        };
        self.has_content |= content > 0;
        content
    }

    /// Returns whether there is nothing where the content belongs.
    pub(super) fn lacks_content(&self) -> bool {
        self.is_legible() && self.reader.lacks_content()
    }

    /// The body has ended. Returns how the response did.
    pub(super) fn finish(&mut self) -> StreamEnd {
        let is_trusted = self.form == Form::Opaque || (self.may_be_empty && !self.has_content);
        let end = if is_trusted {
            StreamEnd::Complete
        } else {
            match self.reader.finish(&mut |event| self.findings.note(event)) {
                StreamEnd::Complete if self.reader.lacks_everything() => {
                    let nothing = Classification::from(Reason::Truncated);
                    let nothing = nothing.with_cause(&"the answer has nothing in it");
                    StreamEnd::Failed(match self.findings.exchange.result().status() {
                        Some(status) => nothing.with_status(status),
                        None => nothing,
                    })
                }
                end => end,
            }
        };
        match &end {
            StreamEnd::Complete => self.findings.done(),
            end => self.findings.exchange.set_outcome(end.classification().outcome()),
        }
        match end {
            StreamEnd::Failed(error) => StreamEnd::Failed(error.with_provider(self.findings.provider)),
            end => end,
        }
    }
}

/// The content of the events of a response, apart from its text.
struct Findings {
    exchange: Exchange,
    /// The name that errors are labelled with: a provider may leave the reading to another one.
    provider: &'static str,
    accounting: Accounting,
    is_done: bool,
    /// Few responses have one.
    error: Option<Box<Classification>>,
}

impl Findings {
    fn note(&mut self, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Usage(usage) => {
                let usage = self.exchange.add_usage(usage);
                self.exchange.set_counted(self.accounting.counted(&usage));
            }
            StreamEvent::Done => self.done(),
            StreamEvent::Error(error) => {
                self.exchange.set_outcome(error.outcome());
                self.error = Some(Box::new(error.with_provider(self.provider)));
            }
            _ => {}
        }
    }

    fn done(&mut self) {
        self.is_done = true;
        self.exchange.set_whole();
    }
}

/// A caller that goes away before the end has no answer.
impl Drop for Findings {
    fn drop(&mut self) {
        if !self.is_done && self.exchange.outcome().is_success() {
            self.exchange.set_outcome(Outcome::local());
        }
    }
}

/// Without the bytes: they are the response.
impl fmt::Debug for AnswerReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerReader")
            .field("has_content", &self.has_content)
            .finish_non_exhaustive()
    }
}
