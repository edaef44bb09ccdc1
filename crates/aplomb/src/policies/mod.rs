//! Which policy a request falls under.

pub mod route;
