//! What a rate limit does, in virtual time: it finds a limit that nobody configured, and keeps a line. The
//! example `rate_limit`.

mod line;
mod unknown;

pub use line::{CALLERS, Line, Served, in_line, told_to_come_back};
pub use unknown::{BURST, PROMPTS, Run, ideal, run};
