//! Writes files of the kernel, below `/proc` and `/sys`: nothing of them is on a disk, and writing one is a call.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes `text` at once.
///
/// # Errors
/// The kernel's, also where there is no such file.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}
