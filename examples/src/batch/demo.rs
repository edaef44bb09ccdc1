//! The demonstration: the same prompts, the same limits, the same faults, answered in two ways.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use aplomb::rate_limit::Quota;
use aplomb_mock::{Fault, Latency, Mock, Plan, Server, answer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::api::Target;
use super::args::{ApiName, Args};
use super::ask::Asker;
use super::client::http;
use super::endpoint::{Settings, endpoint, known};
use super::ideal::{Allowed, Order, Step, least};
use super::input::Item;
use super::naive::Naive;
use super::progress::Progress;
use super::prompt::{Id, Prompt};
use super::run::Run;
use super::signs::Signs;
use super::table::{self, Column};

/// The seed of the faults, unless told otherwise: one that deals some of each kind, and none to the very last prompts,
/// where the luck of one prompt would decide the time of all.
pub(crate) const SEED: u64 = 6;

const PROMPTS: usize = 100;
const LIMIT: Allowed = Allowed { per_minute: 600, burst: 20 };
const TIMEOUT: Duration = Duration::from_secs(2);
const LATENCY: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(200);
const ANSWER_WORDS: usize = 32;

/// What the demonstration asks, and what will happen to it.
struct Demo {
    plan: Plan,
    latency: Latency,
    prompts: Vec<Prompt>,
    timeout: Duration,
    workers: usize,
}

/// Runs it; says whether aplomb got every answer.
pub(crate) async fn run(args: &Args, out: &mut dyn Write, progress: &Progress) -> io::Result<bool> {
    let demo = Demo::new(args);
    writeln!(
        out,
        "{PROMPTS} prompts for a mock provider on this machine: {} requests a minute, {} at once;\n\
         5 % of them fail with 503, 2 % are reset, 1 % hang. {} workers, {:?} for an attempt.\n",
        LIMIT.per_minute, LIMIT.burst, demo.workers, demo.timeout
    )?;
    let naive = demo.naive(progress).await?;
    let aplomb = demo.aplomb(progress).await?;
    let complete = aplomb.answered == aplomb.prompts;
    let [ideal, in_order] = [Order::Free, Order::Kept].map(|order| demo.ideal(order));
    let in_order = (in_order > ideal.mul_f64(1.01)).then_some(in_order);
    table::write(&mut &mut *out, &[naive, aplomb], ideal, in_order)?;
    writeln!(
        out,
        "\nThe ideal knows every fault beforehand, asks first for what will take longest, and never waits in vain."
    )?;
    if in_order.is_some() {
        writeln!(out, "Where the last prompts meet faults, nobody else can keep up with it.")?;
    }
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
        Ok(column("a retry loop", right.count(), &server, took))
    }

    async fn aplomb(&self, progress: &Progress) -> io::Result<Column> {
        let (server, target) = self.start().await?;
        let signs = Arc::new(Signs::default());
        let settings = Settings {
            quotas: vec![known(
                Quota::requests_per_minute(LIMIT.per_minute.into()),
                Some(LIMIT.burst),
            )],
            timeout: self.timeout,
            max_retries: None,
        };
        let (endpoint, handle) =
            endpoint(http(false)?, target.provider(), &settings, &signs).map_err(io::Error::other)?;
        let asker = Asker { endpoint, target, key: None, deadline: None, signs };
        // Room for all of them, so that neither end has to be attended to.
        let (items, prompts) = mpsc::channel(PROMPTS);
        let (records, mut results) = mpsc::channel(PROMPTS);
        for prompt in self.prompts.clone() {
            // The other end is right here.
            let _ = items.send(Item::Prompt(prompt)).await;
        }
        drop(items);
        progress.begin("aplomb", Some(PROMPTS as u64));
        let run = Run::new((asker, handle), self.workers, prompts, records, progress);
        let summary = run.until(std::future::pending()).await;
        progress.end(true);
        let mut right = 0;
        while let Some(record) = results.recv().await {
            let prompt = self.prompts.iter().find(|prompt| prompt.id == record.id);
            right += usize::from(prompt.is_some_and(|prompt| is_right(prompt, record.text.as_deref())));
        }
        Ok(column("aplomb", right, &server, summary.took))
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

    fn ideal(&self, order: Order) -> Duration {
        let ways: Vec<_> = self.prompts.iter().map(|prompt| self.way(&prompt.text)).collect();
        least(&ways, self.workers, LIMIT, order)
    }

    /// What the plan has in store for a prompt, up to its answer.
    fn way(&self, prompt: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        for attempt in 1.. {
            let fault = self.plan.fault(prompt, attempt);
            let takes = match fault {
                Some(Fault::Hang) => self.timeout,
                _ => self.latency.draw(self.plan.seed(), prompt, attempt),
            };
            steps.push(Step { takes, then_wait: Duration::ZERO });
            if fault.is_none() {
                break;
            }
        }
        steps
    }
}

/// The mock's answers are known, so that nobody is credited with half of one.
fn is_right(prompt: &Prompt, text: Option<&str>) -> bool {
    text == Some(&answer(&prompt.text, ANSWER_WORDS))
}

fn column(name: &'static str, answered: usize, server: &Server, took: Duration) -> Column {
    let stats = server.stats();
    Column {
        name,
        answered: answered as u64,
        prompts: PROMPTS as u64,
        requests: stats.seen,
        throttled: stats.by_status.get(&429).copied().unwrap_or(0),
        early: stats.early_retries,
        took,
    }
}
