//! The record of each prompt: how often it was sent again, and how early. Bounded in memory.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use crate::stats::{PromptStats, Stats};

#[derive(Debug, Default)]
pub(crate) struct Prompts {
    most: usize,
    by_key: HashMap<u64, Record>,
    by_retries: BTreeMap<u32, u64>,
    retries: u64,
    early_retries: u64,
    untracked: u64,
}

#[derive(Debug, Default)]
struct Record {
    stats: PromptStats,
    failed: bool,
    not_before: Option<Instant>,
}

impl Prompts {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Counts a request with this prompt.
    pub(crate) fn arrive(&mut self, key: u64, now: Instant) {
        let known = self.by_key.contains_key(&key);
        if !known && self.by_key.len() >= self.most {
            self.untracked += 1;
            return;
        }
        if !known {
            *self.by_retries.entry(0).or_default() += 1;
        }
        let record = self.by_key.entry(key).or_default();
        record.stats.seen = record.stats.seen.saturating_add(1);
        if !record.failed {
            return;
        }
        self.retries += 1;
        if record.not_before.is_some_and(|instant| now < instant) {
            self.early_retries += 1;
            record.stats.early_retries = record.stats.early_retries.saturating_add(1);
        }
        let before = record.stats.retries;
        record.stats.retries = before.saturating_add(1);
        self.moved(before, before.saturating_add(1));
    }

    /// Counts an accepted request; returns the number of this attempt, or `None` for an untracked prompt.
    pub(crate) fn accept(&mut self, key: u64) -> Option<u32> {
        let record = self.by_key.get_mut(&key)?;
        record.stats.accepted = record.stats.accepted.saturating_add(1);
        record.failed = false;
        record.not_before = None;
        Some(record.stats.accepted)
    }

    /// Notes that the attempt fails: what follows is a retry.
    pub(crate) fn fail(&mut self, key: u64) {
        if let Some(record) = self.by_key.get_mut(&key) {
            record.failed = true;
        }
    }

    /// Notes that the client was told to wait until then. That holds until an attempt is accepted.
    pub(crate) fn tell(&mut self, key: u64, not_before: Instant) {
        if let Some(record) = self.by_key.get_mut(&key) {
            record.not_before = Some(not_before);
        }
    }

    /// Notes that the prompt is answered.
    pub(crate) fn answer(&mut self, key: u64) {
        if let Some(record) = self.by_key.get_mut(&key) {
            record.failed = false;
        }
    }

    pub(crate) fn of(&self, key: u64) -> PromptStats {
        self.by_key.get(&key).map(|record| record.stats).unwrap_or_default()
    }

    pub(crate) fn describe(&self, stats: &mut Stats) {
        stats.prompts = self.by_key.len() as u64;
        stats.prompts_by_retries = self.by_retries.clone();
        stats.retries = self.retries;
        stats.early_retries = self.early_retries;
        stats.untracked = self.untracked;
    }

    fn moved(&mut self, from: u32, to: u32) {
        if let Some(prompts) = self.by_retries.get_mut(&from) {
            *prompts -= 1;
            if *prompts == 0 {
                self.by_retries.remove(&from);
            }
        }
        *self.by_retries.entry(to).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_follows_a_failure_is_a_retry_and_early_before_the_time_told() {
        let (mut prompts, now) = (Prompts::new(10), Instant::now());
        prompts.arrive(1, now);
        prompts.accept(1);
        prompts.arrive(1, now);
        assert_eq!(prompts.of(1).retries, 0);
        prompts.fail(1);
        prompts.tell(1, now + Duration::from_secs(1));
        prompts.arrive(1, now + Duration::from_millis(999));
        prompts.arrive(1, now + Duration::from_secs(1));
        assert_eq!((prompts.of(1).retries, prompts.of(1).early_retries), (2, 1));
        assert_eq!(prompts.by_retries, [(2, 1)].into());
    }

    #[test]
    fn the_time_told_is_forgotten_once_an_attempt_is_accepted() {
        let (mut prompts, now) = (Prompts::new(10), Instant::now());
        prompts.arrive(1, now);
        prompts.fail(1);
        prompts.tell(1, now + Duration::from_secs(1));
        prompts.accept(1);
        prompts.fail(1);
        prompts.arrive(1, now);
        assert_eq!((prompts.of(1).retries, prompts.of(1).early_retries), (1, 0));
    }

    #[test]
    fn no_more_prompts_are_tracked_than_the_most() {
        let mut prompts = Prompts::new(2);
        for key in 0..5 {
            prompts.arrive(key, Instant::now());
        }
        assert_eq!((prompts.by_key.len(), prompts.untracked), (2, 3));
        assert_eq!(prompts.accept(4), None);
    }
}
