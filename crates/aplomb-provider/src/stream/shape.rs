//! What the events of a stream mean, whoever's they are.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::StreamEvent::{self, Content, Done, Error, Other, Ping, Usage};
use super::shapes::{self, Said};
use super::values::Found;
use crate::dialect::Dialect;
use crate::error::{is_in_answer, judge};
use crate::head::Sent;
use crate::json::{Document, Key, Nodes, Text};
use crate::usage::Counts;
use crate::{Head, Judgement, Settings};

pub(super) type Tell<'a> = &'a mut dyn FnMut(StreamEvent<'_>);

/// A value is of no shape that is known; what it says it consumed all the same.
struct Unknown(Option<aplomb_core::Usage>);

/// What the events of a stream mean. Those of all providers are understood: their marks do not
/// contradict each other, and one host may speak in several ways.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is another thing that has been seen"
)]
pub(super) struct Shape {
    dialect: &'static Dialect,
    settings: Settings,
    sent: Sent,
    counts: Counts,
    /// Some event was of a known shape.
    is_known: bool,
    /// Some event carried data.
    has_data: bool,
    has_content: bool,
    /// The last choice that had content has said why it ended.
    is_finished: bool,
    /// Streams of this shape end without a marker.
    is_unmarked: bool,
    /// Some value of a body that is JSON was none.
    is_broken: bool,
}

impl Shape {
    pub(super) fn new(dialect: &'static Dialect, head: &Head<'_>) -> Self {
        Self {
            dialect,
            settings: head.settings().clone(),
            sent: Sent::of(head),
            counts: Counts::default(),
            is_known: false,
            has_data: false,
            has_content: false,
            is_finished: false,
            is_unmarked: false,
            is_broken: false,
        }
    }

    /// Whether a stream of events may end here without its end marker. An unknown server may leave the
    /// marker out after it has finished, or speak a dialect of its own, of which the end is not known.
    pub(super) const fn may_end_here(&self) -> bool {
        let finished = self.is_finished && (self.is_unmarked || self.dialect.is_lenient);
        finished || (self.dialect.is_lenient && self.has_data && !self.is_known)
    }

    /// Whether chunks that came as JSON lack their last.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.is_unmarked && !self.is_finished
    }

    /// Whether any usage was told of.
    pub(super) fn has_usage(&self) -> bool {
        self.counts.usage().is_some()
    }

    /// Whether something was not JSON in a body that is.
    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Takes a server-sent event.
    pub(super) fn event(&mut self, name: &str, data: Option<&[u8]>, tell: Tell<'_>) {
        let Some(data) = data.map(<[u8]>::trim_ascii) else {
            return self.too_long(name, tell);
        };
        if data == b"[DONE]" {
            return tell(Done);
        }
        match Document::read(data, &mut Nodes::new()) {
            Some(document) => {
                if self.value(name, document, tell).is_err() {
                    self.strange(tell);
                }
            }
            None if name == "error" => tell(Error(self.judge(data))),
            None if data.is_empty() => tell(Ping),
            // Cut off, most likely.
            None if data.starts_with(b"{") => tell(Other),
            None => self.strange(tell),
        }
    }

    /// Takes a value of a body that is JSON.
    pub(super) fn document(&mut self, found: Found<'_>, tell: Tell<'_>) {
        match found {
            Found::Read(document) => self.answer(document, tell),
            Found::Bytes(bytes) => {
                if let Some(document) = Document::read(bytes, &mut Nodes::new()) {
                    return self.answer(document, tell);
                }
                self.is_broken |= serde_json::from_slice::<IgnoredAny>(bytes).is_err();
                self.content(None, tell);
            }
            Found::Long => self.content(None, tell),
        }
    }

    fn answer(&mut self, document: Document<'_>, tell: Tell<'_>) {
        let usage = if document.view().is_object() {
            match self.value("", document, tell) {
                Ok(()) => return,
                Err(Unknown(usage)) => usage,
            }
        } else {
            None
        };
        // Whatever it is, it was asked for.
        self.content(None, tell);
        if let Some(usage) = usage {
            tell(Usage(usage));
        }
    }

    /// What was not kept still has its name: the last event of a long answer repeats all of it.
    fn too_long(&mut self, name: &str, tell: Tell<'_>) {
        match name {
            "error" | "response.failed" => tell(Error(self.judge(b"null"))),
            "response.completed" | "response.incomplete" => tell(Done),
            _ => {
                self.has_data = true;
                self.content(None, tell);
            }
        }
    }

    /// Takes an event, a chunk, or a whole answer.
    fn value(&mut self, name: &str, document: Document<'_>, tell: Tell<'_>) -> Result<(), Unknown> {
        let value = document.view();
        let kind = value.get(Key::Type).text();
        let kind = kind.as_ref().map(Text::read);
        let kind = kind.as_deref().unwrap_or(name);
        let failed = name == "error" || kind == "error" || kind == "response.failed";
        if failed || is_in_answer(value) {
            tell(Error(self.judge(document.text())));
            return Ok(());
        }
        self.has_data = true;
        let usage = self.counts.update(document).then(|| self.counts.usage()).flatten();
        let mut has_content = false;
        let said = shapes::read(kind, value, &mut |text| {
            has_content = true;
            tell(Content(text));
        });
        self.has_content |= has_content;
        let said = said.ok_or(Unknown(usage))?;
        self.is_known = true;
        self.hear(said, has_content);
        if let Some(usage) = usage {
            tell(Usage(usage));
        }
        match said {
            Said::Ping => tell(Ping),
            Said::Done => tell(Done),
            _ if usage.is_none() && !has_content => tell(Other),
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, said: Said, has_content: bool) {
        self.is_unmarked |= matches!(said, Said::Unmarked { .. });
        match said {
            Said::Chunk { is_finished: true } | Said::Unmarked { is_finished: true } => {
                self.is_finished = true;
            }
            _ if has_content => self.is_finished = false,
            _ => {}
        }
    }

    /// From an unknown server anything may be content, and then nothing must be retried.
    fn strange(&mut self, tell: Tell<'_>) {
        if self.dialect.is_lenient {
            self.has_data = true;
            self.content(None, tell);
        } else {
            tell(Other);
        }
    }

    fn content(&mut self, text: Option<Text<'_>>, tell: Tell<'_>) {
        self.has_content = true;
        tell(Content(text));
    }

    /// Judges an error, which may come as bare text.
    fn judge(&self, error: &[u8]) -> Judgement {
        let error = serde_json::from_slice::<Value>(error)
            .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(error)}));
        judge::event(&error, self.sent.time(), self.dialect, &self.settings, self.has_content)
    }
}
