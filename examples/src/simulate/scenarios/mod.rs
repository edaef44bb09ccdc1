//! The scenarios, by the trouble with the server.

mod chance;
mod gateways;
mod lies;
mod limits;
mod outages;
mod overload;
mod traps;

use std::time::Duration;

use super::scenario::Scenario;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    [
        chance::all(),
        outages::all(),
        overload::all(),
        limits::all(),
        gateways::all(),
        lies::all(),
        traps::all(),
    ]
    .concat()
}

/// The scenario of that name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_short() {
        let mut names: Vec<_> = all().iter().map(|scenario| scenario.name).collect();
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before);
        assert!(names.iter().all(|name| name.len() <= 24), "{names:?}");
    }
}
