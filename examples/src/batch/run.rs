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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::args::ApiName;
    use crate::batch::endpoint::{Settings, endpoint};
    use crate::batch::health::Health;
    use crate::batch::target::Target;
    use aplomb_mock::{Builder, Fault, Latency, Mock, Outage, Plan};

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings { quotas: Vec::new(), silence: 120 * SECOND, whole_answer: None, max_retries: None }
    }

    /// Asks `prompts` prompts of a mock provider, in virtual time; returns the summary and the results. Until the end
    /// nobody reads the results, of which the output takes `room`.
    async fn run(
        mock: &Mock,
        settings: Settings,
        prompts: usize,
        room: usize,
        stop: impl Future<Output = ()>,
    ) -> (Summary, Vec<Record>) {
        let target = Target::new(ApiName::OpenAi, "http://mock/v1", "m".to_owned()).unwrap().stream(true);
        let health = Arc::new(Health::default());
        let (endpoint, handle) = endpoint(mock.clone(), target.provider(), &settings, &health).unwrap();
        let (target, timed_out) = (Arc::new(target), settings.timed_out());
        let asker = Asker { endpoint, target, key: None, deadline: None, health, timed_out };
        let (items, read) = mpsc::channel(prompts);
        for n in 0..prompts {
            let prompt = Prompt { id: Id::number(n), text: format!("prompt {n}"), max_tokens: None };
            items.send(Item::Prompt(prompt)).await.unwrap();
        }
        drop(items);
        let (records, mut taken) = mpsc::channel(room);
        let progress = Progress::new(Box::new(std::io::sink()), false);
        let run = Run::new((asker, handle), prompts, read, Outbox::new(records), &progress);
        let (summary, mut outbox) = run.until(stop).await;
        let mut results: Vec<Record> = std::iter::from_fn(|| taken.try_recv().ok()).collect();
        while !outbox.is_empty() {
            outbox.hand_over().await.unwrap();
            results.push(taken.recv().await.unwrap());
        }
        (summary, results)
    }

    async fn run_for(seconds: u32, mock: Builder, settings: Settings, prompts: usize) -> (Mock, Vec<Record>) {
        let mock = mock.build();
        let (_, results) = run(&mock, settings, prompts, prompts, tokio::time::sleep(SECOND * seconds)).await;
        (mock, results)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_flows_is_never_cut_off_however_long_it_takes() {
        // 60 words, one every 20 s: ten times as long as the timeout.
        let mock = Mock::builder().answer_words(60).token_gap(20 * SECOND);
        let (mock, results) = run_for(3_000, mock, settings(), 1).await;
        assert!(results[0].ok, "{:?}", results[0].error);
        assert_eq!(mock.stats().seen, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_prompt_that_our_own_time_out_cuts_off_is_sent_three_times_at_most_and_told_so() {
        let stalls = Plan::default().rate(Fault::Stall, 1.0).max_consecutive(u32::MAX);
        let hangs = Plan::default().rate(Fault::Hang, 1.0).max_consecutive(u32::MAX);
        for plan in [stalls, hangs] {
            let settings = Settings { silence: 10 * SECOND, ..settings() };
            let (mock, results) = run_for(3_600, Mock::builder().plan(plan), settings, 1).await;
            assert_eq!(mock.stats().seen, 3);
            assert_eq!((results[0].ok, results[0].attempts), (false, 3));
            let error = results[0].error.as_deref().unwrap();
            assert_eq!(error, "cut off 3 times: nothing arrived for 10s (--timeout)");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_out_over_the_whole_answer_is_opt_in() {
        let mock = Mock::builder().answer_words(60).token_gap(20 * SECOND);
        let settings = Settings { whole_answer: Some(100 * SECOND), ..settings() };
        let (mock, results) = run_for(3_600, mock, settings, 1).await;
        assert_eq!(mock.stats().seen, 3);
        assert!(
            results[0].error.as_deref().unwrap().contains("--answer-timeout"),
            "{:?}",
            results[0].error
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_hangs_cuts_off_nobody() {
        let mock = Mock::builder()
            .outage(SECOND..300 * SECOND, Outage::Hang)
            .latency(Latency::constant(2 * SECOND))
            .plan(Plan::default().attempt(1, Fault::Unavailable));
        let settings = Settings { silence: 10 * SECOND, ..settings() };
        let (_, results) = run_for(3_600, mock, settings, 20).await;
        assert_eq!(results.len(), 20);
        assert!(results.iter().all(|record| record.ok), "{:?}", results[0].error);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_not_there_ends_the_run_with_the_cause() {
        let mock = Mock::builder().outage(Duration::ZERO..7_200 * SECOND, Outage::Refuse).build();
        let (summary, results) = run(&mock, settings(), 5, 5, tokio::time::sleep(3_600 * SECOND)).await;
        assert!(matches!(summary.ended, Ended::Hopeless(_)), "{:?}", summary.ended);
        assert!(summary.took < 90 * SECOND, "{:?}", summary.took);
        for record in results {
            let error = record.error.unwrap();
            assert!(error.starts_with("given up: no response for 6"), "{error}");
            assert!(error.contains("last failure: connection refused"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_that_is_answered_is_lost_when_a_run_is_stopped() {
        // All are answered within a second, and none of the results is taken before the stop.
        let mock = Mock::builder().latency(Latency::constant(SECOND)).build();
        let (summary, results) = run(&mock, settings(), 10, 1, tokio::time::sleep(60 * SECOND)).await;
        assert!(matches!(summary.ended, Ended::Stopped));
        assert_eq!((results.len(), summary.answered, mock.stats().answered), (10, 10, 10));
    }
}
