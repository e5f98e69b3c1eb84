//! The folder of the store, by blocking calls: the place of each file, and the operations under the lock of the first
//! byte.
//!
//! Files with mutual references (a variant and its line in the index, a blob and its derived files) are changed under
//! the lock of the blob's first byte, which is also the name of the blob's folder. Bytes are hashed outside the lock:
//! an opened file keeps its bytes when the name is removed or replaced.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use devanture_config::Digest;
use parking_lot::{Mutex, MutexGuard};

use super::handles::{FileId, Handle, Handles};
use super::index::Line;
use super::tree::{OpenedTree, Tree};
use super::verified::Verified;
use crate::blobs::{DeltaInfo, Error, Form, Key};
use devanture_base::durable::{self, Draft, FILE_MODE, Stamp, failed};
use devanture_base::fair::Turns;

/// The file with the number of the layout.
const FORMAT_NAME: &str = "format";
/// The content of the format file. A different number is a layout that this program does not know.
pub const FORMAT: &str = "devanture 1\n";
/// Upper bound of bytes read from the file `format`.
const FORMAT_BYTES_MAX: u64 = 64;
/// Upper bound of retries for a file that was replaced while it was read.
const TRIES_MAX: usize = 4;

/// Concurrent reads for visitors that wait for the disk. Each read is a thread, and a disk gains little from more.
pub(super) const READS_AT_ONCE: usize = 64;

/// The folders with a subfolder for each first byte.
pub(in crate::blobs) const SHARDED: [&str; 4] = ["blobs", "variants", "deltas", "manifests"];
/// The folders of uploaded files, which only a backup can restore. All other files are made again.
const SENT: [&str; 2] = ["blobs", "manifests"];
pub(super) const QUARANTINE: &str = "quarantine";
pub(in crate::blobs) const TMP: &str = "tmp";

/// The folder of a store.
pub(super) struct Folder {
    root: PathBuf,
    opened: durable::Identity,
    locks: [Mutex<()>; 256],
    verified: Mutex<Verified>,
    pub(super) handles: Handles,
    /// The turns of reads for clients that wait for a response.
    pub(super) reads: Arc<Turns>,
    pub(super) damages: AtomicU64,
    /// Keys found damaged, for holders of a copy in memory.
    pub(super) suspects: Mutex<HashSet<Key>>,
    /// Set if a bucket has all uploaded files as well, and can restore them.
    is_cache: bool,
}

/// A file, or a part of a file, checked at the opening, with the expected hash of each group of bytes.
pub(super) struct Checked {
    pub(super) handle: Arc<Handle>,
    pub(super) tree: OpenedTree,
    pub(super) size: u64,
    /// The offset of the first byte.
    pub(super) at: u32,
    /// The form, for variants.
    pub(super) form: Option<Form>,
}

/// The place of the bytes of a key, and their expected hash.
pub(super) struct Located {
    id: FileId,
    pub(super) file: File,
    pub(super) stamp: Stamp,
    pub(super) at: u32,
    pub(super) size: u64,
    pub(super) expected: Digest,
}

impl Located {
    /// Reads all bytes; `None` if the file is shorter.
    pub(super) fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(self.size).map_err(std::io::Error::other)?];
        match self.file.read_exact_at(&mut bytes, self.at.into()) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads a file from a place on.
struct ByteSource<'f> {
    file: &'f File,
    at: u64,
}

impl Read for ByteSource<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

pub(super) const fn digest_of(key: Key) -> Digest {
    match key {
        Key::Blob(digest) | Key::Manifest(digest) | Key::Variant(digest, _) | Key::Delta(digest, ..) => digest,
    }
}

impl Folder {
    /// Opens the store in `root`; creates missing folders and removes remains of interrupted writes. At most
    /// `open_files_max` of the served files are open at a time.
    pub(super) fn open(root: PathBuf, open_files_max: usize) -> Result<Self, Error> {
        match set_up(&root) {
            // Reads work and every put reports the refusal, also if only one of the folders has wrong rights: the
            // catalog has decided already that this user is the user of the edge.
            Err(Error::Disk(error)) if error.is_refused() && root.is_dir() => {
                tracing::error!(%error, "the data folder cannot be written: what is stored is served");
            }
            made => made?,
        }
        let opened = durable::Identity::of(&root)?;
        Ok(Self {
            root,
            opened,
            locks: [const { Mutex::new(()) }; 256],
            verified: Mutex::default(),
            handles: Handles::new(open_files_max),
            reads: Turns::new(READS_AT_ONCE),
            damages: AtomicU64::new(0),
            suspects: Mutex::default(),
            is_cache: false,
        })
    }

    /// Marks the store as a cache of files that a bucket has, too.
    pub(super) fn into_cache(self) -> Self {
        Self { is_cache: true, ..self }
    }

