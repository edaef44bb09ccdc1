//! The meaning of the events of a stream, in any provider's shape.

use std::borrow::Cow;
use std::mem;
use std::ops::Range;

use aplomb_core::{Classification, Reason};
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::StreamEvent::{self, Content, Done, Error, Other, Ping, Usage};
use super::aws::decode_base64;
use super::json_values::JsonValue;
use super::last_event::LastEvent;
use super::shapes::{self, EventKind};
use crate::buffered::both;
use crate::dialect::Dialect;
use crate::error::{classify, is_error_answer};
use crate::head::SentAt;
use crate::json::{Document, Key, Nodes, Text, View};
use crate::usage::Counts;
use crate::{Head, Settings};

type Emit<'a> = &'a mut dyn FnMut(StreamEvent<'_>);

/// Members that hold an answer, or that come beside one.
const PLACES: &[Key] = &[Key::Choices, Key::Candidates, Key::UsageMetadata];

/// A value of an unknown shape, with the usage that it reports anyway.
struct UnknownShape(Option<aplomb_core::Usage>);

/// Interprets the events of a stream. Those of all providers are understood: the shapes do not contradict each
/// other, and one host may use several.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each records something else that was seen"
)]
pub(super) struct Interpreter {
    dialect: &'static Dialect,
    settings: Settings,
    status: StatusCode,
    sent_at: SentAt,
    counts: Counts,
    last: LastEvent,
    /// An event had a known shape.
    saw_known: bool,
    /// An event had an unknown shape.
    saw_unknown: bool,
    /// The last event was JSON that breaks off.
    is_cut: bool,
    has_content: bool,
    /// The last choice with content has said why it ended.
    is_finished: bool,
    /// Streams of this shape end without a marker.
    is_unmarked: bool,
    /// A value of a JSON body was not JSON.
    is_malformed: bool,
    /// It has a shape that has a place for an answer.
    has_place: bool,
    /// It has said why it ended.
    said_why: bool,
    /// The body is one answer in JSON, although events were promised.
    is_whole: bool,
}

impl Interpreter {
    pub(super) fn new(dialect: &'static Dialect, head: &Head<'_>) -> Self {
        Self {
            dialect,
            settings: head.settings().clone(),
            status: head.status(),
            sent_at: SentAt::of(head),
            counts: Counts::default(),
            last: LastEvent::default(),
            saw_known: false,
            saw_unknown: false,
            is_cut: false,
            has_content: false,
            is_finished: false,
            is_unmarked: false,
            is_malformed: false,
            has_place: false,
            said_why: false,
            is_whole: false,
        }
    }

    /// Returns whether an event stream may end here without an end marker. A lenient dialect may omit the marker after
    /// the last chunk, and of a stream whose shape is unknown the marker is unknown too.
    pub(super) const fn may_end_here(&self) -> bool {
        let finished = self.is_finished && (self.is_unmarked || self.dialect.is_lenient);
        finished || self.is_whole || (self.saw_unknown && !self.saw_known && !self.is_cut)
    }

    /// Returns whether JSON chunks are missing their last one.
    pub(super) const fn lacks_last_chunk(&self) -> bool {
        self.is_unmarked && !self.is_finished
    }

    /// The usage reported so far.
    pub(super) fn usage(&self) -> Option<aplomb_core::Usage> {
        self.counts.usage()
    }

