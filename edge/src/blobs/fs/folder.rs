//! The folder itself, as blocking calls: where each file lies, and what is done to it under the lock of its first byte.
//!
//! Everything that a reader must find consistent (a variant and its line in the index, a blob and what was made of it) is
//! changed under the lock of the blob's first byte, which is also the name of its folder. Bytes are hashed outside it:
//! an opened file stays what it is, whatever becomes of its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use devanture_config::Digest;

use super::deltas::delta_key;
use super::tree::Tree;
use super::verified::Verified;
use crate::blobs::durable::{self, Draft, FILE_MODE, Stamp, failed};
use crate::blobs::{DeltaInfo, Error, Form, Key};

/// What the file `format` says. Another number is another layout, which this program does not know.
const FORMAT: &str = "devanture 1\n";
/// More of the file `format` is not read.
const FORMAT_BYTES_MAX: u64 = 64;
/// How often a file is looked for again when it was replaced while it was read.
const TRIES_MAX: usize = 4;

/// The folders that have one below them for each first byte.
const SHARDED: [&str; 4] = ["blobs", "variants", "deltas", "manifests"];
const QUARANTINE: &str = "quarantine";
/// Where collected blobs and manifests wait for their end, in the same layout as in the store.
const COLLECTED: &str = "collected";
const TMP: &str = "tmp";

/// The folder of a store.
pub(super) struct Folder {
    root: PathBuf,
    opened: durable::Identity,
    locks: [Mutex<()>; 256],
    verified: Mutex<Verified>,
    damages: AtomicU64,
}

/// A file that was checked when it was opened, and what each part of it must hash to.
pub(super) struct Checked {
    pub(super) file: File,
    pub(super) stamp: Stamp,
    pub(super) tree: Arc<Tree>,
}

pub(super) const fn digest_of(key: Key) -> Digest {
    match key {
        Key::Blob(digest) | Key::Manifest(digest) | Key::Variant(digest, _) | Key::Delta(digest, ..) => digest,
    }
}

