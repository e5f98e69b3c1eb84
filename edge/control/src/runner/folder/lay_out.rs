//! Lays out the code of a backend: files, links and folders, whole or not at all.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Code, Folders, blocking, interpreters};
use crate::runner::error::Error;
use devanture_base::durable::{self, Owner};
use devanture_store::blobs::{Key, ReadAt};

/// Files that are copied at once.
const COPIES_AT_ONCE: usize = 8;
/// Bytes copied at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// The files to lay out.
pub(in crate::runner) struct Layout<'l> {
    pub(in crate::runner) app: &'l AppName,
    pub(in crate::runner) place: &'l str,
    /// Whose settings it has: an environment's, or those of `preview`.
    pub(in crate::runner) settings_place: &'l str,
    /// The name of the folder.
    pub(in crate::runner) digest: &'l Digest,
    pub(in crate::runner) folder: ServerFolder,
    /// The user that runs it, where it is another than the edge's.
    pub(in crate::runner) uid: Option<u32>,
    /// The name of the folder that stays, and where it is.
    pub(in crate::runner) persist: Option<(&'l BundlePath, &'l Path)>,
}

impl Folders {
    /// Lays out all files of a backend in `draft`, with links to the equal ones of `earlier` code.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Interpreter`]; what is half there stays for the caller to remove.
    pub(super) async fn lay_out(&self, draft: &Path, layout: &Layout<'_>, earlier: &[Arc<Code>]) -> Result<(), Error> {
        let folders = folders_of(draft, layout)?;
        let made = folders.clone();
        blocking(move || {
            let mut made = made.iter();
            made.try_for_each(|folder| Ok(durable::make_folder_as(folder, 0o700, Owner::default())?))
        })
        .await?;
        let mut same: HashMap<(Digest, bool), PathBuf> = HashMap::new();
        for code in earlier {
            // Those of an environment may have been rewritten: their bytes are not those of their hashes.
            let files = code.folder.files.iter().filter(|(path, _)| !interpreters::is_of_environment(path));
            for (path, file) in files {
                same.entry((file.hash, file.run)).or_insert_with(|| code.path.join(path.as_str()));
            }
        }
        // Made before they are run: a closure in the stream would keep the future from being `Send`.
        let rewritten = self.interpreters.environments(&layout.folder);
        let files = layout.folder.files.iter().filter(|(path, _)| !rewritten.contains_key(path));
        let copies: Vec<_> = files
            .map(|(path, file)| self.file(draft.join(path.as_str()), file, same.get(&(file.hash, file.run)).cloned()))
            .collect();
        stream::iter(copies).buffer_unordered(COPIES_AT_ONCE).try_collect::<Vec<()>>().await?;
        for (path, home) in &rewritten {
            if let Some(file) = layout.folder.files.get(*path) {
                self.environment(draft.join(path.as_str()), file, home).await?;
            }
        }
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (path, to) in &layout.folder.links {
            links.push((draft.join(path.as_str()), self.interpreters.target(path, to)?));
        }
        links.extend(layout.persist.map(|(path, to)| (draft.join(path.as_str()), to.to_owned())));
        let draft = draft.to_owned();
        blocking(move || {
            for (path, to) in links {
                durable::link_to(&to, &path)?;
            }
            // The deepest first: what is closed is not gone into any more.
            for folder in folders.iter().rev() {
                durable::make_folder_as(folder, 0o555, Owner::default())?;
            }
            Ok(durable::sync_file_system(&draft)?)
        })
        .await
    }

    async fn file(&self, path: PathBuf, file: &ServerFile, same: Option<PathBuf>) -> Result<(), Error> {
        let mode = mode_of(file);
        if let Some(same) = same {
            let to = path.clone();
            // Earlier versions of the edge gave other modes.
            let is_same =
                move |same: &Path| std::fs::symlink_metadata(same).is_ok_and(|found| found.mode() & 0o777 == mode);
            if blocking(move || Ok(is_same(&same) && durable::link_file(&same, &to))).await? {
                return Ok(());
            }
        }
        let from = self.blobs.open(Key::Blob(file.hash)).await?;
        blocking(move || Ok(durable::new_file(&path, mode, Owner::default(), |to| copy(&*from, to))?)).await
    }

