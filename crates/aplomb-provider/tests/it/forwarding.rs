//! Pointers and [`Tuned`] forward every method of a provider to its own implementation.

use std::sync::{Arc, Mutex};

use aplomb_core::{Classification, Reading, Usage};
use aplomb_provider::{
    Accounting, AnyReader, Estimate, Generic, Head, Provider, Settings, StreamEnd, StreamReader, Tokenizer,
    Tuned,
};

use crate::support::Response;

/// A provider with an own implementation of every method, which records its name.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<&'static str>>>);

impl Recorder {
    fn called(&self, method: &'static str) {
        self.0.lock().unwrap().push(method);
    }
}

#[warn(clippy::missing_trait_methods)]
impl Provider for Recorder {
    fn name(&self) -> &'static str {
        self.called("name");
        "recorder"
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Classification {
        self.called("judge");
        Generic.judge(head, body)
    }

    fn judges_success(&self) -> bool {
        self.called("judges_success");
        true
    }

    fn limits(&self, _: &Head<'_>) -> Vec<Reading> {
        self.called("limits");
        Vec::new()
    }

    fn usage(&self, _: &Head<'_>, _: &[u8]) -> Option<Usage> {
        self.called("usage");
        None
    }

    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        self.called("stream");
        Generic.stream(head)
    }

    fn reader(&self, head: &Head<'_>) -> AnyReader {
        self.called("reader");
        Generic.reader(head)
    }

    fn ending(&self, _: &Head<'_>, _: &[u8]) -> StreamEnd {
        self.called("ending");
        StreamEnd::Complete
    }

    fn text(&self, _: &Head<'_>, _: &[u8]) -> Option<String> {
        self.called("text");
        None
    }

    fn estimate(&self, _: &str, _: &[u8], _: Option<&dyn Tokenizer>) -> Estimate {
        self.called("estimate");
        Estimate::new(7, Some(7))
    }

    fn include_usage(&self, _: &str, _: &[u8]) -> Option<Vec<u8>> {
        self.called("include_usage");
        None
    }

    fn accounting(&self) -> Accounting {
        self.called("accounting");
        Accounting::unknown()
    }
}

/// The methods of the trait, by its source.
fn methods() -> Vec<&'static str> {
    let source = include_str!("../../src/provider.rs");
    let start = source.find("pub trait Provider").unwrap();
    let end = start + source[start..].find("\n}\n").unwrap();
    let methods = source[start..end].lines().filter_map(|line| line.strip_prefix("    fn "));
    methods.map(|method| method.split('(').next().unwrap()).collect()
}

fn call_everything(provider: &dyn Provider) {
    let response = Response::new(200, &[]);
    let head = response.head();
    let _ = provider.name();
    let _ = provider.judge(&head, b"");
    let _ = provider.judges_success();
    let _ = provider.limits(&head);
    let _ = provider.usage(&head, b"");
    let _ = provider.stream(&head);
    let _ = provider.reader(&head);
    let _ = provider.ending(&head, b"");
    let _ = provider.text(&head, b"");
    let _ = provider.estimate("/", b"", None);
    let _ = provider.include_usage("/", b"");
    let _ = provider.accounting();
}

#[test]
fn every_method_reaches_the_inner_provider() {
    let wrap: [fn(Recorder) -> Box<dyn Provider>; 4] = [
        |recorder| Box::new(Tuned::new(recorder, Settings::new())),
        |recorder| Box::new(Arc::new(recorder)),
        |recorder| Box::new(recorder),
        |recorder| Box::new(Box::new(recorder) as Box<dyn Provider>),
    ];
    for wrap in wrap {
        let recorder = Recorder::default();
        call_everything(&wrap(recorder.clone()));
        let called = recorder.0.lock().unwrap().clone();
        assert_eq!(called, methods(), "a method is not forwarded, or not called here");
    }
}