    /// Checks that the folder is still the opened one: references to the files of a different folder are unknown.
    pub(super) fn check_in_place(&self) -> Result<(), Error> {
        Ok(self.opened.check()?)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self, digest: Digest) -> MutexGuard<'_, ()> {
        let [first, ..] = *digest.as_bytes();
        #[expect(clippy::indexing_slicing, reason = "there is a lock for every byte")]
        let lock = &self.locks[usize::from(first)];
        // The lock guards files and no memory: a panic of the last holder left the same as a crash.
        lock.lock()
    }

    pub(super) fn shard(&self, kind: &str, digest: Digest) -> PathBuf {
        let [first, ..] = *digest.as_bytes();
        self.root.join(kind).join(hex::encode([first]))
    }

    pub(super) fn path(&self, key: Key) -> PathBuf {
        match key {
            Key::Blob(digest) => self.shard("blobs", digest).join(digest.to_string()),
            Key::Manifest(digest) => self.shard("manifests", digest).join(format!("{digest}.json")),
            Key::Variant(digest, form) => self.shard("variants", digest).join(format!("{digest}.{}", form.suffix())),
            Key::Delta(digest, dictionary, form) => {
                self.shard("deltas", digest).join(format!("{digest}.{dictionary}.{}", form.suffix()))
            }
        }
    }

    pub(super) fn draft(&self) -> Result<Draft, Error> {
        Ok(Draft::create(&self.tmp()?)?)
    }

    /// Returns the folder of drafts. Creates a missing folder, for example after a cleaner of temporary files.
    pub(super) fn tmp(&self) -> Result<PathBuf, Error> {
        self.check_in_place()?;
        let folder = self.root.join(TMP);
        durable::make_folder(&folder)?;
        Ok(folder)
    }

    pub(super) fn draft_of(&self, bytes: &[u8]) -> Result<Draft, Error> {
        let mut draft = self.draft()?;
        draft.write(bytes)?;
        draft.sync()?;
        Ok(draft)
    }

    /// Puts whole bytes.
    pub(super) fn put(&self, key: Key, bytes: &[u8]) -> Result<(), Error> {
        let (expected, found) = (digest_of(key), Digest::of(bytes));
        if found != expected {
            return Err(Error::Mismatch { expected, found });
        }
        self.keep(key, self.draft_of(bytes)?)
    }

    /// Gives a draft, already checked and synced, the name of its key.
    ///
    /// An existing file of the name is replaced, whatever the content: a damaged file is repaired, the age for the
    /// collection starts again, and the duration does not reveal the presence of the file.
    pub(super) fn keep(&self, key: Key, mut draft: Draft) -> Result<(), Error> {
        let path = self.path(key);
        let _turn = self.lock(digest_of(key));
        self.check_in_place()?;
        let had_one = path.exists();
        self.rename_into(&mut draft, &path)?;
        let synced = durable::sync_folder(folder_of(&path));
        if synced.is_err() && !had_one {
            // After the error the file cannot be relied on. An earlier file of the name is as good as before.
            drop(durable::remove_file(&path));
        }
        Ok(synced?)
    }

    /// Renames a draft into a folder, creating the folder on first use, also after an operator removed the folder.
    /// Called under the lock, so that no other thread finds the folder before the folder is durable.
    pub(super) fn rename_into(&self, draft: &mut Draft, path: &Path) -> Result<(), durable::Error> {
        let mut result = draft.rename(path);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            if let Some(gone) = self.gone_around(path) {
                return Err(durable::Error::Gone { path: gone.display().to_string() });
            }
            durable::make_folder(folder_of(path))?;
            result = draft.rename(path);
        }
        result.map_err(failed("renaming to", path))
    }

    /// Returns the missing folder of all blobs or of all manifests to which `path` belongs. A put that created an empty
    /// folder would hide the loss, while the files are still missing.
    pub(super) fn gone_around(&self, path: &Path) -> Option<PathBuf> {
        let of_kind = folder_of(folder_of(path)).to_owned();
        let is_sent = SENT.iter().any(|name| of_kind == self.root.join(name));
        (is_sent && !self.is_cache && !of_kind.is_dir()).then_some(of_kind)
    }

    /// Creates missing folders of blobs and manifests, for restored files.
    pub(super) fn make_sent(&self) -> Result<(), Error> {
        self.check_in_place()?;
        SENT.iter().try_for_each(|name| Ok(durable::make_folder(&self.root.join(name))?))
    }

    pub(super) fn length(&self, key: Key) -> Result<Option<u64>, Error> {
        let path = self.path(key);
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("looking for", &path)(error).into()),
        }
    }

    /// Returns the length of the bytes stored under `key`.
    pub(super) fn size(&self, key: Key) -> Result<Option<u64>, Error> {
        match key {
            Key::Blob(_) | Key::Manifest(_) => self.length(key),
            Key::Variant(blob, form) => {
                Ok(self.variants(blob)?.into_iter().find(|info| info.form == form).map(|info| info.size))
            }
            Key::Delta(blob, dictionary, form) => {
                let is_it = |info: &DeltaInfo| (info.dictionary, info.form) == (dictionary, form);
                Ok(self.deltas(blob)?.into_iter().find(is_it).map(|info| info.size))
            }
        }
    }

    /// All bytes of `key`, checked.
    pub(super) fn get(&self, key: Key) -> Result<Bytes, Error> {
        let (_, bytes) = self.checked(key, |located| {
            let bytes = located.read()?.filter(|bytes| Digest::of(bytes) == located.expected);
            Ok(bytes.map(Bytes::from))
        })?;
        Ok(bytes)
    }

    /// Opens the file of `key`, and checks the bytes unless this process has checked them already.
    pub(super) fn open_file(&self, key: Key) -> Result<Checked, Error> {
        let (located, tree) = self.checked(key, |Located { file, stamp, at, size, expected, .. }| {
            if let Some(tree) = self.verified().of(key, *stamp, *expected) {
                return Ok(Some(tree));
            }
            let part = ByteSource { file, at: (*at).into() }.take(if *size == stamp.size { u64::MAX } else { *size });
            let (found, tree) = Tree::read(part, *size)?;
            if found != Some(*expected) {
                return Ok(None);
            }
            let tree = OpenedTree::from(tree);
            self.verified().remember(key, *stamp, &tree);
            Ok(Some(tree))
        })?;
        let Located { id, file, stamp, at, size, .. } = located;
        let form = if let Key::Variant(_, form) = key { Some(form) } else { None };
        Ok(Checked { handle: self.handles.of(id, &self.path_of(id), file, stamp), tree, size, at, form })
    }

    pub(super) fn path_of(&self, id: FileId) -> PathBuf {
        match id {
            FileId::Of(key) => self.path(key),
            FileId::Index(blob) => self.index_path(blob),
        }
    }

    /// Returns the file of `checked` and the stamp; opens a closed file again.
    pub(super) fn reopen(&self, checked: &Checked) -> std::io::Result<(Arc<File>, Stamp)> {
        match checked.handle.opened() {
            Some(opened) => Ok(opened),
            None => self.handles.open(&checked.handle, &self.path_of(checked.handle.id())),
        }
    }

    /// Keeps a file open for the readers, before the file loses its name. Called under the lock.
    pub(super) fn keep_open(&self, id: FileId) {
        self.handles.keep(id, &self.path_of(id));
    }

    /// Deletes the index of a blob's variants. Called under the lock.
    pub(super) fn forget_index(&self, blob: Digest) -> Result<(), Error> {
        self.keep_open(FileId::Index(blob));
        durable::remove_file(&self.index_path(blob))?;
        Ok(())
    }

    /// Returns the number of open files that could be closed.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.handles.open_count()
    }

    /// Makes the next read check the whole file again.
    #[cfg(test)]
    pub(super) fn distrust(&self, key: Key) {
        self.verified().distrust(key);
    }

    pub(super) fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock()
    }

    /// Opens `key` and passes the file to `check`, which returns `None` if the bytes do not match the given hash.
    fn checked<T>(
        &self,
        key: Key,
        check: impl Fn(&Located) -> std::io::Result<Option<T>>,
    ) -> Result<(Located, T), Error> {
        let path = self.path(key);
        for _ in 0..TRIES_MAX {
            let located = self.locate(key)?.ok_or(Error::Missing(key))?;
            if let Some(checked) = check(&located).map_err(failed("reading", &path))? {
                return Ok((located, checked));
            }
            if let Some(quarantined) = self.set_aside_damaged(key, located.stamp)? {
                return Err(Error::Corrupt { key, quarantined });
            }
            // A writer replaced the bad file while it was read; the new file gets a chance of its own.
        }
        Err(failed("reading", &path)(std::io::Error::other("the file changes each time it is read")).into())
    }

    /// Returns the place of the bytes of `key` and the expected hash, both from one moment.
    pub(super) fn locate(&self, key: Key) -> Result<Option<Located>, Error> {
        let path = self.path(key);
        let _turn = self.lock(digest_of(key));
        let expected = match key {
            Key::Blob(digest) | Key::Manifest(digest) => digest,
            Key::Variant(blob, form) => {
                let Some((index, listed)) = self.open_index(blob)? else { return Ok(None) };
                match self.present(blob, listed)?.get(&form) {
                    Some(Line { info, at: Some(at) }) => {
                        let stamp = stamp(&index).map_err(failed("reading", &self.index_path(blob)))?;
                        let (at, size, expected) = (*at, info.size, info.hash);
                        return Ok(Some(Located { id: FileId::Index(blob), file: index, stamp, at, size, expected }));
                    }
                    Some(line) => line.info.hash,
                    None => return Ok(None),
                }
            }
            Key::Delta(blob, dictionary, form) => match self.delta_hash(blob, dictionary, form)? {
                Some(hash) => hash,
                None => return Ok(None),
            },
        };
        let mut opened = durable::open_file(&path);
        if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) && self.take_back(key)? {
            opened = durable::open_file(&path);
        }
        match opened {
            Ok(file) => {
                let stamp = stamp(&file).map_err(failed("reading", &path))?;
                Ok(Some(Located { id: FileId::Of(key), file, stamp, at: 0, size: stamp.size, expected }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("opening", &path)(error).into()),
        }
    }
}