    /// Forgets the last event, so that the next one is parsed.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        self.last.forget();
    }

    /// Returns whether a JSON body contained something that is not JSON.
    pub(super) const fn is_malformed(&self) -> bool {
        self.is_malformed
    }

    /// Returns whether the shape has a place for an answer, and nothing has come there.
    pub(super) const fn lacks_content(&self) -> bool {
        self.has_place && !self.has_content
    }

    /// Returns whether the answer has said why it ended.
    pub(super) const fn said_why(&self) -> bool {
        self.said_why
    }

    /// Reports a web page.
    pub(super) fn page(&self, emit: Emit<'_>) {
        emit(Error(self.classification(Reason::Unknown.into()).with_cause(&classify::PAGE)));
    }

    /// Interprets a server-sent event.
    pub(super) fn event(&mut self, name: &str, data: Option<&[u8]>, is_terminated: bool, emit: Emit<'_>) {
        let Some(data) = data.map(<[u8]>::trim_ascii) else {
            return self.oversized(name, emit);
        };
        if data == b"[DONE]" {
            return emit(Done);
        }
        self.is_cut = false;
        if let Some(text) = self.last.text_of(name, data) {
            self.is_finished = false;
            return emit(Content(Some(text)));
        }
        match Document::read(data, &mut Nodes::new()) {
            Some(document) => match self.document(name, document, emit) {
                Ok(Some(text)) => self.last.remember(name, data, text),
                Ok(None) => {}
                Err(UnknownShape(usage)) => self.unknown(usage, emit),
            },
            None if name == "error" => emit(Error(self.judge(data))),
            None if data.is_empty() => emit(Ping),
            None if is_several(data) => {
                for line in data.split(|byte| *byte == b'\n') {
                    self.event(name, Some(line), is_terminated, emit);
                }
            }
            None if is_terminated && self.expects_json() && is_fragment(data) => self.damaged(emit),
            // Probably cut off.
            None if data.starts_with(b"{") || b"[DONE]".starts_with(data) => {
                self.is_cut = true;
                emit(Other);
            }
            None => self.unknown(None, emit),
        }
    }

    /// Reports that a part of the answer is unreadable.
    pub(super) fn damaged(&self, emit: Emit<'_>) {
        let error = self.classification(Reason::Truncated.into());
        emit(Error(error.with_cause(&"an event of the stream is damaged")));
    }

    /// Interprets a chunk of a model that Bedrock wraps: `{"bytes": "<base64>"}`.
    pub(super) fn wrapped_event(&mut self, payload: &[u8], emit: Emit<'_>) {
        #[derive(Deserialize)]
        struct Chunk<'a> {
            #[serde(borrow)]
            bytes: Cow<'a, str>,
        }
        let chunk = serde_json::from_slice::<Chunk<'_>>(payload).ok();
        match chunk.and_then(|chunk| decode_base64(&chunk.bytes)) {
            Some(event) => self.event("", Some(&event), true, emit),
            None => self.damaged(emit),
        }
    }

    /// Reports an exception of an AWS event stream.
    pub(super) fn aws_error(&self, code: &str, explanation: &[u8], emit: Emit<'_>) {
        let explanation = serde_json::from_slice::<Value>(explanation)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(explanation)));
        let message = explanation.get("message").unwrap_or(&explanation);
        emit(Error(self.judge(json!({"code": code, "message": message}).to_string().as_bytes())));
    }

    /// Returns whether an event that is not JSON is damaged: a lenient dialect may use other formats.
    const fn expects_json(&self) -> bool {
        self.saw_known || !self.dialect.is_lenient
    }

    /// Interprets a value between the events of an event stream: it may be an error, or in their place an answer.
    pub(super) fn inline_value(&mut self, value: JsonValue<'_>, emit: Emit<'_>) {
        let mut nodes = Nodes::new();
        let document = match value {
            JsonValue::Parsed(document) => Some(document),
            JsonValue::Raw(bytes) => Document::read(bytes, &mut nodes),
            JsonValue::Oversized => None,
        };
        let Some(document) = document else { return };
        if is_error_answer(document.view(), self.has_content) {
            emit(Error(self.judge(document.text())));
        } else if !self.saw_known && document.view().is_object() {
            self.is_whole = self.document("", document, emit).is_ok();
        }
    }

    /// Interprets a value of a JSON body.
    pub(super) fn value(&mut self, value: JsonValue<'_>, emit: Emit<'_>) {
        match value {
            JsonValue::Parsed(document) => self.answer(document, emit),
            JsonValue::Raw(bytes) => {
                if let Some(document) = Document::read(bytes, &mut Nodes::new()) {
                    return self.answer(document, emit);
                }
                self.is_malformed |= serde_json::from_slice::<IgnoredAny>(bytes).is_err();
                self.opaque_content(emit);
            }
            JsonValue::Oversized => self.oversized("", emit),
        }
    }

    fn answer(&mut self, document: Document<'_>, emit: Emit<'_>) {
        let usage = if document.view().is_object() {
            match self.document("", document, emit) {
                Ok(_) => return,
                Err(UnknownShape(usage)) => usage,
            }
        } else {
            None
        };
        self.unknown(usage, emit);
    }

    /// Interprets an event or value that was too long to keep, by its name: the last event of a long answer
    /// repeats all of it.
    fn oversized(&mut self, name: &str, emit: Emit<'_>) {
        if is_failure(name) {
            return emit(Error(self.judge(b"null")));
        }
        match shapes::read(name, View::NONE, &mut |_| {}) {
            Some(EventKind::Done) => emit(Done),
            Some(kind) => {
                self.saw_known = true;
                self.note(kind, true);
                self.opaque_content(emit);
            }
            None => {
                // It may have been the last chunk, where nothing else marks the end.
                self.is_finished |= self.is_unmarked;
                self.unknown(None, emit);
            }
        }
    }

    /// Interprets an event, a chunk or a complete answer. Returns the place of its text, if it says nothing else.
    fn document(
        &mut self,
        name: &str,
        document: Document<'_>,
        emit: Emit<'_>,
    ) -> Result<Option<Range<usize>>, UnknownShape> {
        let value = document.view();
        let kind = value.get(Key::Type).text();
        let kind = kind.as_ref().map(Text::read);
        let kind = kind.as_deref().unwrap_or(name);
        if name == "error" || is_failure(kind) || is_error_answer(value, self.has_content) {
            emit(Error(self.judge(document.text())));
            return Ok(None);
        }
        if let Some(error) = self.by_rules(document.text()) {
            emit(Error(error));
            return Ok(None);
        }
        let usage = self.counts.update(document).then(|| self.counts.usage()).flatten();
        let usage = both(usage, self.settings.own_usage(document.text()));
        let (mut has_content, mut place) = (false, None);
        let kind = shapes::read(kind, value, &mut |text| {
            let is_first = !mem::replace(&mut has_content, true);
            place = text.as_ref().filter(|_| is_first).and_then(|text| text.place_in(document.text()));
            emit(Content(text));
        });
        self.has_content |= has_content;
        self.has_place |= value.names().any(PLACES);
        let kind = kind.ok_or(UnknownShape(usage))?;
        self.saw_known |= kind != EventKind::Ping;
        self.note(kind, has_content);
        if let Some(usage) = usage {
            emit(Usage(usage));
        }
        match kind {
            EventKind::Ping => emit(Ping),
            EventKind::Done => emit(Done),
            _ if usage.is_none() && !has_content => emit(Other),
            _ => {}
        }
        let is_like_others = kind.is_part() && !document.has_counts() && !self.has_own_ways();
        Ok(place.filter(|_| is_like_others))
    }

    /// Returns whether the user asks for more than the shape of an event.
    const fn has_own_ways(&self) -> bool {
        self.settings.has_rules() || self.settings.has_usage_paths()
    }

    /// The failure that an event is by the user's rules.
    fn by_rules(&self, event: &[u8]) -> Option<Classification> {
        if !self.settings.has_rules() {
            return None;
        }
        let (event, sent) = (serde_json::from_slice(event).ok()?, self.sent_at.time());
        let status = self.status.as_u16();
        let judged = classify::event_by_rules(&event, status, sent, self.dialect, &self.settings)?;
        Some(self.classification(judged))
    }

    fn note(&mut self, kind: EventKind, has_content: bool) {
        self.is_unmarked |= matches!(kind, EventKind::Unmarked { .. });
        match kind {
            EventKind::Chunk { is_last: true } | EventKind::Unmarked { is_last: true } => {
                (self.is_finished, self.said_why) = (true, true);
            }
            _ if has_content => self.is_finished = false,
            _ => {}
        }
    }

    /// Treats an event of unknown shape as content: asking again might mean paying twice.
    fn unknown(&mut self, usage: Option<aplomb_core::Usage>, emit: Emit<'_>) {
        self.saw_unknown = true;
        self.opaque_content(emit);
        if let Some(usage) = usage {
            emit(Usage(usage));
        }
    }

    /// Reports content that is not parsed.
    fn opaque_content(&mut self, emit: Emit<'_>) {
        self.has_content = true;
        emit(Content(None));
    }

    /// Judges an error, which may be plain text.
    fn judge(&self, error: &[u8]) -> Classification {
        let error = serde_json::from_slice::<Value>(error)
            .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(error)}));
        self.classification(classify::event(
            &error,
            self.sent_at.time(),
            self.dialect,
            &self.settings,
            self.has_content,
        ))
    }

    fn classification(&self, error: Classification) -> Classification {
        error.with_status(self.status).with_provider(self.dialect.name)
    }
}

/// Returns whether it is a part of an event or of a web page, and no keep-alive: that is a word, or a date.
fn is_fragment(data: &[u8]) -> bool {
    data.iter().any(|byte| matches!(byte, b'{' | b'}' | b'"' | b'<'))
}

/// Returns whether every line of an event is a value of its own: the blank lines between several events are missing.
fn is_several(data: &[u8]) -> bool {
    let is_event = |line: &[u8]| {
        line == b"[DONE]" || (line.starts_with(b"{") && Document::read(line, &mut Nodes::new()).is_some())
    };
    data.contains(&b'\n') && data.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).all(is_event)
}

/// Returns whether an event of this name says that the answer failed.
fn is_failure(name: &str) -> bool {
    matches!(name, "error" | "response.failed" | "conversation.response.error")
}
