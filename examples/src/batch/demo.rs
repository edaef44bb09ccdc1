//! The demonstration: the same prompts, limit and faults, for a plain retry loop and for aplomb.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use aplomb::rate_limit::Quota;
use aplomb_mock::{Fault, Latency, Mock, Plan, Server, answer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::args::{ApiName, Args};
use super::ask::Asker;
use super::client::http;
use super::endpoint::{Settings, endpoint, known};
use super::health::Health;
use super::ideal::{Allowed, least};
use super::input::Item;
use super::naive::{ATTEMPTS, Naive};
use super::output::Outbox;
use super::progress::Progress;
use super::prompt::{Id, Prompt};
use super::run::Run;
use super::table::{self, Column};
use super::target::Target;

/// The default seed of the faults. It deals some of each kind, and none to the very last prompts, where the luck of one
/// prompt would decide the time of all.
pub(crate) const SEED: u64 = 6;

const PROMPTS: usize = 100;
const LIMIT: Allowed = Allowed { per_minute: 600, burst: 20 };
const TIMEOUT: Duration = Duration::from_secs(2);
const LATENCY: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(200);
const ANSWER_WORDS: usize = 32;

/// The prompts, and what will happen to them.
struct Demo {
    plan: Plan,
    latency: Latency,
    prompts: Vec<Prompt>,
    timeout: Duration,
    workers: usize,
}

/// Runs the demonstration. Returns whether aplomb got every answer.
pub(crate) async fn run(args: &Args, out: &mut dyn Write, progress: &Progress) -> io::Result<bool> {
    let demo = Demo::new(args);
    writeln!(
        out,
        "{PROMPTS} prompts, {} workers, and a mock provider on this machine. It allows\n\
         {} requests a minute, {} of them at once, and refuses more with a 429.\n\
         Of the others, 5 % are answered with 503, 2 % are reset and 1 % hang.\n",
        demo.workers, LIMIT.per_minute, LIMIT.burst
    )?;
    out.flush()?;
    let naive = demo.naive(progress).await?;
    let not_told = demo.aplomb(false, progress).await?;
    let told = demo.aplomb(true, progress).await?;
    let complete = [&not_told, &told].iter().all(|column| column.answered == column.prompts);
    table::write(out, &[naive, not_told, told])?;
    writeln!(
        out,
        "\nThe retry loop makes {ATTEMPTS} attempts, and waits 1, 2, 4 and 8 s between them.\n\
         Not told the limit, aplomb learns it from the provider's answers.\n\
         Under this limit no client could take less than {:.1} s.",
        demo.ideal().as_secs_f64()
    )?;
    out.flush()?;
    Ok(complete)
}

impl Demo {
    fn new(args: &Args) -> Self {
        let plan = Plan::seeded(args.seed)
            .rate(Fault::Unavailable, 0.05)
            .rate(Fault::Reset, 0.02)
            .rate(Fault::Hang, 0.01);
        let prompt = |n| Prompt {
            id: Id::number(n),
            text: format!("Say something kind about the number {n}."),
            max_tokens: None,
        };
        Self {
            plan,
            latency: Latency::uniform(LATENCY),
            prompts: (1..=PROMPTS).map(prompt).collect(),
            timeout: args.timeout.unwrap_or(TIMEOUT),
            workers: args.concurrency.into(),
        }
    }

    async fn naive(&self, progress: &Progress) -> io::Result<Column> {
        let (server, target) = self.start().await?;
        let naive = Naive { client: http(false)?, target, timeout: self.timeout };
        progress.begin("a retry loop", Some(PROMPTS as u64));
        let began = Instant::now();
        let answers = naive.run(self.prompts.clone(), self.workers, progress).await;
        let took = began.elapsed();
        progress.end(true);
        let right = answers.iter().filter(|(prompt, text)| is_right(prompt, text.as_deref()));
        Ok(column(["a plain", "retry loop"], right.count(), &server, took))
    }

    async fn aplomb(&self, told: bool, progress: &Progress) -> io::Result<Column> {
        let (server, target) = self.start().await?;
        let health = Arc::new(Health::default());
        let limit = known(Quota::requests_per_minute(LIMIT.per_minute.into()), Some(LIMIT.burst));
        let settings = Settings {
            quotas: told.then_some(limit).into_iter().collect(),
            silence: self.timeout,
            whole_answer: None,
            max_retries: None,
        };
        let (endpoint, handle) =
            endpoint(http(false)?, target.provider(), &settings, &health).map_err(io::Error::other)?;
        let timed_out = settings.timed_out();
        let asker = Asker { endpoint, target, key: None, deadline: None, health, timed_out };
        // Both channels have room for all prompts, so neither end has to be served.
        let (items, prompts) = mpsc::channel(PROMPTS);
        let (records, mut results) = mpsc::channel(PROMPTS);
        for prompt in self.prompts.clone() {
            // The receiver is right here.
            let _ = items.send(Item::Prompt(prompt)).await;
        }
        drop(items);
        let title = if told { "aplomb, told" } else { "aplomb" };
        progress.begin(title, Some(PROMPTS as u64));
        let run = Run::new((asker, handle), self.workers, prompts, Outbox::new(records), progress);
        let (summary, outbox) = run.until(std::future::pending()).await;
        drop(outbox);
        progress.end(true);
        let mut right = 0;
        while let Some(record) = results.recv().await {
            let prompt = self.prompts.iter().find(|prompt| prompt.id == record.id);
            right += usize::from(prompt.is_some_and(|prompt| is_right(prompt, record.text.as_deref())));
        }
        let title = if told {
            ["aplomb,", "told the limit"]
        } else {
            ["aplomb,", "not told the limit"]
        };
        Ok(column(title, right, &server, summary.took))
    }

    async fn start(&self) -> io::Result<(Server, Arc<Target>)> {
        let mock = Mock::builder()
            .requests_per_minute(LIMIT.per_minute.into())
            .request_burst(LIMIT.burst.into())
            .latency(self.latency.clone())
            .answer_words(ANSWER_WORDS)
            .plan(self.plan.clone());
        let server = mock.start().await?;
        let target = Target::new(ApiName::OpenAi, &server.openai_base_url(), "mock".to_owned());
        Ok((server, Arc::new(target.map_err(io::Error::other)?)))
    }

    /// The least time that any client needs.
    fn ideal(&self) -> Duration {
        let prompts: Vec<_> = self.prompts.iter().map(|prompt| self.attempts(&prompt.text)).collect();
        least(&prompts, self.workers, LIMIT)
    }

    /// The attempts that a prompt needs, up to its answer.
    fn attempts(&self, prompt: &str) -> Vec<Duration> {
        let mut attempts = Vec::new();
        for attempt in 1.. {
            let fault = self.plan.fault(prompt, attempt);
            attempts.push(match fault {
                Some(Fault::Hang) => self.timeout,
                _ => self.latency.draw(self.plan.seed(), prompt, attempt),
            });
            if fault.is_none() {
                break;
            }
        }
        attempts
    }
}

/// Returns whether a prompt got its whole answer: the mock's answers are known in advance.
fn is_right(prompt: &Prompt, text: Option<&str>) -> bool {
    text == Some(&answer(&prompt.text, ANSWER_WORDS))
}

fn column(title: [&'static str; 2], answered: usize, server: &Server, took: Duration) -> Column {
    let stats = server.stats();
    Column {
        title,
        answered: answered as u64,
        prompts: PROMPTS as u64,
        requests: stats.seen,
        throttled: stats.by_status.get(&429).copied().unwrap_or(0),
        took,
    }
}
