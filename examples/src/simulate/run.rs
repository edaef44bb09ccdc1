//! One run: a client does the work of a scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::client::{Ask, Client, Http, Look};
use super::ideal::{Ideal, ideal};
use super::scenario::Scenario;
use super::server::{Body, Came, Outage, Seen, Server};

/// A client that takes this many times the ideal time is stopped, but not within the first half minute.
const PATIENCE: u32 = 15;
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The number of prompts that could be answered.
    pub prompts: u64,
    /// The number that were.
    pub answered: u64,
    /// The time until each caller had an answer or had given up, or the run was stopped.
    pub took: Duration,
    /// True if it was stopped.
    pub stopped: bool,
    /// The result of the best possible client.
    pub ideal: Ideal,
    /// The requests that the server saw.
    pub seen: Vec<Seen>,
    /// The time of each answered prompt, in the order of the answers.
    pub waits: Vec<Wait>,
    /// Samples of client and server, one every tenth of a second, if they were asked for.
    pub moments: Vec<Moment>,
}

/// The wait of a caller for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The number of the prompt.
    pub prompt: u64,
    /// Since the start.
    pub from: Duration,
    /// Since the start.
    pub to: Duration,
    /// True if it was answered.
    pub answered: bool,
}

/// A sample of client and server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// The number of requests that the server was working on.
    pub in_flight: usize,
    /// The state of the client.
    pub look: Look,
}

impl Run {
    /// The number of requests that the server saw.
    pub fn requests(&self) -> u64 {
        self.seen.len() as u64
    }

    /// The number of them that it refused with a 429.
    pub fn refused(&self) -> u64 {
        self.count(|seen| seen.what == Came::Refused)
    }

    /// The number of them that failed otherwise.
    pub fn failed(&self) -> u64 {
        self.count(|seen| seen.what == Came::Failed)
    }

    /// The number of them that came earlier than the server allowed.
    pub fn early(&self) -> u64 {
        self.count(|seen| seen.early)
    }

    fn count(&self, which: impl Fn(&Seen) -> bool) -> u64 {
        self.seen.iter().filter(|seen| which(seen)).count() as u64
    }

    /// The time of the last answer, if all prompts were answered that could be; otherwise that of the run.
    pub fn done_in(&self) -> Duration {
        let answers = self.waits.iter().filter(|wait| wait.answered).map(|wait| wait.to);
        let last = answers.max().filter(|_| self.answered >= self.prompts);
        last.unwrap_or(self.took)
    }

    /// That time, as a multiple of the ideal one.
    pub fn ratio(&self) -> f64 {
        self.done_in().as_secs_f64() / self.ideal.took.as_secs_f64().max(1e-3)
    }

    /// The number of requests that were accepted and had not ended at a time.
    pub fn in_flight(&self, at: Duration) -> usize {
        let is_in_flight = |seen: &&Seen| seen.at <= at && seen.ended.is_none_or(|ended| ended > at);
        self.seen.iter().filter(is_in_flight).count()
    }

    /// The number of requests that were sent while the server was down.
    pub fn sent_within(&self, outages: &[Outage]) -> u64 {
        let is_down = |at| outages.iter().any(|outage| outage.when.contains(&at));
        self.seen.iter().filter(|seen| is_down(seen.at)).count() as u64
    }

    /// The longest time of this share of the answered prompts.
    pub fn percentile(&self, share: f64) -> Duration {
        let waits = self
            .waits
            .iter()
            .filter(|wait| wait.answered)
            .map(|wait| wait.to.saturating_sub(wait.from));
        let mut waits: Vec<_> = waits.collect();
        waits.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in the list"
        )]
        let place = (share * waits.len().saturating_sub(1) as f64).round() as usize;
        waits.get(place).copied().unwrap_or_default()
    }
}

/// Runs a scenario with a client, in virtual time; `watch` says whether to look ten times a second.
///
/// # Panics
///
/// Panics if the runtime cannot be made.
pub fn run(scenario: &Scenario, client: Client, seed: u64, watch: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O").block_on(async {
        let server = Server::start(&scenario.world, seed);
        let http = BoxCloneSyncService::new(server.clone());
        let mut run = against(http, scenario, client, seed, watch.then(|| server.clone())).await;
        run.seen = server.seen();
        run
    })
}

/// The same against `aplomb-mock`, in process; `None` if it cannot behave like the scenario's server. Its requests
/// are counted, by their status.
///
/// # Panics
///
/// Panics if the runtime cannot be made.
pub fn run_on_mock(scenario: &Scenario, client: Client, seed: u64) -> Option<(Run, aplomb_mock::Stats)> {
    let mock = scenario.world.on_mock(seed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (run, stats) = runtime.expect("a runtime without I/O").block_on(async {
        let mock = mock.build();
        let to_body = |response: http::Response<_>| response.map(Body::from);
        let answers = ServiceExt::<http::Request<Full<Bytes>>>::map_response(mock.clone(), to_body);
        let run = against(BoxCloneSyncService::new(answers), scenario, client, seed, None).await;
        (run, mock.stats())
    });
    Some((run, stats))
}

/// Runs a scenario with a client against the server behind `http`.
pub(crate) async fn against(
    http: Http,
    scenario: &Scenario,
    client: Client,
    seed: u64,
    watch: Option<Server>,
) -> Run {
    let ideal = ideal(scenario, seed);
    let start = Instant::now();
    let client: Arc<dyn Ask> = client.around(http, scenario, seed).into();
    let work = callers(&client, scenario, start);
    let patience = (ideal.took * PATIENCE).max(LEAST_PATIENCE);
    let mut moments = Vec::new();
    let waits = Arc::clone(&work.waits);
    let looking = async {
        let Some(server) = &watch else {
            return std::future::pending().await;
        };
        let mut ticks = interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            moments.push(Moment { at: start.elapsed(), in_flight: server.in_flight(), look: client.look() });
        }
    };
    let stopped = timeout(patience, async {
        tokio::select! {
            biased;
            () = work.done() => {}
            () = looking => {}
        }
    })
    .await
    .is_err();
    let took = start.elapsed();
    let waits = std::mem::take(&mut *waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let answered = waits.iter().filter(|wait| wait.answered).count() as u64;
    Run {
        prompts: ideal.answered,
        answered,
        took,
        stopped,
        ideal,
        seen: Vec::new(),
        waits,
        moments,
    }
}

/// The callers, while they are at work.
struct Working {
    tasks: JoinSet<()>,
    waits: Arc<std::sync::Mutex<Vec<Wait>>>,
}

impl Working {
    async fn done(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client panicked");
        }
    }
}

/// Starts the callers: each takes the next prompt when it has finished one.
fn callers(client: &Arc<dyn Ask>, scenario: &Scenario, start: Instant) -> Working {
    let mut tasks = JoinSet::new();
    let waits = Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = Arc::new(AtomicU64::new(0));
    for _ in 0..scenario.job.callers {
        let (client, job) = (Arc::clone(client), scenario.job);
        let (taken, waits) = (Arc::clone(&taken), Arc::clone(&waits));
        tasks.spawn(async move {
            loop {
                let number = taken.fetch_add(1, Ordering::Relaxed) + 1;
                if number > job.prompts {
                    break;
                }
                let from = start.elapsed();
                let answered = client.ask(&job.prompt(number)).await;
                let wait = Wait { prompt: number, from, to: start.elapsed(), answered };
                waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(wait);
            }
        });
    }
    Working { tasks, waits }
}
