//! Many contests, of more and more clients.

use super::{Contest, Strategy};

/// What contests of so many clients came to, on average.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// How the clients waited.
    pub strategy: Strategy,
    /// How many there were.
    pub clients: usize,
    /// How many writes it took.
    pub calls: f64,
    /// How many seconds it took.
    pub seconds: f64,
}

/// Holds `runs` contests for each strategy and each number of clients. `contest` holds one, given the
/// clients, the strategy and a seed, in virtual time.
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
