//! What all services of a layer share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aplomb_core::{Backoff, Kind, Observe, Outcome, ResponseHead};
use http::HeaderName;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::delay::{Rules, decide};
use crate::progress::Progress;
use crate::repeatable::Rule;
use crate::{Budget, Event, Stop, Stopped, Upcoming, headers};

/// The strategies and the settings of a layer.
pub(crate) struct Config<K, C, B, D, O> {
    pub(crate) replay: K,
    pub(crate) classifier: C,
    pub(crate) backoff: B,
    pub(crate) discard: D,
    pub(crate) observer: O,
    pub(crate) settings: Settings,
}

/// What is not a strategy.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) max_elapsed: Option<Duration>,
    pub(crate) stands_down: bool,
    pub(crate) mark_final: bool,
    pub(crate) repeatable: Rule,
    pub(crate) stop: Option<Arc<dyn Stop + Send + Sync>>,
    pub(crate) cancellation: Option<CancellationToken>,
    pub(crate) budget: Option<Budget>,
    pub(crate) idempotency_key: Option<HeaderName>,
    pub(crate) retry_count: Option<HeaderName>,
    pub(crate) random: Random,
}

/// Where chance comes from.
#[derive(Clone)]
pub(crate) enum Random {
    /// The thread's generator.
    Thread,
    /// A generator for each wait, derived from a seed and from how many calls have needed chance so
    /// far, in all layers that were set up from the seeded one.
    Seed(u64, Arc<AtomicU64>),
    /// The user's own, asked for whenever a wait is chosen.
    Own(Arc<dyn Fn() -> Box<dyn Rng> + Send + Sync>),
}

impl<K, C, B, D, O> Config<K, C, B, D, O> {
    /// Runs `draw` with a source of chance that no other call shares.
    ///
    /// The generator is made anew for every retry, so that a call in flight carries only its number.
    pub(crate) fn with_random<T>(
        &self,
        number: &mut Option<u64>,
        retry: u32,
        draw: impl FnOnce(&mut dyn Rng) -> T,
    ) -> T {
        match &self.settings.random {
            Random::Thread => draw(&mut rand::rng()),
            Random::Own(random) => draw(&mut *random()),
            Random::Seed(seed, calls) => {
                let number = *number.get_or_insert_with(|| calls.fetch_add(1, Ordering::Relaxed));
                let mut key = [0; 32];
                key[..8].copy_from_slice(&seed.to_le_bytes());
                key[8..16].copy_from_slice(&number.to_le_bytes());
                key[16..20].copy_from_slice(&retry.to_le_bytes());
                draw(&mut StdRng::from_seed(key))
            }
        }
    }
}

impl<K, C, B: Backoff, D, O: Observe<Event>> Config<K, C, B, D, O> {
    /// How long to wait before the request is sent again, or why it is not.
    pub(crate) fn decide(
        &self,
        progress: &mut Progress,
        outcome: Outcome,
        response: Option<&dyn ResponseHead>,
        now: Instant,
    ) -> Result<Duration, Stopped> {
        let settings = &self.settings;
        if outcome.kind() == Kind::Local {
            progress.was_refused();
        }
        let failed = progress.failed(outcome).with_response(response);
        let standing = progress.standing(now);
        let wait = self.with_random(&mut progress.past().number, failed.retry(), |random| {
            decide(&settings.rules, &failed, &standing, &self.backoff, random)
        })?;
        if settings.cancellation.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Err(Stopped::Cancelled);
        }
        let stop = settings
            .stop
            .as_ref()
            .and_then(|stop| stop.stop(&Upcoming { failed: &failed, wait, elapsed: progress.elapsed(now) }));
        stop.map_or(Ok(wait), Err)
    }

    /// Tells of the end of a call that succeeded, and leaves the account on its response.
    pub(crate) fn succeeded(&self, progress: &mut Progress, response: Option<&mut dyn ResponseHead>) {
        progress.succeeded();
        if progress.attempts() == 1 {
            return;
        }
        let retried = progress.retried(None);
        let (attempts, waited) = (retried.attempts, retried.waited);
        self.observer.on_event(&Event::Recovered { attempts, waited });
        if let Some(extensions) = response.and_then(ResponseHead::extensions_mut) {
            extensions.insert(retried);
        }
    }

    /// Tells of the end of a call that failed, and leaves the account on its response.
    pub(crate) fn gave_up(
        &self,
        progress: &Progress,
        outcome: Outcome,
        stopped: Stopped,
        response: Option<&mut dyn ResponseHead>,
    ) {
        let retried = progress.retried(Some(stopped));
        let (attempts, waited) = (retried.attempts, retried.waited);
        self.observer.on_event(&Event::GaveUp { attempts, outcome, waited, stopped });
        let Some(response) = response else { return };
        if self.settings.mark_final && is_final(stopped) {
            headers::forbid_retry(response);
        }
        // The account is that of the layer outside.
        if stopped == Stopped::Nested {
            return;
        }
        if let Some(extensions) = response.extensions_mut() {
            extensions.insert(retried);
        }
    }
}

/// Whether a failure has been tried enough, so that who retries outside should not start over. It has
/// not where this layer did not try, or was kept from it.
fn is_final(stopped: Stopped) -> bool {
    use Stopped::{Cancelled, CannotReplay, Disallowed, Nested, NotRepeatable};
    !matches!(stopped, Nested | Disallowed | Cancelled | CannotReplay | NotRepeatable)
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_retries", &self.rules.max_retries)
            .field("max_retry_after", &self.rules.max_retry_after)
            .field("max_elapsed", &self.max_elapsed)
            .field("throttled", &self.rules.throttled)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
