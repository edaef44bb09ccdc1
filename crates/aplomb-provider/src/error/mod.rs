//! Why a request failed, and when to retry.

mod body;
mod body_delay;
pub(crate) mod classify;
pub(crate) mod codes;
mod google;
pub(crate) mod header_hints;
mod judgement;
mod message;
pub(crate) mod phrases;

pub use aplomb_core::Reason;
pub(crate) use body::is_error_answer;
pub use judgement::Judgement;
