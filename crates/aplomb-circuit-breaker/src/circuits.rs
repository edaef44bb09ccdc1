//! The circuits of a layer, and the calls they reject.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aplomb_admission::{Entries, ErasedKey, KeyBy, LayerState, Queue, QueueLimits, RejectReason, Rejected};
use aplomb_core::{BoxError, CallOptions, Event, KeyLabel, LayerName, Observe, Rejection, notify_rejected};

use crate::{Circuit, CircuitOpen, CircuitSettings, OpenReason, Transition};

pub(crate) type Observer = Arc<dyn Observe>;

/// The settings of a key; `None` for a key of another type.
type SettingsOf = dyn Fn(&dyn ErasedKey) -> Option<CircuitSettings> + Send + Sync;

/// The configuration of a layer.
#[derive(Clone)]
#[expect(unnameable_types, reason = "it is the layer's own")]
pub struct Config {
    pub(crate) settings: Arc<CircuitSettings>,
    pub(crate) settings_of: Option<Arc<SettingsOf>>,
    /// All calls of a key carry the same credential.
    pub(crate) one_credential: bool,
    pub(crate) limits: QueueLimits,
    pub(crate) observer: Observer,
    pub(crate) key_by: Option<KeyBy>,
    pub(crate) max_keys: usize,
}

/// The circuits of a layer: one, or one for each key. Clones share them.
#[derive(Clone)]
pub struct Circuits {
    entries: Entries<Circuit>,
    observer: Observer,
    settings: Arc<Settings>,
}

/// The settings of circuits in use, and of those to come.
struct Settings {
    common: Mutex<Arc<CircuitSettings>>,
    of_key: Option<Arc<SettingsOf>>,
    one_credential: bool,
}

impl Settings {
    fn new(config: &Config) -> Self {
        let Config { settings, settings_of, one_credential, .. } = config.clone();
        let common = Mutex::new(complete(settings, one_credential));
        Self { common, of_key: settings_of, one_credential }
    }

    /// The same settings, which change separately.
    fn copied(&self) -> Self {
        let common = Mutex::new(self.of(None));
        Self { common, of_key: self.of_key.clone(), one_credential: self.one_credential }
    }

    fn of(&self, key: Option<&dyn ErasedKey>) -> Arc<CircuitSettings> {
        match (key, &self.of_key) {
            (Some(key), Some(of_key)) => of_key(key).map(|own| complete(Arc::new(own), self.one_credential)),
            _ => None,
        }
        .unwrap_or_else(|| Arc::clone(&self.common.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn set(&self, settings: CircuitSettings) {
        let settings = complete(Arc::new(settings), self.one_credential);
        *self.common.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}

/// Adds the settings that follow from the keys.
fn complete(mut settings: Arc<CircuitSettings>, one_credential: bool) -> Arc<CircuitSettings> {
    if one_credential {
        let settings = Arc::make_mut(&mut settings);
        settings.trip = std::mem::take(&mut settings.trip).one_credential();
    }
    settings
}

impl LayerState for Circuits {
    type Config = Config;
    type Gate = Circuit;
    type Error = BoxError;

    fn new(config: &Config) -> Self {
        let settings = Arc::new(Settings::new(config));
        let Config { limits, observer, key_by, max_keys, .. } = config.clone();
        let report = {
            let observer = Arc::clone(&observer);
            move |transition: &Transition, key: Option<&KeyLabel>| transition.report(&*observer, key)
        };
        let entries = match key_by {
            None => Entries::one(Circuit::new(settings.of(None)), limits, report),
            Some(by) => {
                let settings = Arc::clone(&settings);
                let make = move |key: &dyn ErasedKey| Circuit::new(settings.of(Some(key)));
                Entries::keyed(by, max_keys, limits, make, report)
            }
        };
        Self { entries, observer, settings }
    }

    fn of_key(&self, queue: Queue<Circuit>) -> Self {
        let settings = Arc::new(self.settings.copied());
        Self { entries: Entries::of(queue), observer: Arc::clone(&self.observer), settings }
    }

    #[inline]
    fn entries(&self) -> &Entries<Circuit> {
        &self.entries
    }

    fn rejection(
        &self,
        rejected: &Rejected<OpenReason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        let open = rejected.gate_reason();
        let retry_after = open.and_then(OpenReason::retry_after).or(rejected.retry_after());
        let reason = match (rejected.reason(), open) {
            (RejectReason::TooManyKeys, _) => "key limit reached (all circuits in use)",
            (RejectReason::Closed, _) => "closed",
            (RejectReason::QueueFull, _) => "too many parked calls",
            (RejectReason::WaitTooLong, None) => "wait too long",
            (RejectReason::WaitTooLong, Some(_)) => "circuit open for too long",
            _ => "circuit open",
        };
        self.reported(reason, open, (retry_after, rejected.waited()), key, options)
    }
}

impl Circuits {
    /// Applies other settings to the circuits in use, and to those to come.
    pub(crate) fn set_settings(&self, settings: CircuitSettings) {
        self.settings.set(settings);
        self.entries.for_each_gate(|key, queue| {
            // Not under the lock of the queue: they may be the caller's.
            let settings = self.settings.of(key);
            queue.with(|circuit, now| circuit.set_settings(settings, now));
        });
    }

    /// Reports a call that was rejected because its circuit is open, without having been in a queue.
    pub(crate) fn open(&self, open: OpenReason, key: Option<KeyLabel>, options: &CallOptions) -> BoxError {
        self.reported("circuit open", Some(&open), (open.retry_after(), Duration::ZERO), key, options)
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "an error of a rejected call is made in one piece"
    )]
    fn reported(
        &self,
        reason: &'static str,
        open: Option<&OpenReason>,
        (retry_after, waited): (Option<Duration>, Duration),
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        notify_rejected(&*self.observer, || {
            Event::rejected(LayerName::CircuitBreaker, reason, retry_after).with_key(key.clone())
        });
        let rejection = Rejection::by(LayerName::CircuitBreaker)
            .with_retry_after(retry_after)
            .with_waited(waited)
            .with_attempts(options.attempts(), options.last());
        match open {
            Some(open) => Box::new(CircuitOpen::of_key(*open, rejection, key)),
            None => Box::new(rejection.with_reason(reason)),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("settings", &self.settings)
            .field("by_key", &self.key_by.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Circuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits").field("entries", &self.entries).finish_non_exhaustive()
    }
}
