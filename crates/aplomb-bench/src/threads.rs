//! The cost of a second thread on shared state.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};

use aplomb_bench::{Group, Running, Table};

use crate::time::{median, size, timed};

/// Times each case of `group` with one thread and with two, in `batches` pairs of batches of `micros`
/// microseconds; medians. Needs two idle processors.
pub(crate) fn table(group: &Group, batches: usize, micros: u32) -> Table {
    let mut table = Table::new(&["two threads ÷ one"]);
    for case in group.cases {
        let mut running = Running::start(case);
        let calls = size(case, &mut running, micros);
        let ratio = pair(&running, batches, calls).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        table.row(case.name, [ratio]);
    }
    table
}

/// The time of a call with two threads on one state, divided by that with one.
fn pair(running: &Running, batches: usize, calls: u64) -> Option<f64> {
    let (mut left, mut right) = (running.share()?, running.share()?);
    let ratios = (0..batches).map(|_| {
        let single = timed(&mut left, calls);
        let ready = AtomicU32::new(0);
        let wait_and_time = |running: &mut Running| {
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < 2 {
                spin_loop();
            }
            timed(running, calls)
        };
        let both = std::thread::scope(|scope| {
            let other = scope.spawn(|| wait_and_time(&mut right));
            wait_and_time(&mut left).midpoint(other.join().expect("a batch"))
        });
        both / single
    });
    Some(median(ratios))
}
