//! A JSON scanner for answers, and the lexer that requests are read with too.
//!
//! Every call reads an answer, and most of it does not matter here. So the text is scanned once, and the values
//! under the names in [`Key`] are recorded in one list by their position. Nothing is copied, and nothing is
//! allocated unless there are many values. The scanner accepts exactly what `serde_json` accepts, which reads
//! the errors.

mod document;
mod key;
mod lexer;
mod scan;
mod text;
mod view;

pub(crate) use document::Document;
pub(crate) use key::Key;
pub(crate) use lexer::{Kind, Lexed, Lexer, MAX_DEPTH, Malformed};
pub(crate) use scan::Nodes;
pub use text::Text;
pub(crate) use text::count_characters;
pub(crate) use view::{View, whole};
