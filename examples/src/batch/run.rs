//! A run: workers that take prompts as they come, until there are none, or no hope.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aplomb::EndpointHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval};

use super::ask::{Asker, Failure};
use super::counted::Attempts;
use super::input::Item;
use super::output::Record;
use super::progress::Progress;
use super::prompt::{Id, Prompt};

/// How often a run looks after itself.
const TICK: Duration = Duration::from_millis(100);

/// What became of all prompts.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) answered: u64,
    /// Answered by an earlier run.
    pub(crate) before: u64,
    pub(crate) failed: u64,
    /// Lines of the input that are no prompts.
    pub(crate) bad: u64,
    pub(crate) took: Duration,
    pub(crate) ended: Ended,
}

/// How a run ended.
#[derive(Debug, Default)]
pub(crate) enum Ended {
    /// With the last prompt.
    #[default]
    Through,
    /// Somebody stopped it. What was under way has no result.
    Stopped,
    /// There was no reason to send anything more: what was left has failed for this reason.
    Hopeless(Arc<str>),
    /// The input could not be read to its end.
    Unreadable(io::Error),
    /// The results could not be written.
    Unwritable,
}

/// The prompts of a run, the workers under way, and where the results go.
pub(crate) struct Run<'a> {
    asker: Asker,
    handle: EndpointHandle,
    concurrency: usize,
    progress: &'a Progress,
    items: Option<mpsc::Receiver<Item>>,
    records: mpsc::Sender<Record>,
    workers: JoinSet<Done>,
    began: Instant,
    /// Why nothing more is sent.
    reason: Option<Arc<str>>,
    /// Tells the workers so, once nothing of theirs is under way.
    give_up: watch::Sender<Option<Arc<str>>>,
    summary: Summary,
}

/// A prompt has ended; if for a reason that concerns all others too, then this.
type Done = (Record, Option<String>);

impl<'a> Run<'a> {
    /// A run over `items`, with so many prompts under way at a time.
    pub(crate) fn new(
        (asker, handle): (Asker, EndpointHandle),
        concurrency: usize,
        items: mpsc::Receiver<Item>,
        records: mpsc::Sender<Record>,
        progress: &'a Progress,
    ) -> Self {
        Self {
            asker,
            handle,
            concurrency,
            progress,
            items: Some(items),
            records,
            workers: JoinSet::new(),
            began: Instant::now(),
            reason: None,
            give_up: watch::Sender::new(None),
            summary: Summary::default(),
        }
    }

    /// Runs to the end, or until `stop`; whatever is under way then is dropped.
    pub(crate) async fn until(mut self, stop: impl Future<Output = ()>) -> Summary {
        let ended = tokio::select! {
            ended = self.go() => ended,
            () = stop => Ended::Stopped,
        };
        Summary { took: self.began.elapsed(), ended, ..self.summary }
    }

    async fn go(&mut self) -> Ended {
        let mut ticks = interval(TICK);
        let mut ended = Ended::Through;
        while self.items.is_some() || !self.workers.is_empty() {
            let has_room = self.workers.len() < self.concurrency;
            tokio::select! {
                Some(done) = self.workers.join_next() => self.end(done).await,
                item = next(&mut self.items), if has_room && self.items.is_some() => match item {
                    None => self.items = None,
                    Some(Item::Unreadable(error)) => {
                        self.items = None;
                        ended = Ended::Unreadable(error);
                    }
                    Some(item) => self.take(item).await,
                },
                () = self.records.closed() => return Ended::Unwritable,
                _ = ticks.tick() => self.look_around(),
            }
        }
        match (ended, self.reason.take()) {
            (Ended::Through, Some(reason)) => Ended::Hopeless(reason),
            (ended, _) => ended,
        }
    }

    async fn take(&mut self, item: Item) {
        match item {
            Item::Prompt(prompt) => match self.reason.clone() {
                None => drop(self.workers.spawn(work(
                    self.asker.clone(),
                    prompt,
                    self.began,
                    self.give_up.subscribe(),
                ))),
                Some(reason) => {
                    let now = seconds(self.began);
                    self.record(record(prompt.id, Err(not_sent(&reason)), 0, now, now)).await;
                }
            },
            Item::Answered => {
                self.summary.before += 1;
                self.progress.ended(true);
            }
            Item::Bad(line, problem) => {
                self.summary.bad += 1;
                self.progress.say(format_args!("line {line}: {problem}"));
            }
            Item::Unreadable(_) => {}
        }
    }

    async fn end(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok((record, for_all)) => {
                if let Some(reason) = for_all {
                    self.reason.get_or_insert(reason.into());
                }
                self.record(record).await;
            }
            Err(panicked) => {
                self.summary.failed += 1;
                self.progress.say(panicked);
            }
        }
    }

    async fn record(&mut self, record: Record) {
        if record.ok {
            self.summary.answered += 1;
        } else {
            self.summary.failed += 1;
        }
        self.progress.ended(record.ok);
        // Where it can not be written, the run ends for that.
        let _ = self.records.send(record).await;
    }

    fn look_around(&mut self) {
        self.progress.tick();
        if self.reason.is_none() {
            if let Some(hopeless) = self.asker.signs.hopeless() {
                self.reason = Some(hopeless.to_string().into());
                self.give_up.send_replace(self.reason.clone());
            }
        } else if self.handle.in_flight() == 0 {
            // What has been sent was worth waiting for; all that still waits its turn will never be sent.
            self.give_up.send_replace(self.reason.clone());
        }
    }
}

async fn next(items: &mut Option<mpsc::Receiver<Item>>) -> Option<Item> {
    items.as_mut()?.recv().await
}

async fn work(
    asker: Asker,
    prompt: Prompt,
    began: Instant,
    mut give_up: watch::Receiver<Option<Arc<str>>>,
) -> Done {
    let (started, attempts) = (seconds(began), Attempts::default());
    let answer = tokio::select! {
        answer = asker.ask(&prompt, &attempts) => answer,
        failure = gave_up(&mut give_up) => Err(failure),
    };
    let for_all = answer.as_ref().err().filter(|failure| failure.for_all).map(|failure| failure.why.clone());
    let answer = answer.map_err(|failure| failure.why);
    (record(prompt.id, answer, attempts.count(), started, seconds(began)), for_all)
}

async fn gave_up(reason: &mut watch::Receiver<Option<Arc<str>>>) -> Failure {
    let why = match reason.wait_for(Option::is_some).await {
        Ok(reason) => reason.as_ref().map(not_sent),
        Err(_) => None,
    };
    Failure { why: why.unwrap_or_default(), for_all: false }
}

fn not_sent(reason: &Arc<str>) -> String {
    format!("given up: {reason}")
}

fn record(id: Id, answer: Result<String, String>, attempts: u32, started_s: f64, ended_s: f64) -> Record {
    let ok = answer.is_ok();
    let (text, error) = match answer {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(error)),
    };
    Record { id, ok, text, error, attempts, started_s, ended_s }
}

/// The time since the run began, to the millisecond.
fn seconds(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0
}
