//! Settings of the kernel, under the names of `sysctl`.

use std::io;
use std::path::Path;

/// Maximum number of bytes read of a kernel or store file, which holds a number or a word.
const TEXT_BYTES_MAX: usize = 64;

/// Returns a numeric setting; `None` if unreadable.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    first_line(Path::new(&format!("/proc/sys/{}", name.replace('.', "/")))).ok()??.parse().ok()
}

/// Returns the first line of a short file, if present.
pub(crate) fn first_line(path: &Path) -> io::Result<Option<String>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().next().filter(|line| line.len() <= TEXT_BYTES_MAX).map(|line| line.trim().to_owned()))
}
