//! A simulator of servers and their clients, by which every change of the layers is judged.
//!
//! A [`Scenario`] is a server, described as plain data ([`World`](server::World)), and the work that clients want
//! done, by default 300 prompts by 64 callers. A [`Client`] is a plain retry loop or a stack of
//! aplomb's layers that knows nothing but the timeout of an attempt. [`run`] runs one against the other in virtual time and
//! reports the result, compared with the [`ideal`] client, which knows everything in advance.
//!
//! Everything is a pure function of the seed. The server is a `Service` of HTTP requests, and clients know nothing
//! else of it, so that a scenario can be run against another server.

mod client;
mod ideal;
mod parallel;
pub mod promises;
mod prompt;
mod run;
mod scenario;
mod scenarios;
pub mod server;
mod table;

pub use client::{Client, Look};
pub use ideal::{Ideal, ideal};
pub use prompt::Prompt;
pub use run::{Moment, Run, Wait, run, run_on_mock};
pub use scenario::{Job, Scenario};
pub use scenarios::{all, named};
pub use table::{Row, Table};
