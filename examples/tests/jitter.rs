//! The claims of the guide to jitter.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::path::PathBuf;

use aplomb_examples::jitter::{Contest, Measure, Point, Strategy, contend, plot, sweep};
use tokio::runtime::Builder;

fn contest(clients: usize, strategy: Strategy, seed: u64) -> Contest {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(contend(clients, strategy, seed))
}

fn of(points: &[Point], strategy: Strategy) -> Point {
    *points.iter().find(|point| point.strategy == strategy).unwrap()
}

#[test]
fn jitter_halves_the_calls_and_full_makes_the_fewest() {
    let points = sweep(&[100], 10, contest);
    let of = |strategy| of(&points, strategy);
    let (full, decorrelated, equal) = (of(Strategy::Full), of(Strategy::Decorrelated), of(Strategy::Equal));

    for jittered in [full, decorrelated, equal] {
        assert!(2.0 * jittered.calls < of(Strategy::Nothing).calls, "{points:?}");
        assert!(1.6 * jittered.calls < of(Strategy::Exponential).calls, "{points:?}");
        // Clients that wait equally long come back together, and lose again.
        assert!(5.0 * jittered.seconds < of(Strategy::Exponential).seconds, "{points:?}");
    }
    assert!(full.calls < decorrelated.calls && decorrelated.calls < 1.3 * full.calls, "{points:?}");
    assert!(
        decorrelated.seconds < full.seconds && full.seconds < 1.4 * decorrelated.seconds,
        "{points:?}"
    );
    // Equal jitter takes longer, and makes no fewer calls.
    assert!(equal.seconds > 1.2 * full.seconds && equal.calls > 0.95 * full.calls, "{points:?}");
}

#[test]
fn a_single_client_never_waits_or_calls_twice() {
    for strategy in Strategy::ALL {
        let Contest { calls, time } = contest(1, strategy, 3);
        assert!(calls == 1 && (2..7).contains(&time.as_secs()), "{strategy}: {calls} calls, {time:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_contest() {
    for strategy in Strategy::ALL {
        assert_eq!(contest(30, strategy, 7), contest(30, strategy, 7));
        assert_ne!(contest(30, strategy, 7), contest(30, strategy, 8));
    }
}

#[test]
fn the_plots_name_every_strategy_and_are_the_same_each_time() {
    let points = sweep(&[1, 5], 1, contest);
    let drawn = |name: &str, measure| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        plot(&path, measure, &points).unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    for measure in [Measure::Calls, Measure::Time] {
        let svg = drawn("first.svg", measure);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for strategy in Strategy::ALL {
            assert!(svg.contains(&format!("\n{strategy}\n")), "{strategy}");
        }
        assert_eq!(svg, drawn("second.svg", measure));
    }
    let nowhere = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no/such/directory.svg");
    assert!(plot(&nowhere, Measure::Calls, &points).is_err());
    assert!(plot(&nowhere, Measure::Calls, &[]).is_err());
}
