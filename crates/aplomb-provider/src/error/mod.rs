//! Why a request failed, and when to retry.

mod body;
mod body_delay;
pub(crate) mod classify;
mod code_table;
pub(crate) mod codes;
mod dimension;
mod finish;
mod google;
pub(crate) mod header_hints;
mod message;
pub(crate) mod phrases;

pub(crate) use body::is_error_answer;
