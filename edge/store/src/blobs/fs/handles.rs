//! The store files from which versions are served. Only some of the files are open at a time, however many are served:
//! a file without recent reads is closed, and opened again for the next read.
//!
//! A file is opened before a removal or replacement of its name, and stays open for the holders. Blobs are an exception
//! if the new file is a copy of the same bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use devanture_config::Digest;
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::blobs::Key;
use devanture_base::durable::{self, Stamp};

/// A served file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FileId {
    /// The file of a key.
    Of(Key),
    /// The index of a blob's variants, which contains the small variants.
    Index(Digest),
}

impl FileId {
    /// Returns true if all files of this name have the same bytes.
    const fn is_constant(self) -> bool {
        matches!(self, Self::Of(Key::Blob(_) | Key::Manifest(_)))
    }
}

/// A [`FileId`] as stored in a handle: ids of deltas are twice as long as others and stored behind a pointer.
enum KeptId {
    Blob(Digest),
    Index(Digest),
    Other(Box<Key>),
}

impl From<FileId> for KeptId {
    fn from(id: FileId) -> Self {
        match id {
            FileId::Of(Key::Blob(blob)) => Self::Blob(blob),
            FileId::Of(key) => Self::Other(Box::new(key)),
            FileId::Index(blob) => Self::Index(blob),
        }
    }
}

/// A served file, shared by all readers. There is one handle for each served file, but only a few open files, so the
/// state of an open file is separate.
pub(super) struct Handle {
    id: KeptId,
    state: Mutex<State>,
}

struct State {
    stamp: Stamp,
    /// The open file; `None` while closed.
    opened: Option<Box<Opened>>,
}

/// The state of an open file beyond its name.
struct Opened {
    file: Arc<File>,
    /// Set if the name belongs to a new file, so that this file could not be opened again.
    is_kept: bool,
    /// Set if the file was read since it was last spared.
    is_read: bool,
    /// The number of open files that could be closed, which includes this file unless it is kept.
    closable: Arc<AtomicUsize>,
}

impl Opened {
    fn new(file: Arc<File>, closable: &Arc<AtomicUsize>) -> Box<Self> {
        closable.fetch_add(1, Ordering::Relaxed);
        Box::new(Self { file, is_kept: false, is_read: false, closable: Arc::clone(closable) })
    }

