//! Lays out the code of a backend atomically: files, links and folders.

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

/// Concurrently copied files.
const COPIES_AT_ONCE: usize = 8;
/// Bytes per copy step.
const PIECE_BYTES: usize = 1024 * 1024;

/// Files to lay out.
pub(in crate::runner) struct Layout<'l> {
    pub(in crate::runner) app: &'l AppName,
    pub(in crate::runner) place: &'l str,
    /// Environment of the settings, or `preview`.
    pub(in crate::runner) settings_place: &'l str,
    /// Name of the folder.
    pub(in crate::runner) digest: &'l Digest,
    pub(in crate::runner) folder: ServerFolder,
    /// User of the instances, if different from the edge's.
    pub(in crate::runner) uid: Option<u32>,
    /// Name and location of the persistent folder.
    pub(in crate::runner) persist: Option<(&'l BundlePath, &'l Path)>,
}

impl Folders {
    /// Lays out all files of a backend in `draft`, hard-linking files equal to those of `earlier` code.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Interpreter`]; the caller removes a partial draft.
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
            // `pyvenv.cfg` files may have been rewritten, and then differ from their hashes.
            let files = code.folder.files.iter().filter(|(path, _)| !interpreters::is_of_environment(path));
            for (path, file) in files {
                same.entry((file.hash, file.run)).or_insert_with(|| code.path.join(path.as_str()));
            }
        }
        // Collected before running: a closure in the stream would make the future `!Send`.
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
            // Deepest first: a closed folder cannot be entered again.
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
            // Earlier versions of the edge set other modes.
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

/// Returns the mode of a code file. The owner, the edge, may write, so that a backend may write its own copies made
/// with the same mode; the file itself is not the backend's, see [`Folders::code_access`].
fn mode_of(file: &ServerFile) -> u32 {
    if file.run { 0o755 } else { 0o644 }
}

/// Returns every folder of a backend in `draft`, parents first.
fn folders_of(draft: &Path, layout: &Layout<'_>) -> Result<Vec<PathBuf>, Error> {
    let persist = layout.persist.map(|(path, _)| path);
    if let Some(persist) = persist {
        // Bundles of an earlier release may not have been checked.
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

/// Returns the number of folders of a backend's files and links; folders of both count twice.
pub(crate) fn folder_count(folder: &ServerFolder) -> u64 {
    u64::try_from(parents_in(folder).count()).unwrap_or(u64::MAX)
}

fn parents_in(folder: &ServerFolder) -> impl Iterator<Item = &str> {
    parents(folder.files.keys()).chain(parents(folder.links.keys()))
}

/// Returns the folders of paths, each once if the paths are sorted. A path of 4 KiB may lie in two thousand folders.
fn parents<'p>(paths: impl IntoIterator<Item = &'p BundlePath>) -> impl Iterator<Item = &'p str> {
    let mut before = "";
    paths.into_iter().flat_map(move |path| {
        let path = path.as_str();
        let shared = path.bytes().zip(before.bytes()).take_while(|(one, other)| one == other).count();
        before = path;
        // Shared folders were returned with the previous path.
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
