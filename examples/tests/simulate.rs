//! The simulator is right about the servers, the loops and the ideal, and the same in every run.

use std::time::Duration;

use aplomb_examples::simulate::server::{Latency, Limit, World};
use aplomb_examples::simulate::{Client, Job, Run, Scenario, all, ideal, named, run, run_on_mock};

const SECOND: Duration = Duration::from_secs(1);

fn scenario(name: &str) -> Scenario {
    named(name).expect("there is one of that name")
}

fn done(run: &Run) -> (u64, u64) {
    (run.answered, run.requests())
}

#[test]
fn where_nothing_fails_every_plain_loop_is_ideal() {
    for name in ["healthy-2s", "healthy-200ms", "heavy-tail", "queue"] {
        for client in [Client::Tenacity, Client::Backoff, Client::Sdk, Client::Retry] {
            let run = run(&scenario(name), client, 1, false);
            let prompts = scenario(name).job.prompts;
            assert_eq!((done(&run), run.failed(), run.refused()), ((prompts, prompts), 0, 0), "{name}");
            assert!((0.98..=1.02).contains(&run.ratio()), "{name}, {}: {}", client.name(), run.ratio());
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    for client in Client::ALL {
        let with_seed = |seed| run(&scenario("limit-and-chance"), client, seed, false);
        let (one, same, other) = (with_seed(1), with_seed(1), with_seed(2));
        assert_eq!(one.seen, same.seen, "{}", client.name());
        assert_eq!(one.waits, same.waits, "{}", client.name());
        assert_ne!(one.seen, other.seen, "{}", client.name());
    }
}

#[test]
fn every_request_is_accounted_for() {
    for name in [
        "503-20%",
        "bucket",
        "16-places-429",
        "outage-10s-hangs",
        "streams",
    ] {
        for client in [Client::Tenacity, Client::Sdk, Client::Retry] {
            let run = run(&scenario(name), client, 1, false);
            let useless = run.refused() + run.failed();
            let whole = run.requests() - useless;
            assert_eq!(whole, run.answered, "{name}, {}", client.name());
            // A caller waits for one answer at a time.
            let most = run.seen.iter().map(|seen| run.in_flight(seen.at)).max();
            assert!(most <= Some(64), "{name}, {}: {most:?}", client.name());
        }
    }
}

#[test]
fn a_loop_that_obeys_hints_is_never_early_and_one_that_does_not_is() {
    let of = |client| run(&scenario("hint-too-long"), client, 1, false).early();
    assert_eq!((of(Client::Sdk), of(Client::Retry)), (0, 0));
    assert!(of(Client::Backoff) > 50);
}

#[test]
fn nobody_is_faster_than_the_ideal_by_more_than_the_order_of_the_prompts() {
    for scenario in all().iter().filter(|scenario| ideal(scenario, 1).took < 30 * SECOND) {
        for client in [Client::Tenacity, Client::Sdk] {
            let run = run(scenario, client, 1, false);
            let is_done = run.answered >= run.prompts && run.early() == 0;
            assert!(!is_done || run.ratio() >= 0.9, "{}, {}: {}", scenario.name, client.name(), run.ratio());
        }
    }
}

#[test]
fn the_ideal_is_what_arithmetic_says() {
    let of = |world: World, job: Job| ideal(&Scenario::new("test", "", world).job(job), 1).took;
    let world = |limit| World { limits: vec![limit], latency: Latency::Fixed(SECOND), ..World::default() };
    let job = Job { prompts: 100, callers: 100, ..Job::default() };
    assert_eq!(of(world(Limit::bucket(10, SECOND, 10)), job), 10 * SECOND);
    assert_eq!(of(world(Limit::window(25, 4 * SECOND)), job), 13 * SECOND);
    assert_eq!(of(World::default(), Job { callers: 10, ..job }), 10 * SECOND);
}

#[test]
fn the_mock_gives_the_same_answer() {
    let mut compared = 0;
    for scenario in all().into_iter().filter(|scenario| ideal(scenario, 1).took < 30 * SECOND) {
        for client in [Client::Sdk] {
            let on_mock: Vec<_> = (0..3).filter_map(|seed| run_on_mock(&scenario, client, seed)).collect();
            if on_mock.is_empty() {
                continue;
            }
            compared += 1;
            let here: Vec<_> = (0..3).map(|seed| run(&scenario, client, seed, false)).collect();
            let name = format!("{}, {}", scenario.name, client.name());
            let near = |one: f64, other: f64| (one - other).abs() <= 0.15 * one.max(other);
            // The last few depend on the luck of one prompt.
            let most_done = |run: &Run| {
                let mut answers: Vec<_> =
                    run.waits.iter().filter(|wait| wait.answered).map(|wait| wait.to).collect();
                answers.sort_unstable();
                answers.get(answers.len() * 9 / 10).copied().unwrap_or_default().as_secs_f64()
            };
            let one = median(here.iter().map(most_done));
            let other = median(on_mock.iter().map(|(run, _)| most_done(run)));
            assert!(near(one, other), "{name}: {one} s here, {other} s on the mock");
            let one = median(here.iter().map(|run| float(run.requests())));
            let other = median(on_mock.iter().map(|(_, stats)| float(stats.seen)));
            assert!(near(one, other), "{name}: {one} requests here, {other} on the mock");
        }
    }
    assert!(compared >= 5, "{compared}");
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn float(number: u64) -> f64 {
    number as f64
}

#[test]
fn promise_43_aplomb_is_never_earlier_than_told() {
    for scenario in all().iter().filter(|scenario| ideal(scenario, 1).took < 30 * SECOND) {
        for client in [Client::Batch, Client::Layers] {
            let early = run(scenario, client, 1, false).early();
            assert_eq!(early, 0, "{}, {}", scenario.name, client.name());
        }
    }
}

#[test]
fn promise_38_a_total_outage_opens_the_circuit_within_two_seconds() {
    for name in [
        "outage-10s-503",
        "outage-10s-refuses",
        "outage-25s",
        "outage-10min",
    ] {
        let run = run(&scenario(name), Client::Batch, 1, true);
        let opened = run.moments.iter().find(|moment| moment.look.open).map(|moment| moment.at);
        let began = SECOND * 3 / 2;
        assert!(opened.is_some_and(|at| at <= began + 2 * SECOND), "{name}: {opened:?}");
    }
}
