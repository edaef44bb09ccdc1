//! The words every aplomb layer shares.
mod error;
mod observe;
mod outcome;
mod refused;
mod retry_after;
mod usage;
mod wall_clock;

pub use error::{BoxError, find, find_in};
pub use observe::Observe;
pub use outcome::{Kind, Outcome, Scope};
pub use refused::Refused;
pub use retry_after::retry_after;
pub use usage::Usage;
pub use wall_clock::WallClock;
