//! JSON read in one pass, for what is known of answers.
//!
//! An answer is read on the way of every call, and most of it means nothing here. So a text is gone
//! through once, and what stands under a name that means something is noted in one list: where it is,
//! and not what it says. Nothing is copied, and nothing is taken from the heap unless there is a lot
//! of it. What it takes for JSON is just what `serde_json` does, which reads the errors.

mod document;
mod key;
mod scan;
mod text;
mod view;
mod words;

pub(crate) use document::Document;
pub(crate) use key::Key;
pub(crate) use scan::Nodes;
pub use text::Text;
pub(crate) use view::View;
