//! Work that slows down when there is too much of it.
//!
//! All requests in service go at one speed, which falls with their number, so one running total of "work done for each"
//! says when any of them is finished: the total at its arrival, plus its own latency. Only the one that finishes next
//! keeps a timer; the others are woken when it leaves.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Less work than this is done: the total is a sum of floats.
const NEGLIGIBLE: f64 = 1e-9;
/// How far ahead a timer is set at most.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// The requests in service.
#[derive(Debug)]
pub(crate) struct Line {
    capacity: u32,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// Seconds of work done so far for each request in service.
    done: f64,
    at: Instant,
    arrivals: u64,
    /// By the total at which each is finished (non-negative floats order as their bits do), then by arrival.
    waiting: BTreeMap<Place, Option<Waker>>,
}

type Place = (u64, u64);

impl Line {
    pub(crate) fn new(capacity: u32) -> Arc<Self> {
        let queue = Queue { done: 0.0, at: Instant::now(), arrivals: 0, waiting: BTreeMap::new() };
        Arc::new(Self { capacity: capacity.max(1), queue: Mutex::new(queue) })
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
        Work { line: Arc::clone(self), place, sleep: None }
    }

    fn advance(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        queue.done += now.saturating_duration_since(queue.at).as_secs_f64() * self.speed(queue.waiting.len());
        queue.at = now;
        queue
    }

    /// 1 up to capacity, then `(capacity / n)²`: all of them together get less done, the more there are.
    fn speed(&self, in_service: usize) -> f64 {
        let n = f64::from(u32::try_from(in_service).unwrap_or(u32::MAX));
        (f64::from(self.capacity) / n.max(1.0)).min(1.0).powi(2)
    }

    fn leave(&self, place: Place) {
        let mut queue = self.advance();
        queue.waiting.remove(&place);
        let next = queue.next();
        drop(queue);
        wake(next);
    }
}

impl Queue {
    /// Whoever finishes next, to set its timer anew.
    fn next(&mut self) -> Option<Waker> {
        self.waiting.first_entry().and_then(|mut first| first.get_mut().take())
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// One request in service; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Work {
    line: Arc<Line>,
    place: Place,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Work {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let this = &mut *self;
            let mut queue = this.line.advance();
            let left = f64::from_bits(this.place.0) - queue.done;
            if left <= NEGLIGIBLE {
                return Poll::Ready(());
            }
            let speed = this.line.speed(queue.waiting.len());
            let first = queue.waiting.first_key_value().is_some_and(|(place, _)| *place == this.place);
            let before = queue.waiting.insert(this.place, Some(cx.waker().clone()));
            let now = queue.at;
            drop(queue);
            // Outside the lock: dropping a waker may run anybody's code.
            drop(before);
            if !first {
                this.sleep = None;
                return Poll::Pending;
            }
            let wait = Duration::try_from_secs_f64(left / speed).map_or(FAR, |wait| wait.min(FAR));
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
        self.line.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn time_for(n: usize, capacity: u32) -> Duration {
        let (line, start) = (Line::new(capacity), Instant::now());
        let all: Vec<_> = (0..n).map(|_| tokio::spawn(line.work(SECOND))).collect();
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
    async fn those_who_leave_give_the_others_their_speed_back() {
        let (line, start) = (Line::new(1), Instant::now());
        let patient = tokio::spawn(line.work(SECOND));
        let impatient = tokio::spawn(timeout(SECOND, line.work(SECOND)));
        assert!(impatient.await.unwrap().is_err());
        patient.await.unwrap();
        // A second at a quarter of the speed, then three quarters of a second alone.
        let took = start.elapsed();
        assert!(took.abs_diff(Duration::from_millis(1_750)) < Duration::from_millis(5), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn short_work_overtakes_long_work() {
        let line = Line::new(8);
        let long = tokio::spawn(line.work(SECOND * 10));
        let start = Instant::now();
        line.work(SECOND).await;
        assert!(start.elapsed() < SECOND * 2);
        assert!(!long.is_finished());
    }
}
