//! The example `rate_limit`: finding an unknown limit, and waiting for a known one, in virtual time.

mod queue;
mod unknown_limit;

pub use queue::{CALLERS, Served, Waits, coming_back, in_line};
pub use unknown_limit::{BURST, PROMPTS, Run, ideal, run};