/// Returns true if `root` holds a blob or a manifest.
pub(super) fn holds_files(root: &Path) -> Result<bool, Error> {
    for kind in ["blobs", "manifests"] {
        let mut shards = Vec::new();
        each_file(&root.join(kind), |_, shard| shards.push(shard.to_path_buf()))?;
        for shard in shards.iter().filter(|shard| shard.is_dir()) {
            let mut found = false;
            each_file(shard, |_, _| found = true)?;
            if found {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Creates missing folders, and removes remains of interrupted writes.
fn set_up(root: &Path) -> Result<(), Error> {
    durable::make_folder(root)?;
    keep_format(root)?;
    durable::make_folders(root, SHARDED.into_iter().chain([QUARANTINE, TMP]).map(|name| root.join(name)))?;
    // A killed process may have created a folder without syncing its parent.
    for name in SHARDED {
        durable::sync_folder(&root.join(name))?;
    }
    Ok(durable::remove_abandoned(&root.join(TMP), |_| true)?)
}

fn keep_format(root: &Path) -> Result<(), Error> {
    match has_format(root)? {
        true => Ok(()),
        false => Ok(durable::write_file(&root.join(FORMAT_NAME), FORMAT.as_bytes(), FILE_MODE)?),
    }
}

/// Checks the number of the layout, as far as the caller may read the number. Writes no file.
pub(super) fn check_format(root: &Path) -> Result<(), Error> {
    match has_format(root) {
        Err(Error::Disk(durable::Error::Io { source, .. })) if source.kind() == ErrorKind::PermissionDenied => Ok(()),
        read => read.map(drop),
    }
}

/// Returns true if a text is the format of some release, whatever the number.
fn is_of_a_release(text: &str) -> bool {
    let number = text.trim_end().strip_prefix("devanture ");
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Returns true if the folder has the layout number of this program, false if the folder has no number; fails for a
/// different number.
fn has_format(root: &Path) -> Result<bool, Error> {
    let path = root.join(FORMAT_NAME);
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(FORMAT_BYTES_MAX).read_to_string(&mut text)) {
        // An operator may have written the file by hand, following the message below.
        Ok(_) if text.trim_end() == FORMAT.trim_end() => Ok(true),
        Ok(_) => {
            let (found, known) = (text.trim().escape_debug(), FORMAT.trim());
            let sentence = match is_of_a_release(&text) {
                true => format!(
                    "the data folder says `{found}` and this program knows `{known}`: it was written by another release"
                ),
                false => format!(
                    "it says `{found}`, which no release wrote, so it is damaged: write `{known}` into it where the other \
                     files of the folder are whole"
                ),
            };
            Err(failed("opening", &path)(std::io::Error::new(ErrorKind::InvalidData, sentence)).into())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("reading", &path)(error).into()),
    }
}

fn stamp(file: &File) -> std::io::Result<Stamp> {
    file.metadata().map(|metadata| Stamp::of(&metadata))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Returns the entries of an index; empty if there is no index, or if the text cannot come from this program.
pub(super) fn read_lines<T: Default>(
    path: &Path,
    bytes_max: u64,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Error> {
    let mut text = Vec::new();
    match durable::open_file(path).and_then(|file| file.take(bytes_max).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(failed("reading", path)(error).into()),
    }
    Ok(std::str::from_utf8(&text).ok().and_then(parse).unwrap_or_else(|| {
        tracing::error!(path = %path.display(), "an index cannot be read; its variants will be made again");
        T::default()
    }))
}

/// Calls `visit` with the name and the path of each entry of `folder`; a missing folder has no entries.
pub(super) fn each_file(folder: &Path, mut visit: impl FnMut(&str, &Path)) -> Result<(), Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("reading", folder)(error).into()),
    };
    for entry in entries {
        let entry = entry.map_err(failed("reading", folder))?;
        if let Some(name) = entry.file_name().to_str() {
            visit(name, &entry.path());
        }
    }
    Ok(())
}
