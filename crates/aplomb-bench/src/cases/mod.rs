//! The cases, a group of them in each file or two.

mod retry;

use crate::Group;

/// All groups.
pub fn groups() -> &'static [Group] {
    &[retry::PLAIN, retry::AI, retry::OFF, retry::ONCE]
}
