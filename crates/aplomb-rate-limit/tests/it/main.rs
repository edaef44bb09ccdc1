//! What the rate limit promises, in virtual time.

mod compiles;
mod layer;
mod limiter;
