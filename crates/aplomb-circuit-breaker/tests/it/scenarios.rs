//! Sixty-four callers of a peer that fails in various ways, for minutes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState, Cooldown, Trip, Window};
use aplomb_core::{Event, EventKind, Exponential, Jitter};
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{Req, SECOND, counted};

const CALLERS: u32 = 64;
const MS: Duration = Duration::from_millis(1);

/// The calls and transitions, with their times from the start.
#[derive(Clone, Default)]
struct Diary {
    calls: Arc<Mutex<Vec<(Duration, bool)>>>,
    transitions: Arc<Mutex<Vec<(Duration, EventKind)>>>,
}

impl Diary {
    /// The number of calls of this span that reached the peer.
    fn sent(&self, from: Duration, to: Duration) -> usize {
        self.calls.lock().unwrap().iter().filter(|(at, _)| (from..to).contains(at)).count()
    }

    fn first_success_since(&self, from: Duration) -> Duration {
        let calls = self.calls.lock().unwrap();
        calls.iter().find(|(at, success)| *at >= from && *success).unwrap().0
    }

    fn opened(&self) -> Vec<(Duration, Duration)> {
        let transitions = self.transitions.lock().unwrap();
        let opened = transitions.iter().filter_map(|(at, change)| match change {
            EventKind::CircuitChanged { cooldown: Some(cooldown), .. } => Some((*at, *cooldown)),
            _ => None,
        });
        opened.collect()
    }
}

/// Answers after 100 ms, or fails after 20 ms, depending on `is_up` of the time and the number of the call.
fn peer(
    diary: &Diary,
    start: Instant,
    is_up: impl Fn(Duration, u64) -> bool + Clone + Send + Sync + 'static,
) -> impl Service<Req, Response = Response<()>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let calls = Arc::clone(&diary.calls);
    service_fn(move |_: Req| {
        let at = start.elapsed();
        let up = {
            let mut calls = calls.lock().unwrap();
            let up = is_up(at, calls.len() as u64);
            calls.push((at, up));
            up
        };
        async move {
            sleep(if up { 100 * MS } else { 20 * MS }).await;
            let mut response = Response::new(());
            if !up {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok(response)
        }
    })
}

/// Each caller calls again 100 ms after any answer, until the end.
async fn run<S>(service: S, end: Instant)
where
    S: Service<Req, Response = Response<()>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let service = service.clone();
        callers.spawn(async move {
            // Not all at the same moment.
            sleep(caller * 3 * MS).await;
            while Instant::now() < end {
                drop(service.clone().oneshot(Request::new(())).await);
                sleep(100 * MS).await;
            }
        });
    }
    sleep_until(end).await;
    callers.shutdown().await;
}

