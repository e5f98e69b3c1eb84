//! `console`: package of the console installed at the edge's start.

use std::path::PathBuf;

use crate::parsing::reader::Table;

/// Console of an edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Console {
    /// Package in this file, installed at a start unless already stored.
    File(PathBuf),
    /// No console.
    Off,
    /// Package shipped with the program, if any.
    #[default]
    Package,
}

/// Reads `console`.
pub(super) fn console(root: &Table<'_, '_>) -> Console {
    match root.string("console").as_deref() {
        None | Some("package") => Console::Package,
        Some("off") => Console::Off,
        Some("") => {
            root.mistake("console", "`console` is empty", Some("\"package\", \"off\" or the path of a package"));
            Console::Package
        }
        Some(path) => Console::File(path.into()),
    }
}
