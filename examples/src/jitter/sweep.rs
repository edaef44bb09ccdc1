//! Contests of more and more clients.

use super::{Contest, Strategy};

/// The average of several contests.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// How the clients wait.
    pub strategy: Strategy,
    /// The number of clients.
    pub clients: usize,
    /// The number of writes.
    pub calls: f64,
    /// The time, in seconds.
    pub seconds: f64,
}

/// Averages `runs` contests for each strategy and each number of clients. `contest` runs one, given the clients, the
/// strategy and a seed.
pub fn sweep(
    clients: &[usize],
    runs: u32,
    mut contest: impl FnMut(usize, Strategy, u64) -> Contest,
) -> Vec<Point> {
    let mut points = Vec::new();
    for &clients in clients {
        for strategy in Strategy::ALL {
            let (mut calls, mut seconds) = (0.0, 0.0);
            for seed in 0..runs {
                let Contest { calls: own, time } = contest(clients, strategy, seed.into());
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let own = own as f64;
                calls += own / f64::from(runs);
                seconds += time.as_secs_f64() / f64::from(runs);
            }
            points.push(Point { strategy, clients, calls, seconds });
        }
    }
    points
}
