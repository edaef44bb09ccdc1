//! The cost of the layers, beside the bare service and other crates, in one run.
//!
//! A [`Case`] is one way to make a call; a [`Group`] is the cases that do the same job, the bare
//! service first. To add one, write a short function in `cases` that builds a service, and name it in its
//! group's list.

mod calls;
mod cases;
mod peer;
mod table;

pub use calls::{Begun, Calls, Running, alone, over};
pub use cases::{groups, in_flight};
pub use peer::{
    Ai, Ask, Asked, Down, Failed, Flaky, Long, PRODUCED, Peer, Plain, Request, Response, Sending, Silent,
    Told,
};
pub use table::Table;

/// Cases that do the same job. The first is the bare service, whose cost is subtracted from the others.
pub struct Group {
    /// The name on the command line.
    pub name: &'static str,
    /// A description of what is measured.
    pub about: &'static str,
    /// The cases, bare first.
    pub cases: &'static [Case],
}

/// One way to make a call.
pub struct Case {
    /// The name within the group.
    pub name: &'static str,
    /// Builds the calls.
    pub make: fn() -> Box<dyn Calls>,
    /// Calls before the measured ones, so that windows are full and circuits open.
    pub warm: u64,
    /// Calls after which the case is built anew, if each call costs more than the one before.
    pub renewed_after: Option<u64>,
    /// True if bodies of answers are read rather than dropped.
    pub read: bool,
    /// True if all calls after the warm-up succeed; otherwise none may.
    pub answered: bool,
}

impl Case {
    const fn new(name: &'static str, make: fn() -> Box<dyn Calls>) -> Self {
        Self { name, make, warm: 64, renewed_after: None, read: false, answered: true }
    }

    const fn warm(mut self, calls: u64) -> Self {
        self.warm = calls;
        self
    }

    const fn renewed_after(mut self, calls: u64) -> Self {
        self.renewed_after = Some(calls);
        self
    }

    const fn read(mut self) -> Self {
        self.read = true;
        self
    }

    const fn refused(mut self) -> Self {
        self.answered = false;
        self
    }
}

/// The groups with these names; all groups if none is named.
///
/// # Errors
///
/// Fails if no group has one of the names.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Group>, String> {
    if names.is_empty() {
        return Ok(groups().iter().collect());
    }
    let find = |name: &String| {
        let group = groups().iter().find(|group| group.name == name);
        group.ok_or_else(|| format!("no group {name}: see `list`"))
    };
    names.iter().map(find).collect()
}