impl Folder {
    /// Opens the store in `root`, making what is missing and removing what an interrupted write left.
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        durable::make_folder(&root)?;
        check_format(&root)?;
        durable::make_folders(&root, SHARDED.into_iter().chain([QUARANTINE, TMP]).map(|name| root.join(name)))?;
        // A process that was killed may have made a folder and not synced its parent.
        for name in SHARDED {
            durable::sync_folder(&root.join(name))?;
        }
        durable::remove_abandoned(&root.join(TMP), |_| true)?;
        let opened = durable::Identity::of(&root)?;
        Ok(Self {
            root,
            opened,
            locks: [const { Mutex::new(()) }; 256],
            verified: Mutex::default(),
            damages: AtomicU64::new(0),
        })
    }

    /// Checks that the folder is the one that was opened: in another one, nothing is known of what refers to its files.
    pub(super) fn check_in_place(&self) -> Result<(), Error> {
        self.opened.check()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self, digest: Digest) -> MutexGuard<'_, ()> {
        let [first, ..] = *digest.as_bytes();
        #[expect(clippy::indexing_slicing, reason = "there is a lock for every byte")]
        let lock = &self.locks[usize::from(first)];
        // It guards files and no memory: a panic of its last holder left what a crash leaves.
        lock.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.check_in_place()?;
        Draft::create(&self.root.join(TMP))
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

    /// Gives a draft, whose hash was checked and which was synced, the name of its key.
    ///
    /// A file that has the name already is replaced, whatever it holds: so one that lost its bytes is mended, its time
    /// begins anew for the collection, and the time that this takes tells nobody what was there.
    pub(super) fn keep(&self, key: Key, mut draft: Draft) -> Result<(), Error> {
        let path = self.path(key);
        let _turn = self.lock(digest_of(key));
        self.check_in_place()?;
        let had_one = path.exists();
        rename_into(&mut draft, &path)?;
        let synced = durable::sync_folder(folder_of(&path));
        if synced.is_err() && !had_one {
            // After the error nobody may count on the file. One that was there before is as good as it was.
            drop(durable::remove_file(&path));
        }
        synced
    }

    pub(super) fn length(&self, key: Key) -> Result<Option<u64>, Error> {
        let path = self.path(key);
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("looking for", &path)(error)),
        }
    }

    /// The length of what is stored under `key`.
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
        let (_, bytes) = self.checked(key, |mut file, stamp, expected| {
            let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or_default());
            file.read_to_end(&mut bytes)?;
            Ok((Digest::of(&bytes) == expected).then(|| Bytes::from(bytes)))
        })?;
        Ok(bytes)
    }

    /// The file of `key`, checked unless this process did so before.
    pub(super) fn open_file(&self, key: Key) -> Result<Checked, Error> {
        let (file, (stamp, tree)) = self.checked(key, |file, stamp, expected| {
            if let Some(tree) = self.verified().of(key, stamp) {
                return Ok(Some((stamp, tree)));
            }
            let (found, tree) = Tree::read(file, stamp.size)?;
            if found != Some(expected) {
                return Ok(None);
            }
            let tree = Arc::new(tree);
            self.verified().remember(key, stamp, &tree);
            Ok(Some((stamp, tree)))
        })?;
        Ok(Checked { file, stamp, tree })
    }

    /// Notes that a part of an opened file is not as it was when the whole was checked.
    pub(super) fn found_damaged(&self, key: Key, stamp: Stamp) {
        self.verified().forget(key);
        self.damages.fetch_add(1, Ordering::Relaxed);
        // Nothing where another file has the name by now.
        match self.set_aside(key, stamp) {
            Ok(quarantined) => tracing::error!(?key, quarantined, "stored bytes changed since they were checked"),
            Err(error) => tracing::error!(?key, %error, "stored bytes changed, and cannot be set aside"),
        }
    }

    /// How many opened files were found damaged.
    pub(super) fn damages(&self) -> u64 {
        self.damages.load(Ordering::Relaxed)
    }

    /// Has all of a file checked again when it is read next.
    #[cfg(test)]
    pub(super) fn distrust(&self, key: Key) {
        self.verified().distrust(key);
    }

    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens `key` and hands its file to `check`, which says `None` where the bytes are not those of the given hash.
    fn checked<T>(
        &self,
        key: Key,
        check: impl Fn(&File, Stamp, Digest) -> std::io::Result<Option<T>>,
    ) -> Result<(File, T), Error> {
        let path = self.path(key);
        for _ in 0..TRIES_MAX {
            let (file, expected) = self.locate(key)?.ok_or(Error::Missing(key))?;
            let stamp = file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(failed("reading", &path))?;
            if let Some(checked) = check(&file, stamp, expected).map_err(failed("reading", &path))? {
                return Ok((file, checked));
            }
            if let Some(quarantined) = self.set_aside_damaged(key, stamp)? {
                return Err(Error::Corrupt { key, quarantined });
            }
            // Somebody replaced the bad file while it was read; the new one gets its own chance.
        }
        Err(failed("reading", &path)(std::io::Error::other("the file changes each time it is read")))
    }

    /// The file of `key` and the hash that its bytes must have, both of one moment.
    pub(super) fn locate(&self, key: Key) -> Result<Option<(File, Digest)>, Error> {
        let path = self.path(key);
        let _turn = self.lock(digest_of(key));
        let expected = match key {
            Key::Blob(digest) | Key::Manifest(digest) => digest,
            Key::Variant(blob, form) => {
                let listed = self.read_index(blob)?;
                match self.present(blob, listed)?.get(&form) {
                    Some(info) => info.hash,
                    None => return Ok(None),
                }
            }
            Key::Delta(blob, dictionary, form) => match self.delta_hash(blob, dictionary, form)? {
                Some(hash) => hash,
                None => return Ok(None),
            },
        };
        let mut opened = File::open(&path);
        if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) && self.take_back(key)? {
            opened = File::open(&path);
        }
        match opened {
            Ok(file) => Ok(Some((file, expected))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("opening", &path)(error)),
        }
    }

    /// As [`Folder::set_aside`], of a file whose bytes are not those of its hash.
    pub(super) fn set_aside_damaged(&self, key: Key, stamp: Stamp) -> Result<Option<String>, Error> {
        self.verified().forget(key);
        let quarantined = self.set_aside(key, stamp)?;
        if let Some(quarantined) = &quarantined {
            tracing::error!(?key, path = %self.path(key).display(), quarantined, "stored bytes do not match their hash");
        }
        Ok(quarantined)
    }

    /// Moves the file of `key` to the quarantine, if it still is the one with that stamp, and says where it is now. A
    /// variant is forgotten thereby, since an index says nothing about a file that is not there.
    fn set_aside(&self, key: Key, stamp: Stamp) -> Result<Option<String>, Error> {
        let path = self.path(key);
        let _turn = self.lock(digest_of(key));
        if !std::fs::metadata(&path).is_ok_and(|metadata| Stamp::of(&metadata) == stamp) {
            return Ok(None);
        }
        let kind = match key {
            Key::Blob(_) => "blob",
            Key::Manifest(_) => "manifest",
            Key::Variant(..) => "variant",
            Key::Delta(..) => "delta",
        };
        // One place for each key, so that what is bad again and again does not fill the disk.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let quarantined = self.root.join(QUARANTINE).join(format!("{kind}-{name}"));
        let moved = durable::move_file(&path, &quarantined)?;
        Ok(moved.then(|| quarantined.display().to_string()))
    }

    /// Deletes a variant, or a blob with all that was made of it, or a manifest. After a crash it may be there again.
    pub(super) fn delete(&self, key: Key) -> Result<(), Error> {
        let _turn = self.lock(digest_of(key));
        self.delete_in_turn(key)
    }

    fn delete_in_turn(&self, key: Key) -> Result<(), Error> {
        if let Key::Blob(blob) = key {
            // The blob comes last: where it is, the collection comes by again.
            self.forget_variants(blob)?;
            self.forget_deltas(blob)?;
        }
        self.forget(key)
    }

    /// Deletes a blob or manifest that was last put before `before_s`; whoever puts it waits for the same lock.
    pub(super) fn delete_put_before(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error> {
        let _turn = self.lock(digest_of(key));
        self.check_in_place()?;
        let Some((_, mut bytes, put_s)) = entry(key, &self.path(key)) else { return Ok(None) };
        if put_s >= before_s {
            return Ok(None);
        }
        if let Key::Blob(blob) = key {
            for form in Form::ALL {
                bytes = bytes.saturating_add(self.length(Key::Variant(blob, form))?.unwrap_or(0));
            }
            bytes = bytes.saturating_add(self.delta_bytes(blob)?);
        }
        if let Key::Blob(blob) = key {
            // The blob comes last: where it is, the collection comes by again. What is made of it can be made again.
            self.forget_variants(blob)?;
            self.forget_deltas(blob)?;
        }
        let collected = self.collected_path(key);
        if for_good {
            self.forget(key)?;
            durable::remove_file(&collected)?;
            durable::sync_folder(folder_of(&self.path(key)))?;
            return Ok(Some(bytes));
        }
        self.verified().forget(key);
        durable::make_folder(folder_of(&collected))?;
        durable::move_file(&self.path(key), &collected)?;
        Ok(Some(bytes))
    }

    fn collected_path(&self, key: Key) -> PathBuf {
        let path = self.path(key);
        self.root.join(COLLECTED).join(path.strip_prefix(&self.root).unwrap_or(&path))
    }

    fn collected_shards(&self) -> Result<Vec<PathBuf>, Error> {
        let mut shards = Vec::new();
        for kind in ["blobs", "manifests"] {
            each_file(&self.root.join(COLLECTED).join(kind), |_, shard| shards.push(shard.to_path_buf()))?;
        }
        Ok(shards)
    }

    /// The blobs and manifests that wait for their end.
    pub(super) fn collected(&self) -> Result<Vec<Key>, Error> {
        let mut found = Vec::new();
        for shard in self.collected_shards()? {
            each_file(&shard, |name, _| {
                found.extend(match name.strip_suffix(".json") {
                    Some(name) => name.parse().ok().map(Key::Manifest),
                    None => name.parse().ok().map(Key::Blob),
                });
            })?;
        }
        Ok(found)
    }

    /// Brings a collected blob or manifest back to its name, where it still waits for its end. Called under the lock.
    ///
    /// A catalog that was restored from an older copy may refer to files that a collection took since.
    fn take_back(&self, key: Key) -> Result<bool, Error> {
        if !matches!(key, Key::Blob(_) | Key::Manifest(_)) {
            return Ok(false);
        }
        let (from, to) = (self.collected_path(key), self.path(key));
        if !from.exists() {
            return Ok(false);
        }
        self.check_in_place()?;
        durable::make_folder(folder_of(&to))?;
        let is_back = durable::move_file(&from, &to)?;
        if is_back {
            tracing::warn!(?key, "a collected file is needed again and was brought back");
        }
        Ok(is_back)
    }

    /// Removes damaged files and abandoned drafts from before `before_s`, and collected files from before
    /// `collected_before_s`.
    pub(super) fn remove_leftovers(
        &self,
        before_s: u64,
        collected_before_s: u64,
        dry_run: bool,
    ) -> Result<(u64, u64), Error> {
        self.check_in_place()?;
        let mut folders = vec![(self.root.join(QUARANTINE), before_s), (self.root.join(TMP), before_s)];
        folders.extend(self.collected_shards()?.into_iter().map(|shard| (shard, collected_before_s)));
        let mut old = Vec::new();
        for (folder, before_s) in folders {
            each_file(&folder, |_, path| {
                // The time of the change of the name: the bytes may have been written long before they were set aside.
                let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
                let changed = metadata.map(|metadata| (metadata.ctime(), metadata.len()));
                let is_old = |changed_s: i64| u64::try_from(changed_s).is_ok_and(|changed_s| changed_s < before_s);
                old.extend(changed.filter(|(at, _)| is_old(*at)).map(|(_, length)| (path.to_path_buf(), length)));
            })?;
        }
        let (mut files, mut bytes) = (0, 0_u64);
        for (path, length) in old {
            // A draft whose writer lives is locked by it.
            let is_free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if is_free && (dry_run || durable::remove_file(&path)?) {
                files += 1;
                bytes = bytes.saturating_add(length);
            }
        }
        Ok((files, bytes))
    }

    pub(super) fn forget(&self, key: Key) -> Result<(), Error> {
        self.verified().forget(key);
        durable::remove_file(&self.path(key))?;
        Ok(())
    }

    /// Every blob and manifest.
    #[cfg(test)]
    pub(super) fn list(&self) -> Result<Vec<(Key, u64, u64)>, Error> {
        let parts: Result<Vec<_>, Error> = (0..=u8::MAX).map(|first| self.list_part(first)).collect();
        Ok(parts?.concat())
    }

    /// The blobs and manifests whose digest begins with `first`, with length and time. On the way, variants and deltas are
    /// removed whose blob is gone.
    pub(super) fn list_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        let mut found = Vec::new();
        let shard = hex::encode([first]);
        each_file(&self.root.join("blobs").join(&shard), |name, path| {
            let digest = name.parse().ok();
            found.extend(digest.and_then(|digest| entry(Key::Blob(digest), path)));
        })?;
        each_file(&self.root.join("manifests").join(&shard), |name, path| {
            let digest = name.strip_suffix(".json").and_then(|name| name.parse().ok());
            found.extend(digest.and_then(|digest| entry(Key::Manifest(digest), path)));
        })?;
        self.remove_orphans(&shard)?;
        Ok(found)
    }

    /// Removes variants and deltas of the blobs of one folder that are gone, as a crash in the middle of a deletion leaves
    /// them.
    fn remove_orphans(&self, shard: &str) -> Result<(), Error> {
        self.check_in_place()?;
        let mut orphans = BTreeMap::new();
        for kind in ["variants", "deltas"] {
            each_file(&self.root.join(kind).join(shard), |name, _| {
                let blob: Option<Digest> = name.split_once('.').and_then(|(digest, _)| digest.parse().ok());
                if let Some(blob) = blob {
                    let of_blob = orphans.entry(blob).or_insert_with(|| (!self.path(Key::Blob(blob)).exists(), vec![]));
                    // What an index does not say is found by its name.
                    of_blob.1.extend(delta_key(name).filter(|_| of_blob.0));
                }
            })?;
        }
        for (blob, (is_gone, deltas)) in orphans {
            let _turn = self.lock(blob);
            if is_gone && !self.path(Key::Blob(blob)).exists() {
                self.forget_variants(blob)?;
                self.forget_deltas(blob)?;
                for key in deltas {
                    self.forget(key)?;
                }
            }
        }
        Ok(())
    }

    /// Replaces what was made of a blob, once all that needs room is written. Between here and the new index a crash must
    /// not leave a line of the old one beside other bytes, which would pass for corruption. Called under the lock.
    pub(super) fn replace(&self, replacing: Replacing) -> Result<(), Error> {
        let index_path = replacing.index_path.clone();
        if replacing.changes_known {
            durable::remove_file(&index_path)?;
        }
        let result = self.place(replacing);
        if result.is_err() {
            drop(durable::remove_file(&index_path));
        }
        result
    }

    fn place(&self, replacing: Replacing) -> Result<(), Error> {
        let Replacing { index_path, mut index, gone, files, .. } = replacing;
        for key in gone {
            self.forget(key)?;
        }
        for (key, mut draft) in files {
            rename_into(&mut draft, &self.path(key))?;
        }
        rename_into(&mut index, &index_path)?;
        durable::sync_folder(folder_of(&index_path))
    }
}

