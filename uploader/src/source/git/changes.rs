//! Detects uncommitted changes of a work tree by the index, like `git status`, and without running filters.
//!
//! A file with the metadata of the index counts as unchanged. Any other file is read, and compared unchanged, with Unix
//! line endings, and as its Git LFS pointer. The output of other filters is unknown, so that a filtered file counts as
//! changed after a write later than the checkout.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use aws_lc_rs::digest;
use ignore::WalkBuilder;

use super::index::{Entry, FileKind, Index};
use super::objects::{Id, Kind, Store};
use super::repository::{GIT, Repository};
use crate::platform::path_of;

/// Most bytes of an index.
const INDEX_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Upper bound of nested folders.
const DEPTH_MAX: usize = 256;
/// Upper bound of the length of files compared with Unix line endings.
const TEXT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of one read.
const CHUNK_BYTES: usize = 256 * 1024;

/// Returns true if the work tree differs from the commit with the tree `tree`. `None` if unknown, or not known before
/// `deadline`.
pub(super) fn exist(repository: &Repository, objects: &Store, tree: Id, deadline: Instant) -> Option<bool> {
    let (bytes, written) = repository.index(INDEX_BYTES_MAX)?;
    let index = Index::parse(&bytes, tree)?;
    if index.is_unfinished {
        return Some(true);
    }
    let staged = Staged { index: &index, objects, deadline };
    if staged.covers(tree, &mut Vec::new(), 0)? != Some(index.entries.len()) {
        return Some(true);
    }
    for (path, entry) in &index.entries {
        if Instant::now() > deadline {
            return None;
        }
        if !entry.is_skipped && is_changed(repository, path, entry, written)? {
            return Some(true);
        }
    }
    has_untracked(repository.work_tree.path(), Arc::new(index), deadline)
}

/// Compares the commit's tree with the index.
struct Staged<'i> {
    index: &'i Index,
    objects: &'i Store,
    deadline: Instant,
}

impl Staged<'_> {
    /// Returns the number of entries below `path` that match the tree `id`; `Some(None)` if one of the tree's files is
    /// staged differently or not at all, `None` if unknown.
    #[expect(clippy::option_option, reason = "what is unknown is not what is different")]
    fn covers(&self, id: Id, path: &mut Vec<u8>, depth: usize) -> Option<Option<usize>> {
        if let Some((known, count)) = self.index.trees.get(path.as_slice())
            && *known == id
        {
            return Some(Some(*count));
        }
        if depth > DEPTH_MAX || Instant::now() > self.deadline {
            return None;
        }
        let tree = self.objects.read(id, Kind::Tree)?;
        let (mut rest, mut count) = (tree.as_slice(), 0);
        let length = path.len();
        while !rest.is_empty() {
            let (mode, name, id) = tree_entry(&mut rest, id)?;
            path.extend_from_slice(name);
            let within = if mode >> 12 == 0o4 {
                path.push(b'/');
                self.covers(id, path, depth + 1)?
            } else {
                let staged = self.index.entries.get(path.as_slice());
                staged.filter(|staged| staged.id == id && staged.mode == mode).map(|_| 1)
            };
            path.truncate(length);
            match within {
                Some(within) => count += within,
                None => return Some(None),
            }
        }
        Some(Some(count))
    }
}

/// Returns the next entry of a tree: its mode, name and id.
fn tree_entry<'t>(rest: &mut &'t [u8], like: Id) -> Option<(u32, &'t [u8], Id)> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (head, after) = rest.split_at_checked(end)?;
    let space = head.iter().position(|byte| *byte == b' ')?;
    let mode = u32::from_str_radix(std::str::from_utf8(head.get(..space)?).ok()?, 8).ok()?;
    let (id, after) = after.get(1..)?.split_at_checked(like.as_bytes().len())?;
    *rest = after;
    // Old trees have modes that git does not use any more.
    let mode = if mode == 0o100_664 { 0o100_644 } else { mode };
    Some((mode, head.get(space + 1..)?, Id::of_bytes(id)?))
}

