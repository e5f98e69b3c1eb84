//! Finds the repository of a folder, and its checked-out commit and branch.
//!
//! Only plain data are read: `HEAD`, refs and `packed-refs`. A bare repository is never accepted, and a `.git` that
//! names a repository elsewhere counts only if that repository names it back: a pull request can bring both as files.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Component, Path, PathBuf};

use devanture_project::beneath::Folder;

use super::changes::modified;
use super::objects::{Id, Store};
use crate::platform::{is_own, owner_of};

/// The name of a repository's folder in its work tree.
pub(super) const GIT: &str = ".git";
/// Upper bound of bytes of a one-line file, such as `HEAD`.
const LINE_BYTES_MAX: u64 = 4 * 1024;
/// Most bytes of `packed-refs`.
const PACKED_REFS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Upper bound of a chain of symbolic refs.
const SYMBOLIC_REFS_MAX: usize = 5;
/// Upper bound of nested repositories: submodules of submodules.
const NESTING_MAX: usize = 16;

/// A repository with a work tree.
#[derive(Debug)]
pub(super) struct Repository {
    /// The work tree.
    pub(super) work_tree: Folder,
    /// The folder of `HEAD` and the index: `.git`, or the folder of a linked work tree or submodule.
    git: Folder,
    /// The folder of refs and objects. For a linked work tree that of the main work tree.
    common: Folder,
}

/// The checked-out commit or branch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The commit.
    pub(super) commit: Id,
    /// The branch, unless the head is detached.
    pub(super) branch: Option<String>,
}

impl Repository {
    /// Finds the repository with `folder` in its work tree; the search ends below each of `ceilings`.
    pub(super) fn discover(folder: &Path, ceilings: &[PathBuf]) -> Option<Self> {
        let folder = fs::canonicalize(folder).ok()?;
        let owner = owner_of(&folder.metadata().ok()?);
        Self::enclosing(&folder, ceilings, owner, 0)
    }

    fn enclosing(folder: &Path, ceilings: &[PathBuf], owner: Option<u32>, nesting: usize) -> Option<Self> {
        let is_below_ceiling = |at: &&Path| *at == folder || !ceilings.iter().any(|ceiling| ceiling == at);
        let mut candidates = folder.ancestors().take_while(is_below_ceiling);
        let (work_tree, found) = candidates
            .find_map(|at| Some((at, at.join(GIT).symlink_metadata().ok()?)))
            .filter(|_| nesting < NESTING_MAX)?;
        // A repository of a different user was not made for this folder: any user can put one into `/tmp`.
        if owner_of(&found) != owner && !is_own(&found) {
            return None;
        }
        let tree = Folder::open(work_tree).ok()?;
        if found.is_dir() {
            let git = tree.folder(Path::new(GIT)).ok()?;
            return Some(Self { work_tree: tree, common: git.clone(), git });
        }
        let target = first_line(&tree, Path::new(GIT))?;
        let target = work_tree.join(target.strip_prefix("gitdir: ")?);
        let git = Folder::open(&fs::canonicalize(target).ok()?).ok()?;
        if let Some(common) = linked_to(&git, &work_tree.join(GIT)) {
            return Some(Self { work_tree: tree, git, common });
        }
        // Otherwise a submodule, with a repository inside that of the surrounding work tree.
        let around = Self::enclosing(work_tree.parent()?, ceilings, owner, nesting + 1)?;
        let is_within =
            [&around.git, &around.common].iter().any(|known| git.path().starts_with(known.path().join("modules")));
        is_within.then(|| Self { work_tree: tree, common: git.clone(), git })
    }

    /// Returns the checked-out commit and branch; `None` before the first commit.
    pub(super) fn head(&self) -> Option<Head> {
        let mut line = first_line(&self.git, Path::new("HEAD"))?;
        let mut branch = None;
        for _ in 0..SYMBOLIC_REFS_MAX {
            let Some(name) = line.strip_prefix("ref: ").map(str::trim) else { break };
            if !is_ref_name(name) {
                return None;
            }
            branch = branch.or_else(|| name.strip_prefix("refs/heads/").map(str::to_owned));
            line = first_line(&self.common, Path::new(name)).or_else(|| self.packed_ref(name))?;
        }
        Some(Head { commit: line.trim().parse().ok()?, branch })
    }

    /// The entry of `packed-refs` for the ref `name`.
    fn packed_ref(&self, name: &str) -> Option<String> {
        let file = self.common.file(Path::new("packed-refs")).ok()?;
        let mut lines = BufReader::new(file.take(PACKED_REFS_BYTES_MAX)).split(b'\n');
        lines.find_map(|line| {
            let line = String::from_utf8(line.ok()?).ok()?;
            line.split_once(' ').filter(|(_, own)| *own == name).map(|(id, _)| id.to_owned())
        })
    }

    /// The objects of the repository.
    pub(super) fn objects(&self) -> Option<Store> {
        Store::open(&self.common.folder(Path::new("objects")).ok()?)
    }

    /// Returns the bytes of the index, up to `bytes_max`, and its modification time.
    pub(super) fn index(&self, bytes_max: u64) -> Option<(Vec<u8>, (u32, u32))> {
        let file = self.git.file(Path::new("index")).ok()?;
        let written = modified(&file.metadata().ok()?)?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= bytes_max).then_some((bytes, written))
    }
}

/// Returns the common folder of a linked work tree with the folder `git`, if both name each other.
fn linked_to(git: &Folder, dot_git: &Path) -> Option<Folder> {
    let back = fs::canonicalize(git.path().join(first_line(git, Path::new("gitdir"))?)).ok()?;
    let common = fs::canonicalize(git.path().join(first_line(git, Path::new("commondir"))?)).ok()?;
    let is_whole = back == dot_git && git.path().parent() == Some(&common.join("worktrees"));
    is_whole.then(|| Folder::open(&common).ok()).flatten()
}

fn first_line(folder: &Folder, file: &Path) -> Option<String> {
    let mut text = String::new();
    folder.file(file).ok()?.take(LINE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Returns true if `name` is the full name of a ref (git-check-ref-format), so that it leads to no other file.
fn is_ref_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let is_plain = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    let is_normal = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    name.starts_with("refs/")
        && name.split('/').all(is_part)
        && name.chars().all(is_plain)
        && !name.contains("..")
        && is_normal
}

#[cfg(test)]
mod tests {
    use super::is_ref_name;

    #[test]
    fn the_name_of_a_ref_leads_to_no_other_file() {
        for name in ["refs/heads/main", "refs/heads/a/b-c.d", "refs/remotes/origin/é"] {
            assert!(is_ref_name(name), "{name}");
        }
        for name in [
            "main",
            "refs/",
            "refs/heads/",
            "refs/../config",
            "refs/heads/.invalid",
            "refs//a",
            "/refs/a",
            "refs/a b",
            "refs/a\u{1b}[2J",
            "refs/a.lock",
            "refs\\..\\a",
        ] {
            assert!(!is_ref_name(name), "{name}");
        }
    }
}
