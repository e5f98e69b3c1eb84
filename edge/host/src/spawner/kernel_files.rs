//! Writes files of the kernel below `/proc` and `/sys`: no file is on a disk, and a write is a system call.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes `text` at once.
///
/// # Errors
/// Errors of the kernel, including a missing file.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}