    /// Lays out the `pyvenv.cfg` of a virtual environment, for the interpreter in `home`.
    async fn environment(&self, path: PathBuf, file: &ServerFile, home: &Path) -> Result<(), Error> {
        let text = self.blobs.get(Key::Blob(file.hash)).await?;
        let text = interpreters::with_home(&String::from_utf8_lossy(&text), home);
        let mode = mode_of(file);
        let write = move |to: &mut std::fs::File| to.write_all(text.as_bytes());
        blocking(move || Ok(durable::new_file(&path, mode, Owner::default(), write)?)).await
    }
}

/// The mode of a file of the code. Its owner, the edge, may write, so that a copy which a backend makes with the mode
/// of the file is one that the backend may write; the file itself is not the backend's, see [`Folders::code_access`].
fn mode_of(file: &ServerFile) -> u32 {
    if file.run { 0o755 } else { 0o644 }
}

/// Every folder of a backend in `draft`, parents first.
fn folders_of(draft: &Path, layout: &Layout<'_>) -> Result<Vec<PathBuf>, Error> {
    let persist = layout.persist.map(|(path, _)| path);
    if let Some(persist) = persist {
        // A bundle of an earlier release may not have been looked at for that.
        if let Some(taken) = layout.folder.in_the_way_of(persist) {
            return Err(Error::Folder(format!("`persist = \"{persist}\"` is in the way of `{taken}` of the bundle")));
        }
    }
    let parents = parents_in(&layout.folder).chain(parents(persist));
    let mut folders: Vec<PathBuf> = parents.map(|parent| draft.join(parent)).collect();
    folders.push(draft.to_owned());
    folders.sort();
    folders.dedup();
    Ok(folders)
}

/// Number of folders that the files and links of a backend lie in; those in which both lie count twice.
pub(crate) fn folder_count(folder: &ServerFolder) -> u64 {
    u64::try_from(parents_in(folder).count()).unwrap_or(u64::MAX)
}

fn parents_in(folder: &ServerFolder) -> impl Iterator<Item = &str> {
    parents(folder.files.keys()).chain(parents(folder.links.keys()))
}

/// The folders that paths lie in: each once, where the paths are sorted. A path of 4 KiB may lie in two thousand.
fn parents<'p>(paths: impl IntoIterator<Item = &'p BundlePath>) -> impl Iterator<Item = &'p str> {
    let mut before = "";
    paths.into_iter().flat_map(move |path| {
        let path = path.as_str();
        let shared = path.bytes().zip(before.bytes()).take_while(|(one, other)| one == other).count();
        before = path;
        // What it shares with the path before came with that.
        let ends = path.match_indices('/').map(|(at, _)| at).filter(move |at| *at >= shared);
        ends.filter_map(move |at| path.get(..at))
    })
}

fn copy(from: &dyn ReadAt, to: &mut std::fs::File) -> std::io::Result<()> {
    let mut at = 0;
    while at < from.size() {
        let piece = from.read_at(at, PIECE_BYTES)?;
        if piece.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&piece)?;
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_of_sorted_paths_comes_once() {
        let mut paths: Vec<BundlePath> =
            ["a/b/c", "a/b-c/d", "a/b/d/e", "a/bc", "f", "g/h"].map(|path| path.parse().unwrap()).into();
        paths.sort();
        let mut found: Vec<&str> = parents(&paths).collect();
        found.sort_unstable();
        assert_eq!(found, ["a", "a/b", "a/b-c", "a/b/d", "g"]);
    }
}
