//! A scenario: a server, and what clients want of it.

use std::time::Duration;

use aplomb::rate_limit::Quota;

use super::prompt::Prompt;
use super::server::World;

/// A server, and what clients want of it.
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
    /// How long an attempt may take: the one thing that every client is told.
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
    /// How many prompts.
    pub prompts: u64,
    /// How many callers ask at a time.
    pub callers: usize,
    /// The tokens of each prompt.
    pub input: u64,
    /// The most tokens of each answer; nothing is said where this is 0.
    pub max_output: u64,
    /// True if the answers are to be streams.
    pub stream: bool,
    /// Between how many tenants they are dealt.
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
    /// A scenario with the usual work, of which nothing can be known beforehand.
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

    /// Sets how long an attempt may take.
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
