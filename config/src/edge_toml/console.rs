//! `console`: which package of the console the edge installs when it starts.

use std::path::PathBuf;

use crate::parsing::reader::Table;

/// The console of an edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Console {
    /// The package of this file is installed at each start that finds another one stored.
    File(PathBuf),
    /// Nothing is installed or served.
    Off,
    /// The package that came with the program, if one did.
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