    fn keep(&mut self) {
        if !std::mem::replace(&mut self.is_kept, true) {
            self.closable.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.is_kept {
            self.closable.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl State {
    /// Keeps an open file open. Returns true if the file is open.
    fn keep_opened(&mut self) -> bool {
        self.opened.as_mut().map(|opened| opened.keep()).is_some()
    }
}

impl Handle {
    /// Returns the id of the file.
    pub(super) fn id(&self) -> FileId {
        match &self.id {
            KeptId::Blob(blob) => FileId::Of(Key::Blob(*blob)),
            KeptId::Index(blob) => FileId::Index(*blob),
            KeptId::Other(key) => FileId::Of(**key),
        }
    }

    /// Returns the file and the stamp, if the file is open.
    pub(super) fn opened(&self) -> Option<(Arc<File>, Stamp)> {
        let mut state = self.state.lock();
        let stamp = state.stamp;
        let opened = state.opened.as_mut()?;
        opened.is_read = true;
        Some((Arc::clone(&opened.file), stamp))
    }

    /// Takes a file of the same name, either the same file or a copy. Returns true if no file was open.
    fn take(&self, file: &Arc<File>, stamp: Stamp, closable: &Arc<AtomicUsize>) -> Option<bool> {
        let mut state = self.state.lock();
        let is_same = state.stamp == stamp;
        let is_kept = state.opened.as_ref().is_some_and(|opened| opened.is_kept);
        if !is_same && (is_kept || !self.id().is_constant()) {
            return None;
        }
        // Of two copies, the last checked one.
        state.stamp = stamp;
        match &mut state.opened {
            Some(_) if is_same => {}
            Some(opened) => opened.file = Arc::clone(file),
            none => {
                *none = Some(Opened::new(Arc::clone(file), closable));
                return Some(true);
            }
        }
        Some(false)
    }

    /// Keeps the file open, before the file loses its name.
    fn keep(&self, path: &Path, closable: &Arc<AtomicUsize>) -> std::io::Result<()> {
        if self.state.lock().keep_opened() {
            return Ok(());
        }
        let (file, stamp) = open(path)?;
        let mut state = self.state.lock();
        if state.opened.is_none() && (state.stamp == stamp || self.id().is_constant()) {
            (state.stamp, state.opened) = (stamp, Some(Opened::new(Arc::new(file), closable)));
        }
        state.keep_opened();
        Ok(())
    }

    /// Returns true if the file was read since the last call.
    fn was_read(&self) -> bool {
        self.state.lock().opened.as_mut().is_some_and(|opened| std::mem::take(&mut opened.is_read))
    }

    fn close(&self) -> Option<Arc<File>> {
        let opened = self.state.lock().opened.take_if(|opened| !opened.is_kept)?;
        Some(Arc::clone(&opened.file))
    }
}

fn open(path: &Path) -> std::io::Result<(File, Stamp)> {
    let file = durable::open_file(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok((file, stamp))
}

/// The known handles, by the hashes of their names. There may be hundreds of thousands of handles, and each contains
/// the name, so that the table has no keys.
#[derive(Default)]
struct HandleTable {
    /// A random secret, so that no client can choose names with equal hashes.
    secret: RandomState,
    /// Dropped handles stay in the table until the table is full.
    handles: HashTable<Weak<Handle>>,
}

impl HandleTable {
    fn get(&self, id: FileId) -> Option<Arc<Handle>> {
        let mut found = None;
        self.handles.find(self.secret.hash_one(id), |handle| {
            found = handle.upgrade().filter(|handle| handle.id() == id);
            found.is_some()
        });
        found
    }

    /// Adds a handle. An earlier handle of the name is not found any more.
    fn insert(&mut self, handle: &Arc<Handle>) {
        let id = handle.id();
        let hash = self.secret.hash_one(id);
        let is_same = |known: &Weak<Handle>| known.upgrade().is_some_and(|known| known.id() == id);
        if let Some(known) = self.handles.find_mut(hash, is_same) {
            *known = Arc::downgrade(handle);
            return;
        }
        if self.handles.len() == self.handles.capacity() {
            self.handles.retain(|handle| handle.strong_count() > 0);
        }
        // A handle dropped meanwhile has no name and is not looked for.
        let hash_of = |known: &Weak<Handle>| known.upgrade().map_or(0, |known| self.secret.hash_one(known.id()));
        self.handles.insert_unique(hash, Arc::downgrade(handle), hash_of);
    }
}

/// The served files of a store.
pub(super) struct Handles {
    open_max: usize,
    known: Mutex<HandleTable>,
    /// The open handles, in the order of consideration for closing.
    turns: Mutex<VecDeque<Weak<Handle>>>,
    open: Arc<AtomicUsize>,
}

impl Handles {
    /// Opens at most `open_max` files, not counting files that lost their names.
    pub(super) fn new(open_max: usize) -> Self {
        Self { open_max, known: Mutex::default(), turns: Mutex::default(), open: Arc::default() }
    }

    /// Returns the handle of a file that was just opened under its name, `path`.
    pub(super) fn of(&self, id: FileId, path: &Path, file: File, stamp: Stamp) -> Arc<Handle> {
        let (handle, was_closed) = self.shared(id, &Arc::new(file), stamp);
        // The file may have lost its name before the handle was known.
        let has_name = std::fs::metadata(path).is_ok_and(|found| id.is_constant() || Stamp::of(&found) == stamp);
        if !has_name {
            handle.state.lock().keep_opened();
        }
        if was_closed {
            self.opened(&handle);
        }
        handle
    }

    /// Returns the existing handle of the same file, or a new handle, and whether the file was closed.
    fn shared(&self, id: FileId, file: &Arc<File>, stamp: Stamp) -> (Arc<Handle>, bool) {
        let mut known = self.known.lock();
        if let Some(handle) = known.get(id)
            && let Some(was_closed) = handle.take(file, stamp, &self.open)
        {
            return (handle, was_closed);
        }
        let state = State { stamp, opened: Some(Opened::new(Arc::clone(file), &self.open)) };
        let handle = Arc::new(Handle { id: id.into(), state: Mutex::new(state) });
        known.insert(&handle);
        (handle, true)
    }

    /// Opens the closed file of a handle again, and returns the file and the stamp.
    ///
    /// # Errors
    /// Errors of the system; [`ErrorKind::NotFound`] if an operator removed or replaced the file by hand.
    pub(super) fn open(&self, handle: &Arc<Handle>, path: &Path) -> std::io::Result<(Arc<File>, Stamp)> {
        match open(path) {
            Ok((file, stamp)) => {
                let file = Arc::new(file);
                if let Some(was_closed) = handle.take(&file, stamp, &self.open) {
                    if was_closed {
                        self.opened(handle);
                    }
                    return Ok((file, stamp));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // The file lost its name since, and was kept open for this reader.
        handle.opened().ok_or_else(|| std::io::Error::new(ErrorKind::NotFound, "a stored file is not there any more"))
    }

    /// Keeps a file open for the holders, before the file loses its name. Called under the lock of the folder.
    pub(super) fn keep(&self, id: FileId, path: &Path) {
        let handle = self.known.lock().get(id);
        if let Some(Err(error)) = handle.map(|handle| handle.keep(path, &self.open))
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(?id, %error, "a file that goes cannot be opened for those who read it");
        }
    }

    /// Records that a file was opened, and closes files beyond the bound.
    fn opened(&self, handle: &Arc<Handle>) {
        let mut closed = Vec::new();
        let mut turns = self.turns.lock();
        if turns.len() > self.open_max.saturating_mul(2) {
            turns.retain(|handle| handle.strong_count() > 0);
        }
        turns.push_back(Arc::downgrade(handle));
        let mut spared = 0;
        while self.open.load(Ordering::Relaxed) > self.open_max {
            let Some(next) = turns.pop_front() else { break };
            let Some(handle) = next.upgrade() else { continue };
            if spared < self.open_max && handle.was_read() {
                spared = spared.saturating_add(1);
                turns.push_back(next);
            } else {
                closed.push(handle.close());
            }
        }
        drop(turns);
        // Closing may wait for the disk.
        drop(closed);
    }

    /// Returns the number of open files that could be closed.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Covers handles that replaced earlier handles, with growth of the table in between.
    #[test]
    fn a_file_is_known_by_its_name_and_the_last_handle_of_a_name_counts() {
        let (file, other) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let handles = Handles::new(1_000);
        let of = |number: u32, file: &tempfile::NamedTempFile| {
            let (opened, stamp) = open(file.path()).unwrap();
            handles.of(FileId::Index(Digest::of(&number.to_le_bytes())), file.path(), opened, stamp)
        };
        let known: Vec<_> = (0..200).map(|number| of(number, &file)).collect();
        for (number, handle) in (0..200).zip(&known) {
            assert!(Arc::ptr_eq(handle, &of(number, &file)), "{number}");
        }
        let replaced = of(7, &other);
        assert!(!Arc::ptr_eq(&replaced, &known[7]) && Arc::ptr_eq(&replaced, &of(7, &other)));
        assert_eq!(handles.known.lock().handles.len(), 200);
        let blob = FileId::Of(Key::Blob(Digest::of(&7_u32.to_le_bytes())));
        assert!(handles.known.lock().get(blob).is_none(), "another kind of file");
    }

    /// With the counts of its `Arc`, a handle fits in the allocator's class of 96 bytes.
    #[test]
    fn a_file_that_is_closed_takes_little_memory() {
        assert!(size_of::<Handle>() <= 80, "{}", size_of::<Handle>());
    }

    /// A file of variants: a new file can get its name.
    fn variant(handles: &Handles, folder: &Path, number: u32) -> (Arc<Handle>, FileId, PathBuf) {
        let path = folder.join(number.to_string());
        durable::write_file(&path, &number.to_le_bytes(), 0o600).unwrap();
        let (opened, stamp) = open(&path).unwrap();
        let id = FileId::Index(Digest::of(&number.to_le_bytes()));
        (handles.of(id, &path, opened, stamp), id, path)
    }

    #[test]
    fn a_closed_file_that_loses_its_name_is_open_for_those_who_have_it_and_counts_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let handles = Handles::new(1);
        let (first, id, path) = variant(&handles, folder.path(), 1);
        let (second, ..) = variant(&handles, folder.path(), 2);
        assert!(first.opened().is_none() && second.opened().is_some(), "one is open at a time");
        for _ in 0..2 {
            handles.keep(id, &path);
            assert_eq!(handles.open_count(), 1);
        }
        durable::remove_file(&path).unwrap();
        let (third, ..) = variant(&handles, folder.path(), 3);
        let (mut file, _) = handles.open(&first, &path).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        assert_eq!((bytes.as_slice(), handles.open_count()), (&1_u32.to_le_bytes()[..], 1));
        drop(first);
        assert_eq!(handles.open_count(), 1);
        drop((second, third));
        assert_eq!(handles.open_count(), 0);
    }

    #[test]
    fn a_file_that_took_the_name_of_a_closed_one_is_not_opened_for_it_and_what_cannot_be_opened_is_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        let handles = Handles::new(1);
        let (closed, id, path) = variant(&handles, folder.path(), 1);
        let (_other, _, other_path) = variant(&handles, folder.path(), 2);
        let reopened = |path: &Path| handles.open(&closed, path).map(drop).map_err(|error| error.kind());
        assert_eq!(reopened(&other_path.join("below a file")), Err(ErrorKind::NotADirectory));
        durable::write_file(&path, b"another one", 0o600).unwrap();
        handles.keep(id, &path);
        assert_eq!(reopened(&path), Err(ErrorKind::NotFound));
    }

    #[test]
    fn a_file_that_is_opened_again_and_again_has_one_turn_to_be_closed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let handles = Handles::new(10);
        let of = || {
            let (opened, stamp) = open(file.path()).unwrap();
            handles.of(FileId::Index(Digest::of(b"one")), file.path(), opened, stamp)
        };
        let held: Vec<_> = (0..100).map(|_| of()).collect();
        assert_eq!((held.len(), handles.turns.lock().len(), handles.open_count()), (100, 1, 1));
    }

    #[test]
    fn what_nobody_has_any_more_takes_no_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let handles = Handles::new(2);
        for number in 0..1_000_u32 {
            let (opened, stamp) = open(file.path()).unwrap();
            let id = FileId::Of(Key::Blob(Digest::of(&number.to_le_bytes())));
            drop(handles.of(id, file.path(), opened, stamp));
            let (known, turns) = (handles.known.lock().handles.len(), handles.turns.lock().len());
            assert!(known < 20 && turns < 20, "{known} and {turns}");
        }
        assert_eq!(handles.open_count(), 0);
    }

    #[test]
    fn a_file_that_lost_its_name_before_its_handle_was_known_stays_open() {
        for is_replaced in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let handles = Handles::new(1);
            let path = folder.path().join("1");
            durable::write_file(&path, b"first", 0o600).unwrap();
            let (opened, stamp) = open(&path).unwrap();
            match is_replaced {
                true => durable::write_file(&path, b"other", 0o600).unwrap(),
                false => assert!(durable::remove_file(&path).unwrap()),
            }
            let first = handles.of(FileId::Index(Digest::of(b"1")), &path, opened, stamp);
            let _others: Vec<_> = (2..5).map(|number| variant(&handles, folder.path(), number)).collect();
            let (mut file, _) = handles.open(&first, &path).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            assert_eq!((&*bytes, handles.open_count()), (&b"first"[..], 1), "replaced: {is_replaced}");
        }
    }

    #[test]
    fn a_file_that_was_spared_is_closed_when_it_is_read_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let handles = Handles::new(2);
        let spared: Vec<_> = (0..2).map(|number| variant(&handles, folder.path(), number)).collect();
        assert!(spared.iter().all(|(handle, ..)| handle.opened().is_some()));
        let (third, _, path) = variant(&handles, folder.path(), 2);
        assert!(third.opened().is_none(), "the others are read");
        handles.open(&third, &path).unwrap();
        assert!(third.opened().is_some() && spared[0].0.opened().is_none());
        assert_eq!(handles.open_count(), 2);
    }

    /// Files without a name are open for as long as a holder exists, and are never closed to make room.
    #[test]
    fn beside_files_that_lost_their_names_no_others_stay_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let handles = Handles::new(2);
        let keep = |number| {
            let (handle, id, path) = variant(&handles, folder.path(), number);
            handles.keep(id, &path);
            handle
        };
        let kept: Vec<_> = (0..10).map(keep).collect();
        (10..60).for_each(|number| drop(variant(&handles, folder.path(), number)));
        assert!(handles.turns.lock().len() < 20 && kept.iter().all(|handle| handle.opened().is_some()));
    }

    #[test]
    fn a_file_that_cannot_be_kept_open_is_reported_unless_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let handles = Handles::new(1);
        let (_closed, id, path) = variant(&handles, folder.path(), 1);
        let _other = variant(&handles, folder.path(), 2);
        let logged = |path: &Path| devanture_base::telemetry::logged(|| handles.keep(id, path));
        assert!(logged(&path.join("below a file")).contains("cannot be opened for those who read it"));
        assert_eq!(logged(&folder.path().join("gone")), "");
    }
}
