//! Work that slows down when there is too much of it.
//!
//! All requests in service proceed at the same speed, which falls with their number. So one running total of "work done
//! for each" says when any of them is finished: at the total at its arrival plus its own latency. Only the request that finishes
//! next keeps a timer; the others are woken when it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Less work than this counts as none: the total is a sum of floats.
const NEGLIGIBLE: f64 = 1e-9;
/// The longest time a timer is set to.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// The requests in service.
#[derive(Debug)]
pub(crate) struct Capacity {
    at_full_speed: u32,
    /// True if work whose client has gone away is finished.
    finishes_abandoned: bool,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// Seconds of work done so far for each request in service.
    done: f64,
    at: Instant,
    arrivals: u64,
    /// By the total at which each is finished, then by arrival. Non-negative floats order as their bits do.
    waiting: BTreeMap<Place, Option<Waker>>,
    /// Work whose client has gone away.
    abandoned: BTreeSet<Place>,
}

type Place = (u64, u64);

impl Capacity {
    pub(crate) fn new(capacity: u32, finishes_abandoned: bool) -> Arc<Self> {
        let queue = Queue {
            done: 0.0,
            at: Instant::now(),
            arrivals: 0,
            waiting: BTreeMap::new(),
            abandoned: BTreeSet::new(),
        };
        Arc::new(Self { at_full_speed: capacity.max(1), finishes_abandoned, queue: Mutex::new(queue) })
    }

    /// Returns a future that is ready when this much work is done.
    pub(crate) fn work(self: &Arc<Self>, latency: Duration) -> Work {
        let mut queue = self.advance();
        let finished_at = queue.done + latency.as_secs_f64();
        queue.arrivals += 1;
        let place = (finished_at.to_bits(), queue.arrivals);
        queue.waiting.insert(place, None);
        let next = queue.next();
        drop(queue);
        wake(next);
        Work { capacity: Arc::clone(self), place, sleep: None }
    }

    fn advance(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut seconds = now.saturating_duration_since(queue.at).as_secs_f64();
        // Abandoned work that is finished on the way gives the rest its speed. Other work leaves by itself.
        while let Some((place, wait)) = self.next_abandoned(&queue).filter(|(_, wait)| *wait <= seconds) {
            queue.done = queue.done.max(f64::from_bits(place.0));
            queue.abandoned.remove(&place);
            seconds -= wait;
        }
        queue.done += seconds * self.speed(queue.in_service());
        queue.at = now;
        queue
    }

    /// The abandoned work that is finished next, and the seconds until then.
    fn next_abandoned(&self, queue: &Queue) -> Option<(Place, f64)> {
        let next = *queue.abandoned.first()?;
        let left = (f64::from_bits(next.0) - queue.done).max(0.0);
        Some((next, left / self.speed(queue.in_service())))
    }

    /// 1 up to the capacity, then `(capacity / n)²`: the more requests, the less is done in total.
    fn speed(&self, in_service: usize) -> f64 {
        let n = f64::from(u32::try_from(in_service).unwrap_or(u32::MAX));
        (f64::from(self.at_full_speed) / n.max(1.0)).min(1.0).powi(2)
    }

    fn leave(&self, place: Place) {
        let mut queue = self.advance();
        queue.waiting.remove(&place);
        if self.finishes_abandoned && f64::from_bits(place.0) - queue.done > NEGLIGIBLE {
            queue.abandoned.insert(place);
        }
        let next = queue.next();
        drop(queue);
        wake(next);
    }
}

impl Queue {
    fn in_service(&self) -> usize {
        self.waiting.len() + self.abandoned.len()
    }

    /// The request that finishes next, to set its timer again.
    fn next(&mut self) -> Option<Waker> {
        self.waiting.first_entry().and_then(|mut first| first.get_mut().take())
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The work of one request. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Work {
    capacity: Arc<Capacity>,
    place: Place,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Work {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let this = &mut *self;
            let mut queue = this.capacity.advance();
            let left = f64::from_bits(this.place.0) - queue.done;
            if left <= NEGLIGIBLE {
                return Poll::Ready(());
            }
            let until_finished = left / this.capacity.speed(queue.in_service());
            // When abandoned work is finished, the speed changes.
            let until_next = this.capacity.next_abandoned(&queue).map_or(f64::INFINITY, |(_, wait)| wait);
            let first = queue.waiting.first_key_value().is_some_and(|(place, _)| *place == this.place);
            let before = queue.waiting.insert(this.place, Some(cx.waker().clone()));
            let now = queue.at;
            drop(queue);
            // Outside the lock: dropping a waker may run any code.
            drop(before);
            if !first {
                this.sleep = None;
                return Poll::Pending;
            }
            let wait =
                Duration::try_from_secs_f64(until_finished.min(until_next)).map_or(FAR, |wait| wait.min(FAR));
            // Rounded up, so that something is finished by then.
            let wait = wait + Duration::from_nanos(1);
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(now)));
            sleep.as_mut().reset(now + wait);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.capacity.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn time_for(n: usize, capacity: u32) -> Duration {
        let (capacity, start) = (Capacity::new(capacity, false), Instant::now());
        let all: Vec<_> = (0..n).map(|_| tokio::spawn(capacity.work(SECOND))).collect();
        for work in all {
            work.await.unwrap();
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn speed_falls_with_the_square_beyond_capacity() {
        let close = |took: Duration, expected: u64| {
            took.abs_diff(Duration::from_secs(expected)) < Duration::from_millis(5)
        };
        assert!(close(time_for(10, 10).await, 1));
        assert!(close(time_for(20, 10).await, 4));
        assert!(close(time_for(100, 10).await, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_leaves_gives_the_others_its_speed() {
        let (capacity, start) = (Capacity::new(1, false), Instant::now());
        let patient = tokio::spawn(capacity.work(SECOND));
        let impatient = tokio::spawn(timeout(SECOND, capacity.work(SECOND)));
        assert!(impatient.await.unwrap().is_err());
        patient.await.unwrap();
        // A second at a quarter of the speed, then three quarters of a second alone.
        let took = start.elapsed();
        assert!(took.abs_diff(Duration::from_millis(1_750)) < Duration::from_millis(5), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn short_work_overtakes_long_work() {
        let capacity = Capacity::new(8, false);
        let long = tokio::spawn(capacity.work(SECOND * 10));
        let start = Instant::now();
        capacity.work(SECOND).await;
        assert!(start.elapsed() < SECOND * 2);
        assert!(!long.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_work_can_go_on() {
        let (capacity, start) = (Capacity::new(1, true), Instant::now());
        let patient = tokio::spawn(capacity.work(SECOND));
        let impatient = tokio::spawn(timeout(SECOND / 10, capacity.work(SECOND / 2)));
        assert!(impatient.await.unwrap().is_err());
        patient.await.unwrap();
        // Half a second of work for both at a quarter of the speed, then the other half alone.
        let took = start.elapsed();
        assert!(took.abs_diff(Duration::from_millis(2_500)) < Duration::from_millis(5), "{took:?}");
    }
}
