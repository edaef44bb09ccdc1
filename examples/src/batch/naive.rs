//! The retry loop that everybody writes, for comparison.

use std::sync::Arc;
use std::time::Duration;

use aplomb::WallClock;
use aplomb::provider::Head;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::Http;
use super::progress::Progress;
use super::prompt::Prompt;
use super::target::Target;

/// Most such loops give up sooner.
pub(crate) const ATTEMPTS: u32 = 5;

/// Asks a model with a client and nothing else.
#[derive(Clone)]
pub(crate) struct Naive {
    pub(crate) client: Http,
    pub(crate) target: Arc<Target>,
    pub(crate) timeout: Duration,
}

impl Naive {
    /// Retries a few times, and waits twice as long each time.
    async fn ask(&self, prompt: &Prompt) -> Option<String> {
        for attempt in 0..ATTEMPTS {
            if let Ok(Some(text)) = timeout(self.timeout, self.attempt(prompt)).await {
                return Some(text);
            }
            if attempt + 1 < ATTEMPTS {
                sleep(Duration::from_secs(1 << attempt)).await;
            }
        }
        None
    }

    async fn attempt(&self, prompt: &Prompt) -> Option<String> {
        let response = self.client.request(self.target.request(prompt)).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let clock = WallClock::system();
        self.target.provider().text(&Head::new(head.status, &head.headers, &clock), &body)
    }

    /// Asks all prompts, `workers` at a time. Returns each with its answer, if it got one.
    pub(crate) async fn run(
        &self,
        prompts: Vec<Prompt>,
        workers: usize,
        progress: &Progress,
    ) -> Vec<(Prompt, Option<String>)> {
        let room = Arc::new(Semaphore::new(workers));
        let mut running = JoinSet::new();
        for prompt in prompts {
            let (naive, room) = (self.clone(), Arc::clone(&room));
            running.spawn(async move {
                let _place = room.acquire_owned().await;
                let answer = naive.ask(&prompt).await;
                (prompt, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(ended) = running.join_next().await {
            if let Ok((prompt, answer)) = ended {
                progress.ended(answer.is_some());
                answers.push((prompt, answer));
            }
        }
        answers
    }
}
