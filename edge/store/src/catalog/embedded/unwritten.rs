//! The catalog's file on a disk that cannot be written: reads come from the file, and writes of the database stay in
//! memory. Records are readable as long as the disk is, and a mirror goes on following.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;
use redb::StorageBackend;

/// Bytes that are stored together: a page of the database.
const PAGE_BYTES: usize = 4_096;

type Page = [u8; PAGE_BYTES];

/// A file opened only for reads, with its pending writes in memory.
#[derive(Debug)]
pub(super) struct UnwrittenFile {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// The length of the whole, in bytes.
    length: u64,
    /// Bytes of the file that still count: bytes cut off once are zeros.
    kept: u64,
    /// Pages by their numbers.
    pages: BTreeMap<u64, Box<Page>>,
}

impl UnwrittenFile {
    /// Opens an existing catalog file.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length == 0 {
            // `redb` would begin a catalog.
            return Err(Error::other("it is empty"));
        }
        Ok(Self { file, written: Mutex::new(Written { length, kept: length, pages: BTreeMap::new() }) })
    }

    fn page(&self, written: &Written, number: u64) -> Result<Page, Error> {
        if let Some(page) = written.pages.get(&number) {
            return Ok(**page);
        }
        let mut page = [0; PAGE_BYTES];
        let at = number.saturating_mul(PAGE_BYTES as u64);
        let kept = usize::try_from(written.kept.saturating_sub(at)).unwrap_or(PAGE_BYTES).min(PAGE_BYTES);
        if let Some(bytes) = page.get_mut(..kept) {
            self.file.read_exact_at(bytes, at)?;
        }
        Ok(page)
    }
}

/// Returns the pages of `length` bytes from `offset`: for each its number, the start of its part, and the range of the
/// bytes in the part.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = length.checked_sub(done).filter(|left| *left > 0)?;
        let at = offset.checked_add(done as u64)?;
        let begin = usize::try_from(at % PAGE_BYTES as u64).ok()?;
        let part = done..done.saturating_add(left.min(PAGE_BYTES.saturating_sub(begin)));
        done = part.end;
        Some((at / PAGE_BYTES as u64, begin, part))
    })
}

impl StorageBackend for UnwrittenFile {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.written.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let written = self.written.lock();
        if offset.saturating_add(out.len() as u64) > written.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (number, begin, part) in parts(offset, out.len()) {
            let page = self.page(&written, number)?;
            let into = out.get_mut(part).unwrap_or_default();
            into.iter_mut().zip(page.iter().skip(begin)).for_each(|(into, byte)| *into = *byte);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut written = self.written.lock();
        written.kept = written.kept.min(len);
        written.length = len;
        drop(written.pages.split_off(&len.div_ceil(PAGE_BYTES as u64)));
        let cut = usize::try_from(len % PAGE_BYTES as u64).map_err(Error::other)?;
        if cut > 0
            && let Some(page) = written.pages.get_mut(&(len / PAGE_BYTES as u64))
        {
            page.iter_mut().skip(cut).for_each(|byte| *byte = 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut written = self.written.lock();
        for (number, begin, part) in parts(offset, data.len()) {
            let mut page = self.page(&written, number)?;
            let from = data.get(part).unwrap_or_default();
            page.iter_mut().skip(begin).zip(from).for_each(|(into, byte)| *into = *byte);
            written.pages.insert(number, Box::new(page));
        }
        written.length = written.length.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use devanture_base::durable;

    #[derive(Debug, Clone)]
    enum Step {
        SetLength(usize),
        Write(usize, Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let length = 0..5 * PAGE_BYTES;
        let write = (length.clone(), prop::collection::vec(1..9_u8, 1..2 * PAGE_BYTES));
        let step = prop_oneof![
            length.prop_map(Step::SetLength),
            write.prop_map(|(offset, bytes)| Step::Write(offset, bytes)),
        ];
        prop::collection::vec(step, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_reads_as_from_a_file_and_the_file_stays(
            before in prop::collection::vec(1..9_u8, 1..3 * PAGE_BYTES), steps in steps(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            durable::write_file(&path, &before, durable::FILE_MODE).unwrap();
            let file = UnwrittenFile::open(&path).unwrap();
            let mut expected = before.clone();
            for step in steps {
                match step {
                    Step::SetLength(length) => {
                        file.set_len(length as u64).unwrap();
                        expected.resize(length, 0);
                    }
                    Step::Write(offset, bytes) => {
                        file.write(offset as u64, &bytes).unwrap();
                        let end = offset + bytes.len();
                        expected.resize(expected.len().max(end), 0);
                        expected[offset..end].copy_from_slice(&bytes);
                    }
                }
                let mut read = vec![0; expected.len()];
                prop_assert_eq!(file.len().unwrap(), expected.len() as u64);
                file.read(0, &mut read).unwrap();
                prop_assert_eq!(&read, &expected);
                prop_assert!(file.read(1, &mut read).is_err(), "beyond its end");
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }
}
