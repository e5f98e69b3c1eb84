//! The entries of an archive of data, with bounded headers: the reader of archives takes a name whole into memory,
//! regardless of its length, and the archive may come from any backend.

use std::cell::Cell;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

/// Most bytes of headers and names before an entry. Linux knows paths of 4 KiB.
const HEADERS_BYTES_MAX: u64 = 64 * 1024;

/// An entry of an archive.
pub(super) type Entry<'a, R> = tar::Entry<'a, Bounded<R>>;

/// A reader with an upper bound of bytes, which grows on demand.
pub(super) struct Bounded<R> {
    from: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowed.get();
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!("an entry has more than {HEADERS_BYTES_MAX} bytes of headers")));
        }
        let count = buffer.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
        let count = self.from.read(buffer.get_mut(..count).unwrap_or_default())?;
        self.allowed.set(allowed.saturating_sub(count as u64));
        Ok(count)
    }
}

/// Calls `with` for each entry until it breaks, and returns the reader. `with` reads the content of a file if needed.
///
/// # Errors
/// The errors of `with`, and `unreadable` of those of the archive.
pub(super) fn for_each<R: Read, E>(
    from: R,
    unreadable: impl Fn(&io::Error) -> E,
    mut with: impl FnMut(&mut Entry<'_, R>) -> Result<ControlFlow<()>, E>,
) -> Result<R, E> {
    let allowed = Rc::new(Cell::new(HEADERS_BYTES_MAX));
    let mut archive = tar::Archive::new(Bounded { from, allowed: Rc::clone(&allowed) });
    for entry in archive.entries().map_err(|error| unreadable(&error))? {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        allowed.set(u64::MAX);
        let flow = with(&mut entry)?;
        // The rest of the content is read on the way to the next entry.
        let content = entry.header().entry_size().map_err(|error| unreadable(&error))?;
        allowed.set(content.saturating_add(HEADERS_BYTES_MAX));
        if flow.is_break() {
            break;
        }
    }
    Ok(archive.into_inner().from)
}
