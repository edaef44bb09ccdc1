//! A scenario: a server, and the work of its clients.

use std::time::Duration;

use aplomb::rate_limit::Quota;

use super::prompt::Prompt;
use super::server::World;

/// A server, and the work of its clients.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// A short name, for the command line.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The server.
    pub world: World,
    /// The work.
    pub job: Job,
    /// The timeout of an attempt: the one thing that every client knows.
    pub attempt_timeout: Duration,
    /// The quotas that a user could know.
    pub told: Vec<Quota>,
    /// The concurrency limit that a user could know.
    pub told_places: Option<usize>,
    /// The quota that each tenant has of its own.
    pub each_tenant: Option<Quota>,
}

/// The work: prompts, and callers that each take the next one when they have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The number of prompts.
    pub prompts: u64,
    /// The number of callers.
    pub callers: usize,
    /// The tokens of each prompt.
    pub input: u64,
    /// `max_tokens` of each prompt; not sent if 0.
    pub max_output: u64,
    /// True if the answers are to be streams.
    pub stream: bool,
    /// The number of tenants that share the prompts.
    pub tenants: Option<u64>,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            prompts: 300,
            callers: 64,
            input: 25,
            max_output: 0,
            stream: false,
            tenants: None,
        }
    }
}

impl Job {
    /// A prompt, by its number from 1 on.
    pub(crate) fn prompt(&self, number: u64) -> Prompt {
        Prompt {
            number,
            input: self.input,
            max_output: self.max_output,
            stream: self.stream,
            tenant: self.tenants.map(|tenants| number % tenants.max(1)),
        }
    }
}

impl Scenario {
    /// A scenario with the default work, of which nothing is known in advance.
    pub fn new(name: &'static str, about: &'static str, world: World) -> Self {
        Self {
            name,
            about,
            world,
            job: Job::default(),
            attempt_timeout: Duration::from_secs(60),
            told: Vec::new(),
            told_places: None,
            each_tenant: None,
        }
    }

    /// Sets the work.
    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.job = job;
        self
    }

    /// Sets the timeout of an attempt.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Gives each tenant a quota of its own.
    #[must_use]
    pub fn each_tenant(mut self, quota: Quota) -> Self {
        self.each_tenant = Some(quota);
        self
    }

    /// Adds a quota that a user could know.
    #[must_use]
    pub fn told(mut self, quota: Quota) -> Self {
        self.told.push(quota);
        self
    }
}