/// Whether `root` holds a blob or a manifest.
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

/// Reads the number of the layout, or writes it into a folder that has none.
fn check_format(root: &Path) -> Result<(), Error> {
    let path = root.join("format");
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(FORMAT_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) if text == FORMAT => Ok(()),
        Ok(_) => {
            let sentence = format!(
                "the data folder says `{}` and this program knows `{}`: it was written by another release",
                text.trim().escape_debug(),
                FORMAT.trim()
            );
            Err(failed("opening", &path)(std::io::Error::new(ErrorKind::InvalidData, sentence)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => durable::write_file(&path, FORMAT.as_bytes(), FILE_MODE),
        Err(error) => Err(failed("reading", &path)(error)),
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// What an index says; nothing where there is none, or where it is none that this program can have written.
pub(super) fn read_lines<T: Default>(
    path: &Path,
    bytes_max: u64,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Error> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(failed("reading", path)(error)),
    }
    Ok(std::str::from_utf8(&text).ok().and_then(parse).unwrap_or_else(|| {
        tracing::error!(path = %path.display(), "an index cannot be read; what it told of will be made again");
        T::default()
    }))
}

/// What takes the place of the files of a blob and of the index that tells of them.
pub(super) struct Replacing {
    pub(super) index_path: PathBuf,
    pub(super) index: Draft,
    /// Whether the index that is there tells of files whose bytes change.
    pub(super) changes_known: bool,
    /// Files that go.
    pub(super) gone: Vec<Key>,
    /// Files that come.
    pub(super) files: Vec<(Key, Draft)>,
}

/// Renames a draft into a folder that is made when it is first needed, also after somebody removed it by hand. Called
/// under the lock, so that nobody else finds the folder before it is durable.
pub(super) fn rename_into(draft: &mut Draft, path: &Path) -> Result<(), Error> {
    let mut result = draft.rename(path);
    if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        durable::make_folder(folder_of(path))?;
        result = draft.rename(path);
    }
    result.map_err(failed("renaming to", path))
}

/// Calls `visit` with the name and the path of everything in `folder`; a folder that is not there holds nothing.
fn each_file(folder: &Path, mut visit: impl FnMut(&str, &Path)) -> Result<(), Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("reading", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("reading", folder))?;
        if let Some(name) = entry.file_name().to_str() {
            visit(name, &entry.path());
        }
    }
    Ok(())
}

/// What `list` says of a file; nothing where it was deleted since its name was read.
fn entry(key: Key, path: &Path) -> Option<(Key, u64, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let stored = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some((key, metadata.len(), stored.as_secs()))
}
