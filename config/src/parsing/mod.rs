//! Parsers of files written by people. Each parser reports all mistakes at once, with their lines.

mod lines;
mod mistake;
pub(crate) mod reader;
pub mod unique_keys;

pub use lines::Lines;
pub use mistake::{Mistake, Mistakes, Weight};
pub use reader::nearest;
