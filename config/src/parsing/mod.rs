//! Reads files that a person wrote, so that all their mistakes come out at once and each with its line.

mod lines;
mod mistake;
pub(crate) mod reader;
pub mod unique_keys;

pub use lines::Lines;
pub use mistake::{Mistake, Mistakes, Weight};
pub use reader::nearest;
