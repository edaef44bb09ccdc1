//! A run: workers that take prompts as they come, until there are none, or no hope.

use std::sync::Arc;
use std::time::Duration;

use aplomb::EndpointHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval};

use super::ask::{Asker, Failure};
use super::attempts::Attempts;
use super::input::Item;
use super::output::{Outbox, Record};
use super::progress::Progress;
use super::prompt::{Id, Prompt};
use super::summary::{Ended, Summary};

/// How often a run reports its progress, and looks whether there is still hope.
const TICK: Duration = Duration::from_millis(100);

/// The prompts of a run, the workers under way, and the results.
pub(crate) struct Run<'a> {
    asker: Asker,
    handle: EndpointHandle,
    concurrency: usize,
    progress: &'a Progress,
    items: Option<mpsc::Receiver<Item>>,
    outbox: Outbox,
    workers: JoinSet<Done>,
    began: Instant,
    /// Why nothing more is sent.
    reason: Option<Arc<str>>,
    /// Tells the workers so, once none of their requests is under way.
    give_up: watch::Sender<Option<Arc<str>>>,
    summary: Summary,
}

/// The result of a prompt, and why all others would fail too, if so.
type Done = (Record, Option<String>);

impl<'a> Run<'a> {
    /// A run over `items` that works on `concurrency` prompts at a time.
    pub(crate) fn new(
        (asker, handle): (Asker, EndpointHandle),
        concurrency: usize,
        items: mpsc::Receiver<Item>,
        outbox: Outbox,
        progress: &'a Progress,
    ) -> Self {
        Self {
            asker,
            handle,
            concurrency,
            progress,
            items: Some(items),
            outbox,
            workers: JoinSet::new(),
            began: Instant::now(),
            reason: None,
            give_up: watch::Sender::new(None),
            summary: Summary::default(),
        }
    }

    /// Runs to the end, or until `stop`: then unfinished prompts are dropped. Returns the results that are not yet
    /// written, too.
    pub(crate) async fn until(mut self, stop: impl Future<Output = ()>) -> (Summary, Outbox) {
        let ended = tokio::select! {
            ended = self.go() => ended,
            () = stop => Ended::Stopped,
        };
        // Answers that have arrived are kept, whatever the reason to end.
        while let Some(done) = self.workers.try_join_next() {
            self.end(done);
        }
        let health = &self.asker.health;
        let summary = Summary {
            took: self.began.elapsed(),
            ended,
            requests: health.requests(),
            throttled: health.throttled(),
            ..self.summary
        };
        (summary, self.outbox)
    }

    async fn go(&mut self) -> Ended {
        let mut ticks = interval(TICK);
        let mut ended = Ended::Complete;
        while self.items.is_some() || !self.workers.is_empty() || !self.outbox.is_empty() {
            // While the reader of the results is slow, no new work is begun.
            let may_take = self.workers.len() < self.concurrency && self.outbox.is_empty();
            tokio::select! {
                handed = self.outbox.hand_over() => if handed.is_err() {
                    return Ended::Unwritable;
                },
                Some(done) = self.workers.join_next() => self.end(done),
                item = next(&mut self.items), if may_take && self.items.is_some() => match item {
                    None => self.items = None,
                    Some(Item::Unreadable(error)) => {
                        self.items = None;
                        ended = Ended::Unreadable(error);
                    }
                    Some(item) => self.take(item),
                },
                _ = ticks.tick() => self.tick(),
            }
        }
        match (ended, self.reason.take()) {
            (Ended::Complete, Some(reason)) => Ended::Hopeless(reason),
            (ended, _) => ended,
        }
    }

    fn take(&mut self, item: Item) {
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
                    self.record(record(prompt.id, Err(not_sent(&reason)), 0, now, now));
                }
            },
            Item::Answered => {
                self.summary.before += 1;
                self.progress.ended(true);
            }
            Item::Bad(line, problem) => {
                self.summary.bad += 1;
                self.progress.say(format_args!("line {line} {problem}"));
            }
            Item::Unreadable(_) => {}
        }
    }

    fn end(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok((record, for_all)) => {
                if let Some(reason) = for_all {
                    self.reason.get_or_insert(reason.into());
                }
                self.record(record);
                self.look_for_hope();
            }
            Err(panicked) => {
                self.summary.failed += 1;
                self.progress.say(panicked);
            }
        }
    }

    fn record(&mut self, record: Record) {
        if record.ok {
            self.summary.answered += 1;
        } else {
            self.summary.failed += 1;
        }
        self.progress.ended(record.ok);
        self.outbox.put(record);
    }

    fn tick(&mut self) {
        let trouble = self.asker.trouble();
        self.progress.tick(trouble.as_deref());
        self.look_for_hope();
        if self.reason.is_some() && self.handle.in_flight() == 0 {
            // Requests under way were worth waiting for. What still waits its turn will never be sent.
            self.give_up.send_replace(self.reason.clone());
        }
    }

    /// Gives up if no request can be answered.
    fn look_for_hope(&mut self) {
        if self.reason.is_none() {
            if let Some(hopeless) = self.asker.hopeless() {
                self.reason = Some(hopeless.into());
                self.give_up.send_replace(self.reason.clone());
            }
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
    (record(prompt.id, answer, attempts.sent(), started, seconds(began)), for_all)
}

async fn gave_up(reason: &mut watch::Receiver<Option<Arc<str>>>) -> Failure {
    let why = match reason.wait_for(Option::is_some).await {
        Ok(reason) => reason.as_ref().map(not_sent),
        Err(_) => None,
    };
    Failure::of_prompt(why.unwrap_or_default())
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