/// Returns true if the file at `path` differs from the staged one. The run bit is not compared: some file systems lack
/// the bit.
fn is_changed(repository: &Repository, path: &[u8], entry: &Entry, index_written: (u32, u32)) -> Option<bool> {
    let relative = path_of(path)?;
    let full = repository.work_tree.path().join(&relative);
    let Ok(now) = full.symlink_metadata() else { return Some(true) };
    match entry.kind {
        // The content of a submodule belongs to its own repository.
        FileKind::Submodule => Some(!now.is_dir()),
        FileKind::Link => {
            let Ok(target) = std::fs::read_link(&full) else { return Some(true) };
            let target = target.as_os_str().as_encoded_bytes();
            let mut hasher = entry.id.blob_hasher(target.len() as u64);
            hasher.update(target);
            Some(hasher.finish()? != entry.id)
        }
        FileKind::File if !now.is_file() => Some(true),
        // A file written together with the index may have been written once more in the same tick of the clock.
        FileKind::File if looks_as_staged(&now, entry) && entry.modified < index_written => Some(false),
        FileKind::File => {
            // A link in its path leads out of the work tree.
            let Ok(file) = repository.work_tree.file(&relative) else { return Some(true) };
            Some(!holds(file, now.len(), entry.id)?)
        }
    }
}

fn looks_as_staged(now: &Metadata, entry: &Entry) -> bool {
    modified(now) == Some(entry.modified) && is_length(now, entry)
}

/// Returns the modification time of a file, in seconds and nanoseconds, as in an index.
pub(super) fn modified(metadata: &Metadata) -> Option<(u32, u32)> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    // An index holds the lowest 32 bits.
    Some((u32::try_from(since.as_secs() & u64::from(u32::MAX)).ok()?, since.subsec_nanos()))
}

/// Returns true if the length of the file is unchanged; the index has the lowest 32 bits.
fn is_length(now: &Metadata, entry: &Entry) -> bool {
    now.len() & u64::from(u32::MAX) == u64::from(entry.length)
}

/// Returns true if the content of a file of `length` bytes is stored as the blob `id`.
fn holds(mut file: File, length: u64, id: Id) -> Option<bool> {
    let (mut plain, mut sha256) = (id.blob_hasher(length), digest::Context::new(&digest::SHA256));
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk).ok()?;
        let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else { break };
        plain.update(read);
        sha256.update(read);
    }
    let sha256: String = sha256.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {length}\n");
    if plain.finish()? == id || is_blob(pointer.as_bytes(), id)? {
        return Some(true);
    }
    if length > TEXT_BYTES_MAX {
        return Some(false);
    }
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(length).read_to_end(&mut text).ok()?;
    let mut rest = text.as_slice();
    let unix = std::iter::from_fn(|| {
        let (byte, after) = rest.split_first()?;
        rest = after;
        Some((*byte, after.first() == Some(&b'\n')))
    });
    let unix: Vec<u8> =
        unix.filter(|(byte, is_before_newline)| *byte != b'\r' || !is_before_newline).map(|(b, _)| b).collect();
    is_blob(&unix, id)
}

/// Returns true if `bytes` are the blob `id`.
fn is_blob(bytes: &[u8], id: Id) -> Option<bool> {
    let mut hasher = id.blob_hasher(bytes.len() as u64);
    hasher.update(bytes);
    Some(hasher.finish()? == id)
}

/// Returns true if there is a file that is neither staged nor ignored.
fn has_untracked(work_tree: &Path, index: Arc<Index>, deadline: Instant) -> Option<bool> {
    let has_repository = Arc::new(AtomicBool::new(false));
    let (root, nested) = (work_tree.to_owned(), (Arc::clone(&index), Arc::clone(&has_repository)));
    let mut walk = WalkBuilder::new(work_tree);
    walk.hidden(false).ignore(false).parents(false).require_git(false).follow_links(false);
    walk.filter_entry(move |entry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        if entry.file_name() == GIT || !is_folder || entry.depth() == 0 || !entry.path().join(GIT).exists() {
            return entry.file_name() != GIT;
        }
        // A submodule, or a repository that was not added.
        let (index, has_repository) = &nested;
        let is_known = bytes_of(&root, entry.path()).is_some_and(|path| index.entries.contains_key(&path));
        has_repository.fetch_or(!is_known, Ordering::Relaxed);
        false
    });
    for entry in walk.build() {
        if Instant::now() > deadline {
            return None;
        }
        // Unreadable entries are ignored.
        let Ok(entry) = entry else { continue };
        if has_repository.load(Ordering::Relaxed) {
            return Some(true);
        }
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file() || kind.is_symlink());
        if is_file && !bytes_of(work_tree, entry.path()).is_some_and(|path| index.entries.contains_key(&path)) {
            return Some(true);
        }
    }
    Some(has_repository.load(Ordering::Relaxed))
}

/// Converts a path of the work tree to the form of the index.
fn bytes_of(root: &Path, path: &Path) -> Option<Vec<u8>> {
    let names = path.strip_prefix(root).ok()?.iter().map(|name| name.as_encoded_bytes());
    Some(names.collect::<Vec<_>>().join(&b'/'))
}
