//! Why a request failed, and when to come back.

mod body;
pub(crate) mod code;
mod delay;
mod google;
pub(crate) mod hint;
pub(crate) mod judge;
mod judgement;
pub(crate) mod phrases;
mod text;

pub use aplomb_core::Reason;
pub(crate) use body::is_in as is_in_answer;
pub use judgement::Judgement;
