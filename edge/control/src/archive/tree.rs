//! The files of an archive by their paths, and mistakes in those of them that say how to serve it.

use std::collections::BTreeMap;

use devanture_config::manifest::FileEntry;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::{Code, Problem};

/// The files of an archive by their paths as text.
pub(super) type Tree = BTreeMap<String, FileEntry>;

/// A mistake in the configuration `name` of an archive, at a line of it; 0 where it has no place.
pub(super) fn of_config(name: &str, line: usize, message: String) -> Problem {
    let mistake = Mistake { file: name.to_owned(), line, weight: Weight::Mistake, message, hint: None };
    Problem::new(Code::BadConfig, format!("{name} in the archive cannot be read.")).with_mistakes(vec![mistake])
}
