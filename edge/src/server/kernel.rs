//! Settings of the kernel, as `sysctl` names them.

use std::io;
use std::path::Path;

/// Bytes of a file of the kernel or of the store that are read: these hold a number or a word.
const TEXT_BYTES_MAX: usize = 64;

/// A setting that is a number; `None` where it cannot be read.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    first_line(Path::new(&format!("/proc/sys/{}", name.replace('.', "/")))).ok()??.parse().ok()
}

/// The first line of a short file, if it has one.
pub(crate) fn first_line(path: &Path) -> io::Result<Option<String>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().next().filter(|line| line.len() <= TEXT_BYTES_MAX).map(|line| line.trim().to_owned()))
}
