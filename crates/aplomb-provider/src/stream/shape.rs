//! What the events of a stream mean, whoever's they are.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::StreamEvent::{self, Content, Done, Error, Other, Ping, Usage};
use super::shapes::{self, Said};
use crate::dialect::Dialect;
use crate::error::{is_in_answer, judge};
use crate::usage::Counts;
use crate::{Head, Judgement, Settings};

pub(super) type Tell<'a> = &'a mut dyn FnMut(StreamEvent);

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
    sent: SystemTime,
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
}

impl Shape {
    pub(super) fn new(dialect: &'static Dialect, head: &Head<'_>) -> Self {
        Self {
            dialect,
            settings: head.settings().clone(),
            sent: head.sent(),
            counts: Counts::default(),
            is_known: false,
            has_data: false,
            has_content: false,
            is_finished: false,
            is_unmarked: false,
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

    /// Takes a server-sent event.
    pub(super) fn event(&mut self, name: &str, data: Option<&[u8]>, tell: Tell<'_>) {
        let Some(data) = data.map(<[u8]>::trim_ascii) else {
            return self.too_long(name, tell);
        };
        if data == b"[DONE]" {
            return tell(Done);
        }
        match serde_json::from_slice::<Value>(data) {
            Ok(mut value) => {
                if !self.value(name, &mut value, mentions_usage(data), tell) {
                    self.strange(tell);
                }
            }
            Err(_) if name == "error" => {
                let text = json!({"message": String::from_utf8_lossy(data)});
                tell(Error(self.judge(&text)));
            }
            Err(_) if data.is_empty() => tell(Ping),
            // Cut off, most likely.
            Err(_) if data.starts_with(b"{") => tell(Other),
            Err(_) => self.strange(tell),
        }
    }

    /// Takes a value of a body that is JSON.
    pub(super) fn document(&mut self, value: Option<&[u8]>, tell: Tell<'_>) {
        let Some(bytes) = value else {
            return self.content(None, tell);
        };
        let value = serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object);
        let is_known = value.is_some_and(|mut value| self.value("", &mut value, mentions_usage(bytes), tell));
        if !is_known {
            // Whatever it is, it was asked for.
            self.content(None, tell);
        }
    }

    /// What was not kept still has its name: the last event of a long answer repeats all of it.
    fn too_long(&mut self, name: &str, tell: Tell<'_>) {
        match name {
            "error" | "response.failed" => tell(Error(self.judge(&Value::Null))),
            "response.completed" | "response.incomplete" => tell(Done),
            _ => {
                self.has_data = true;
                self.content(None, tell);
            }
        }
    }

    /// Takes an event or a chunk. Returns whether it was of a known shape.
    fn value(&mut self, name: &str, value: &mut Value, may_have_usage: bool, tell: Tell<'_>) -> bool {
        let kind = value["type"].as_str().unwrap_or(name).to_owned();
        let failed = name == "error" || kind == "error" || kind == "response.failed";
        if failed || is_in_answer(value) {
            tell(Error(self.judge(value)));
            return true;
        }
        self.has_data = true;
        let usage = may_have_usage && self.counts.update(value);
        let mut has_content = false;
        let said = shapes::read(&kind, value, &mut |text| {
            has_content = true;
            tell(Content(text));
        });
        self.has_content |= has_content;
        let Some(said) = said else {
            return false;
        };
        self.is_known = true;
        self.hear(said, has_content);
        let usage = usage.then(|| self.counts.usage()).flatten();
        if let Some(usage) = usage {
            tell(Usage(usage));
        }
        match said {
            Said::Ping => tell(Ping),
            Said::Done => tell(Done),
            _ if usage.is_none() && !has_content => tell(Other),
            _ => {}
        }
        true
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

    fn content(&mut self, text: Option<String>, tell: Tell<'_>) {
        self.has_content = true;
        tell(Content(text));
    }

    fn judge(&self, error: &Value) -> Judgement {
        judge::event(error, self.sent, self.dialect, &self.settings, self.has_content)
    }
}

/// Whether it is worth looking for a usage: every one counts some `tokens`, `Tokens` or `TokenCount`,
/// but Ollama's.
fn mentions_usage(data: &[u8]) -> bool {
    let mentions = |word: &[u8]| memchr::memmem::find(data, word).is_some();
    mentions(b"oken") || mentions(b"eval_count")
}
