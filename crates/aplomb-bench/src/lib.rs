//! What the layers cost, beside the bare service and beside other crates, in one run.
//!
//! A [`Case`] is one way to make a call; a [`Group`] is the cases that do the same job, the bare
//! service first. To add one, write a short function in `cases` that puts a service together, and name
//! it in its group's list.

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

/// Cases that do the same job. The first is the bare service, of which the others are reckoned.
pub struct Group {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is measured.
    pub about: &'static str,
    /// The cases, bare first.
    pub cases: &'static [Case],
}

/// One way to make a call.
pub struct Case {
    /// What it is called, within its group.
    pub name: &'static str,
    /// Puts it together.
    pub make: fn() -> Box<dyn Calls>,
    /// How many calls are made before any is measured: until windows are full and circuits open.
    pub warm: u64,
    /// Where each call costs more than the one before: after how many calls it is made anew.
    pub renewed_after: Option<u64>,
    /// Whether the bodies of answers are read; otherwise they are dropped.
    pub read: bool,
    /// Whether every call is answered with success after the warm-up; otherwise none is.
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

/// The groups of these names; all of them where none is named.
///
/// # Errors
///
/// The name that no group has.
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
