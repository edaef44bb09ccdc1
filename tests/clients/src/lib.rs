//! Clients of AI endpoints with aplomb, against the mock on loopback: the examples of their guides, compiled and run.

#[doc = include_str!("../../../docs/guide/async-openai.md")]
#[cfg(doctest)]
struct AsyncOpenAi;

#[doc = include_str!("../../../docs/guide/rig.md")]
#[cfg(doctest)]
struct Rig;

#[doc = include_str!("../../../docs/guide/tonic.md")]
#[cfg(doctest)]
struct Tonic;
