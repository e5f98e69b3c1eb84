//! Files of an archive by path, and errors in its configuration files.

use std::collections::BTreeMap;

use devanture_config::manifest::FileEntry;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::{Code, Problem};

/// Files of an archive by path as text.
pub(super) type Tree = BTreeMap<String, FileEntry>;

/// Problem of the configuration file `name` at a line; 0 without a line.
pub(super) fn of_config(name: &str, line: usize, message: String) -> Problem {
    let mistake = Mistake { file: name.to_owned(), line, weight: Weight::Mistake, message, hint: None };
    Problem::new(Code::BadConfig, format!("{name} in the archive cannot be read.")).with_mistakes(vec![mistake])
}