/// The same scenario with a circuit and without.
async fn with_and_without(
    layer: CircuitBreakerLayer,
    time: Duration,
    is_up: impl Fn(Duration, u64) -> bool + Clone + Send + Sync + 'static,
) -> (Diary, Diary) {
    let (guarded, naive) = (Diary::default(), Diary::default());
    let start = Instant::now();
    let transitions = Arc::clone(&guarded.transitions);
    let layer = layer.observer(move |event: &Event| {
        if let changed @ EventKind::CircuitChanged { .. } = event.kind() {
            transitions.lock().unwrap().push((start.elapsed(), changed.clone()));
        }
    });
    run(layer.layer(peer(&guarded, start, is_up.clone())), start + time).await;
    let start = Instant::now();
    run(peer(&naive, start, is_up), start + time).await;
    (guarded, naive)
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_left_alone_and_its_end_is_found_within_a_cooldown() {
    let (begins, ends) = (10 * SECOND, 20 * SECOND);
    for seed in 0..3 {
        let layer = CircuitBreakerLayer::new().trip(counted()).seed(seed);
        let up = move |at, _| !(begins..ends).contains(&at);
        let (guarded, naive) = with_and_without(layer, 60 * SECOND, up).await;
        let (sent, naive_sent) = (guarded.sent(begins, ends), naive.sent(begins, ends));
        assert!(naive_sent > 5_000, "{naive_sent}");
        assert!(sent * 100 <= naive_sent * 3, "{sent} of {naive_sent}");

        // The cooldown that was running when the outage ended.
        let &(_, cooldown) = guarded.opened().iter().rfind(|(at, _)| *at < ends).unwrap();
        let found = guarded.first_success_since(ends);
        assert!(found <= ends + cooldown + MS, "{found:?} after a cooldown of {cooldown:?}");
        // Soon afterwards all callers are served as before.
        let (before, after) = (guarded.sent(5 * SECOND, 8 * SECOND), {
            let back = found + 2 * SECOND;
            guarded.sent(back, back + 3 * SECOND)
        });
        assert!(after * 10 >= before * 9, "{after} of {before}");
        assert!(guarded.opened().iter().all(|(at, _)| *at < ends + 200 * MS));
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_the_end_of_an_outage_is_found_within_a_share_of_its_length() {
    let begins = 10 * SECOND;
    for (lasts, seed) in [(10, 0), (25, 1), (120, 2)] {
        let ends = begins + lasts * SECOND;
        let up = move |at, _| !(begins..ends).contains(&at);
        let layer = CircuitBreakerLayer::new().seed(seed);
        let (guarded, _) = with_and_without(layer, ends + 10 * SECOND, up).await;
        let sent = guarded.sent(begins, ends);
        // One at a time, spaced by 0.7 s or 4.5 % of the time that it has lasted.
        let most = 60.0 + 20.0 * (f64::from(lasts) / 10.0).ln();
        assert!(f64::from(u32::try_from(sent).unwrap()) <= most, "{lasts} s: {sent} calls");
        let found = guarded.first_success_since(ends);
        let within = SECOND.max(lasts * SECOND / 20);
        assert!(found <= ends + within, "{lasts} s: {found:?}");
        let (before, after) = (guarded.sent(5 * SECOND, 8 * SECOND), {
            let back = found + SECOND;
            guarded.sent(back, back + 3 * SECOND)
        });
        assert!(after * 10 >= before * 9, "{after} of {before}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_a_server_that_answers_four_of_ten_is_no_outage() {
    for seed in 0..10 {
        let up = move |_, number| !fails(number, seed, 60);
        let (guarded, naive) = with_and_without(CircuitBreakerLayer::new(), 10 * SECOND, up).await;
        let all = 10 * SECOND;
        assert!(guarded.sent(Duration::ZERO, all) * 100 >= naive.sent(Duration::ZERO, all) * 95);
    }
}

/// Fails evenly often, without any pattern.
const fn fails(number: u64, seed: u64, percent: u64) -> bool {
    // SplitMix64 of Steele, Lea and Flood.
    let mut z = (number + seed * 1_000_003 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ z >> 31) % 100 < percent
}

#[tokio::test(start_paused = true)]
async fn a_brown_out_of_thirty_percent_is_no_outage() {
    for seed in 0..2 {
        let trip = Trip::ratio(0.5, Window::time(10 * SECOND)).min_calls(100);
        let layer = CircuitBreakerLayer::new().trip(trip);
        let up = move |_, number| !fails(number, seed, 30);
        let (guarded, naive) = with_and_without(layer, 60 * SECOND, up).await;
        assert_eq!(guarded.opened(), []);
        let all = 60 * SECOND;
        assert!(guarded.sent(Duration::ZERO, all) >= naive.sent(Duration::ZERO, all) * 99 / 100);
    }
    // The same rule does notice sixty percent.
    let trip = Trip::ratio(0.5, Window::time(10 * SECOND)).min_calls(100);
    let layer = CircuitBreakerLayer::new().trip(trip);
    let (guarded, _) = with_and_without(layer, 5 * SECOND, |_, number| !fails(number, 1, 60)).await;
    assert_ne!(guarded.opened(), []);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_flaps_is_asked_less_and_less() {
    // Three seconds up, three down.
    let up = |at: Duration, _| at.as_secs() / 3 % 2 == 0;
    let cooldown = Cooldown::new(Exponential::new(2 * SECOND).jitter(Jitter::Equal));
    let layer = CircuitBreakerLayer::new().trip(counted()).cooldown(cooldown).seed(7);
    let (guarded, naive) = with_and_without(layer, 300 * SECOND, up).await;
    let cooldowns: Vec<_> = guarded.opened().into_iter().map(|(_, cooldown)| cooldown).collect();
    // Between half of 2, 4, 8, 16, 32, 60 s and all of it; health in between never lasts.
    let ceilings = [2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60].map(|secs| secs * SECOND);
    assert!((6..=ceilings.len()).contains(&cooldowns.len()), "{cooldowns:?}");
    for (cooldown, ceiling) in cooldowns.iter().zip(ceilings) {
        assert!((ceiling / 2..=ceiling).contains(cooldown), "{cooldowns:?}");
    }
    let failed = |diary: &Diary| diary.calls.lock().unwrap().iter().filter(|(_, up)| !up).count();
    let (failed, naive_failed) = (failed(&guarded), failed(&naive));
    assert!(failed * 100 <= naive_failed, "{failed} of {naive_failed}");
}

/// The call at the head of a queue has the least time left. If each were admitted as a probe only to run out of time, the
/// circuit would stay half-open forever.
#[tokio::test(start_paused = true)]
async fn a_line_of_callers_at_their_deadlines_does_not_wear_out_the_probes() {
    use aplomb_circuit_breaker::OnOpen;
    use aplomb_core::CallOptions;
    let start = Instant::now();
    let diary = Diary::default();
    let cooldown = Exponential::new(2 * SECOND).max(4 * SECOND);
    let on_open = OnOpen::Park { max: 600 * SECOND };
    let layer = CircuitBreakerLayer::new().trip(counted()).on_open(on_open).cooldown(cooldown).seed(3);
    let circuit = layer.handle();
    // Down from 10 to 20 s.
    let service = layer.layer(peer(&diary, start, |at, _| !(10..20).contains(&at.as_secs())));
    let mut calls = JoinSet::new();
    for number in 0..50 * 60 {
        // A call every 20 ms, with a deadline of 5 s.
        sleep_until(start + number * 20 * MS).await;
        let deadline = Instant::now() + 5 * SECOND;
        let mut request = Request::new(());
        request.extensions_mut().insert(CallOptions::new().with_deadline(deadline));
        let call = service.clone().oneshot(request);
        calls.spawn(async move { drop(tokio::time::timeout_at(deadline, call).await) });
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    let back = diary.first_success_since(20 * SECOND);
    assert!(back <= 24 * SECOND + MS, "{back:?}");
}
