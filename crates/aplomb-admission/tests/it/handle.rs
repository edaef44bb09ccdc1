//! The state of a layer, which its clones and handles share.

use std::time::Duration;

use aplomb_admission::{
    Closing, Configured, Entries, ErasedKey, Handle, KeyBy, LayerState, Queue, QueueLimits, RejectReason,
    Rejected,
};
use aplomb_core::{CallOptions, KeyLabel, RequestView};

use crate::gates::Tally;

/// How many calls each key may have at a time; the key is a number.
#[derive(Clone)]
struct Tallies {
    entries: Entries<Tally>,
    at_a_time: u32,
}

#[derive(Clone, Debug)]
struct Config {
    at_a_time: u32,
    keyed: bool,
}

impl LayerState for Tallies {
    type Config = Config;
    type Gate = Tally;
    type Error = (RejectReason, Option<KeyLabel>);

    fn new(&Config { at_a_time, keyed }: &Config) -> Self {
        let entries = if keyed {
            let by = KeyBy::public(|_: &RequestView<'_>| 0_u64);
            let make = move |_: &dyn ErasedKey| Tally::new(at_a_time);
            Entries::keyed(by, 2, QueueLimits::new().max_wait(Duration::ZERO), make, |_, _| ())
        } else {
            Entries::one(Tally::new(at_a_time), QueueLimits::new(), |_, _| ())
        };
        Self { entries, at_a_time }
    }

    fn of_key(&self, queue: Queue<Tally>) -> Self {
        Self { entries: Entries::of(queue), ..*self }
    }

    fn entries(&self) -> &Entries<Tally> {
        &self.entries
    }

    fn rejection(
        &self,
        rejected: &Rejected<&'static str>,
        key: Option<KeyLabel>,
        _: &CallOptions,
    ) -> Self::Error {
        (rejected.reason(), key)
    }
}

fn layer(at_a_time: u32) -> Configured<Tallies> {
    Configured::new(Config { at_a_time, keyed: false })
}

fn keyed() -> Handle<Tallies> {
    Configured::new(Config { at_a_time: 1, keyed: true }).handle().clone()
}

fn sees(handle: &Handle<Tallies>) -> u32 {
    handle.state().at_a_time
}

#[test]
fn a_handle_follows_its_layer_until_one_of_them_is_used() {
    let layer = layer(1);
    let handle = layer.handle().clone();
    let layer = layer.with(|config| config.at_a_time = 2);
    assert_eq!((layer.state().at_a_time, sees(&handle)), (2, 2));
    let layer = layer.with(|config| config.at_a_time = 3);
    assert_eq!((layer.state().at_a_time, sees(&handle)), (3, 2));
}

#[test]
fn a_change_of_a_clone_leaves_the_layer_and_its_handles_alone() {
    let layer = layer(1);
    let handle = layer.handle().clone();
    let other = layer.clone().with(|config| config.at_a_time = 2);
    assert_eq!((layer.state().at_a_time, sees(&handle), other.state().at_a_time), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn clones_and_layers_made_of_a_handle_share_its_state() {
    let layer = layer(1);
    let (clone, other) = (layer.clone(), Configured::of(layer.handle().clone()));
    let permit = clone.handle().acquire((), &CallOptions::new()).await.unwrap();
    for layer in [&layer, &other] {
        assert!(layer.handle().queue().try_acquire(&()).is_err(), "the one place is taken");
    }
    drop(permit);
    let changed = other.with(|config| config.at_a_time = 2);
    assert_eq!((layer.state().at_a_time, changed.state().at_a_time), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_handle_on_a_key_concerns_that_key_alone() {
    let all = keyed();
    let options = CallOptions::new();
    let (one, two) = (all.of(&1_u64).unwrap(), all.of(&2_u64).unwrap());
    assert!(all.get(&3_u64).is_none() && all.single().is_none());
    assert!(all.of(&3_u64).is_err(), "both keys are held");
    let _held = one.acquire((), &options).await.unwrap();
    let (reason, key) = one.acquire((), &options).await.unwrap_err();
    assert_eq!((reason, key.unwrap().to_string()), (RejectReason::WaitTooLong, "1".to_owned()));
    one.close(Closing::Fail);
    let (reason, key) = all.acquire_for(&1_u64, (), &options).await.unwrap_err();
    assert_eq!((reason, key.unwrap().to_string()), (RejectReason::Closed, "1".to_owned()));
    drop(two.acquire((), &options).await.unwrap());
    drop(all.acquire_for(&2_u64, (), &options).await.unwrap());
    assert_eq!((all.look_at_each(Queue::waiting).len(), one.look_at_each(Queue::waiting).len()), (2, 1));
}

#[test]
#[should_panic(expected = "the keys of this layer are not i32")]
fn a_key_of_another_type_is_a_mistake() {
    let _ = keyed().get(&1_i32);
}
