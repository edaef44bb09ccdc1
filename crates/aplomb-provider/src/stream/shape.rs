//! What the events of a stream mean, whoever's they are.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::StreamEvent::{self, Content, Done, Error, Other, Ping, Usage};
use super::shapes::{self, Said};
use super::values::Found;
use crate::dialect::Dialect;
use crate::error::{is_in_answer, judge};
use crate::head::Sent;
use crate::json::{Document, Key, Nodes, Text, View};
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
    /// Some event was of none that is known.
    has_strange: bool,
    /// The last event was JSON without its end.
    is_cut: bool,
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
            has_strange: false,
            is_cut: false,
            has_content: false,
            is_finished: false,
            is_unmarked: false,
            is_broken: false,
        }
    }

    /// Whether a stream of events may end here without its end marker. An unknown server may leave the
    /// marker out after it has finished; and of a stream of which nothing is known the end is not either.
    pub(super) const fn may_end_here(&self) -> bool {
        let finished = self.is_finished && (self.is_unmarked || self.dialect.is_lenient);
        finished || (self.has_strange && !self.is_known && !self.is_cut)
    }

    /// Whether chunks that came as JSON lack their last.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.is_unmarked && !self.is_finished
    }

    /// All that was told of so far.
    pub(super) fn usage(&self) -> Option<aplomb_core::Usage> {
        self.counts.usage()
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
        self.is_cut = false;
        match Document::read(data, &mut Nodes::new()) {
            Some(document) => {
                if let Err(Unknown(usage)) = self.value(name, document, tell) {
                    self.strange(usage, tell);
                }
            }
            None if name == "error" => tell(Error(self.judge(data))),
            None if data.is_empty() => tell(Ping),
            // Cut off, most likely.
            None if data.starts_with(b"{") || b"[DONE]".starts_with(data) => {
                self.is_cut = true;
                tell(Other);
            }
            None => self.strange(None, tell),
        }
    }

    /// Takes a value that stands between events: it may be why there are no more.
    pub(super) fn stray(&mut self, found: Found<'_>, tell: Tell<'_>) {
        let mut room = Nodes::new();
        let document = match found {
            Found::Read(document) => Some(document),
            Found::Bytes(bytes) => Document::read(bytes, &mut room),
            Found::Long => None,
        };
        if let Some(document) = document.filter(|document| is_in_answer(document.view())) {
            tell(Error(self.judge(document.text())));
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
                self.content(tell);
            }
            Found::Long => self.too_long("", tell),
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
        self.strange(usage, tell);
    }

    /// What was not kept still has its name: the last event of a long answer repeats all of it.
    fn too_long(&mut self, name: &str, tell: Tell<'_>) {
        if is_failure(name) {
            return tell(Error(self.judge(b"null")));
        }
        match shapes::read(name, View::NONE, &mut |_| {}) {
            Some(Said::Done) => tell(Done),
            Some(said) => {
                self.is_known = true;
                self.hear(said, true);
                self.content(tell);
            }
            None => {
                // It may have said that it is the last, where nothing else says so.
                self.is_finished |= self.is_unmarked;
                self.strange(None, tell);
            }
        }
    }

    /// Takes an event, a chunk, or a whole answer.
    fn value(&mut self, name: &str, document: Document<'_>, tell: Tell<'_>) -> Result<(), Unknown> {
        let value = document.view();
        let kind = value.get(Key::Type).text();
        let kind = kind.as_ref().map(Text::read);
        let kind = kind.as_deref().unwrap_or(name);
        if name == "error" || is_failure(kind) || is_in_answer(value) {
            tell(Error(self.judge(document.text())));
            return Ok(());
        }
        let usage = self.counts.update(document).then(|| self.counts.usage()).flatten();
        let mut has_content = false;
        let said = shapes::read(kind, value, &mut |text| {
            has_content = true;
            tell(Content(text));
        });
        self.has_content |= has_content;
        let said = said.ok_or(Unknown(usage))?;
        self.is_known |= said != Said::Ping;
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

    /// Whatever it is, it was asked for, and is paid for twice where it is asked for again.
    fn strange(&mut self, usage: Option<aplomb_core::Usage>, tell: Tell<'_>) {
        self.has_strange = true;
        self.content(tell);
        if let Some(usage) = usage {
            tell(Usage(usage));
        }
    }

    /// Tells of content that is not looked into.
    fn content(&mut self, tell: Tell<'_>) {
        self.has_content = true;
        tell(Content(None));
    }

    /// Judges an error, which may come as bare text.
    fn judge(&self, error: &[u8]) -> Judgement {
        let error = serde_json::from_slice::<Value>(error)
            .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(error)}));
        judge::event(&error, self.sent.time(), self.dialect, &self.settings, self.has_content)
    }
}

/// Whether an event that is called so says that the answer failed.
fn is_failure(name: &str) -> bool {
    matches!(name, "error" | "response.failed" | "conversation.response.error")
}
