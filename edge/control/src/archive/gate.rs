//! Admission of archive entries: names, kinds and sizes, checked before any byte is stored.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::io;

use devanture_config::limits::Limits;
use devanture_config::manifest::LINK_BYTES_MAX;
use devanture_config::manifest::halves::Half;
use devanture_config::manifest::leave_out::left_out_part;
use devanture_config::path::{BadPath, BundlePath};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;

use super::backend::{self, Part};
use crate::ledger::Error;

/// Deepest nesting of folders, equal to the limit of the command line.
const DEPTH_MAX: usize = 256;
/// Approximate manifest bytes of a file besides its path: hash, size, and JSON syntax.
pub(super) const MANIFEST_ENTRY_BYTES: u64 = 110;

/// Returns the approximate manifest bytes of files with the paths.
pub(super) fn manifest_bytes<'p>(paths: impl IntoIterator<Item = &'p BundlePath>) -> u64 {
    let of = |path: &BundlePath| MANIFEST_ENTRY_BYTES.saturating_add(path.as_str().len() as u64);
    paths.into_iter().map(of).fold(0, u64::saturating_add)
}

/// Declared kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Device,
    Fifo,
    File,
    Folder,
    HardLink,
    Other,
    Sparse,
    SymbolicLink,
}

/// Decision on an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// File of the bundle.
    Take(BundlePath),
    /// Link of a backend's folder.
    Link(BundlePath),
    /// Folder, or a name excluded from all bundles.
    Skip,
}

/// Admits entries.
pub(super) struct Gate<'l> {
    limits: &'l Limits,
    /// The sent half, if only one half is sent.
    half: Option<Half>,
    entries: u64,
    files: HashSet<BundlePath>,
    folders: HashSet<BundlePath>,
    /// Bytes of all files.
    bytes: u64,
    /// Bytes of the manifest.
    manifest_bytes: u64,
    largest: Option<(BundlePath, u64)>,
}

impl<'l> Gate<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            half: None,
            entries: 0,
            files: HashSet::new(),
            folders: HashSet::new(),
            bytes: 0,
            manifest_bytes: 0,
            largest: None,
        }
    }

    /// Restricts the gate to one half.
    pub(super) fn of_half(self, half: Option<Half>) -> Self {
        Self { half, ..self }
    }

    /// Decides on the entry `name`, as spelled in the archive, of `size` bytes.
    pub(super) fn entry(&mut self, name: &[u8], kind: EntryKind, size: u64) -> Result<Verdict, Error> {
        self.entries += 1;
        if self.entries > entries_max(self.limits) {
            let detail = format!("The archive has more than {} entries.", entries_max(self.limits));
            return Err(too_large(detail, "bundle_files_max").into());
        }
        let Some(path) = self.path(name)? else { return Ok(Verdict::Skip) };
        let is_skipped = match self.half {
            Some(Half::Backend) => backend::part(path.as_str()) == Part::Other,
            Some(Half::Front) | None => left_out_part(path.as_str()).is_some(),
        };
        if is_skipped {
            return Ok(Verdict::Skip);
        }
        let is_in_backend = || backend::part(path.as_str()) == Part::Folder;
        match (kind, self.half) {
            (EntryKind::File, _) => self.take(&path, size).map(|()| Verdict::Take(path)),
            (EntryKind::Folder, _) => {
                self.folders.insert(path);
                Ok(Verdict::Skip)
            }
            (EntryKind::SymbolicLink, Some(Half::Backend)) if is_in_backend() => {
                self.take(&path, 0).map(|()| Verdict::Link(path))
            }
            // The backend's folder may accompany the front.
            (EntryKind::SymbolicLink, Some(Half::Front)) if is_in_backend() => Ok(Verdict::Skip),
            (kind, _) => Err(refused(&path, kind).into()),
        }
    }

    /// Returns the path in the bundle; `None` for the root.
    fn path(&self, name: &[u8]) -> Result<Option<BundlePath>, Error> {
        let exceeds = |length: usize, max: u64| u64::try_from(length).is_ok_and(|length| length > max);
        if exceeds(name.len(), self.limits.path_bytes_max) {
            let detail = format!("The name `{}` has {} bytes.", shown(name), name.len());
            return Err(too_long(detail, "path_bytes_max").into());
        }
        let Ok(text) = std::str::from_utf8(name) else {
            let detail = format!("The name `{}` in the archive is not UTF-8.", shown(name));
            return Err(Problem::new(Code::BadPath, detail)
                .hint("make the archive with a tool that writes names in UTF-8")
                .into());
        };
        if text.starts_with('/') {
            let detail = format!("`{}` in the archive is an absolute path.", shown(name));
            return Err(Problem::new(Code::PathEscapes, detail)
                .hint("make the archive from inside the folder: `tar -C www -cz .`")
                .into());
        }
        // `tar -C www -c .` prefixes every name with `./`.
        let mut rest = text;
        while let Some(shorter) = rest.strip_prefix("./") {
            rest = shorter.trim_start_matches('/');
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if (rest.is_empty() && !text.is_empty()) || rest == "." {
            return Ok(None);
        }
        let path = BundlePath::normalised(rest).map_err(|error| wrong(name, &error))?;
        let longest = path.as_str().split('/').map(str::len).max().unwrap_or(0);
        if exceeds(longest, self.limits.segment_bytes_max) {
            let detail = format!("A segment of `{}` has {longest} bytes.", shown(name));
            return Err(too_long(detail, "segment_bytes_max").into());
        }
        if path.as_str().split('/').count() > DEPTH_MAX {
            let detail = format!("`{}` lies below more than {DEPTH_MAX} folders.", shown(name));
            return Err(Problem::new(Code::BadPath, detail).into());
        }
        Ok(Some(path))
    }

    /// Counts an admitted file of `size` bytes, or an admitted link.
    fn take(&mut self, path: &BundlePath, size: u64) -> Result<(), Error> {
        let limits = self.limits;
        if size > limits.file_bytes_max {
            return Err(too_large(format!("`{path}` has {size} bytes."), "file_bytes_max").into());
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > limits.bundle_bytes_max {
            let detail = format!("With `{path}` the bundle has more than {} bytes.", limits.bundle_bytes_max);
            return Err(too_large(detail, "bundle_bytes_max").into());
        }
        self.count(path, manifest_bytes([path]))?;
        if !self.files.insert(path.clone()) {
            let detail = format!("`{path}` stands twice in the archive, perhaps spelled otherwise in Unicode.");
            return Err(Problem::new(Code::DuplicatePath, detail).hint("keep one of the two").into());
        }
        if self.files.len() as u64 > limits.bundle_files_max {
            let detail =
                format!("With `{path}` the bundle has more than {}.", counted(limits.bundle_files_max, "file"));
            return Err(too_large(detail, "bundle_files_max").into());
        }
        if self.largest.as_ref().is_none_or(|(_, largest)| size > *largest) {
            self.largest = Some((path.clone(), size));
        }
        Ok(())
    }

    /// Admits the target of the link `path`, already admitted by [`Gate::entry`].
    pub(super) fn link(&mut self, path: &BundlePath, target: &str) -> Result<(), Error> {
        if target.len() > LINK_BYTES_MAX {
            let detail = format!("The link `{path}` in the archive leads to a name of {} bytes.", target.len());
            let hint = format!("{LINK_BYTES_MAX} bytes are the most");
            return Err(Problem::new(Code::PathTooLong, detail).hint(hint).into());
        }
        self.count(path, target.len() as u64)
    }

    /// Counts the manifest bytes of `path`.
    fn count(&mut self, path: &BundlePath, bytes: u64) -> Result<(), Error> {
        let max = self.limits.manifest_bytes_max;
        self.manifest_bytes = self.manifest_bytes.saturating_add(bytes);
        if self.manifest_bytes > max {
            let detail = format!("With `{path}` the manifest has more than {max} bytes.");
            return Err(too_large(detail, "manifest_bytes_max").into());
        }
        Ok(())
    }

    /// Returns the number of folders without any of `paths`, sorted by [`by_segments`]. Folders with files cost no
    /// extra.
    fn empty_folders(&self, paths: &[&str]) -> usize {
        let holds = |folder: &str| {
            let behind = paths.partition_point(|path| by_segments(path, folder) != Ordering::Greater);
            paths.get(behind).is_some_and(|path| is_below(folder, path))
        };
        self.folders.iter().filter(|folder| !holds(folder.as_str())).count()
    }

    /// Checks the whole archive, of packed length `packed`.
    pub(super) fn finish(&self, packed: u64) -> Result<(), Error> {
        if self.bytes > packed.saturating_mul(self.limits.archive_ratio_max) {
            let largest = self.largest.as_ref().map_or("", |(path, _)| path.as_str());
            let detail = format!(
                "The archive has {packed} bytes and unpacks to {}, more than {} times as many; `{largest}` is the largest file.",
                self.bytes, self.limits.archive_ratio_max
            );
            return Err(bomb(detail).into());
        }
        let mut paths: Vec<&str> = self.files.iter().map(BundlePath::as_str).collect();
        paths.sort_unstable_by(|a, b| by_segments(a, b));
        let files = self.files.len().saturating_add(self.empty_folders(&paths));
        if files as u64 > self.limits.bundle_files_max {
            let most = self.limits.bundle_files_max;
            let files = counted(files, "file");
            let detail = format!("The archive has {files} and empty folders; {most} are allowed.");
            return Err(too_large(detail, "bundle_files_max").into());
        }
        // Sorted so that entries below a path follow the path directly.
        let implied = paths.windows(2).find_map(|pair| match pair {
            [path, other] if is_below(path, other) => Some(*path),
            _ => None,
        });
        let explicit = || self.folders.iter().find(|folder| self.files.contains(*folder)).map(BundlePath::as_str);
        match implied.or_else(explicit) {
            Some(path) => {
                let detail = format!("`{path}` is both a file and a folder in the archive.");
                Err(Problem::new(Code::DuplicatePath, detail).into())
            }
            None => Ok(()),
        }
    }
}

fn is_below(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Orders paths by segments, with `/` before every other character.
fn by_segments(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

fn wrong(name: &[u8], error: &BadPath) -> Problem {
    let why = match error {
        BadPath::Backslash(_) => "holds a backslash, which some systems read as /",
        BadPath::Control(_) => "holds a control character",
        BadPath::Dots(_) => "holds the segment . or .., which would leave its place",
        BadPath::Empty => "is empty",
        BadPath::EmptySegment(_) => "holds an empty segment",
        BadPath::NotNfc(_) => "is not in Unicode's form NFC",
    };
    let code = if matches!(error, BadPath::Dots(_)) { Code::PathEscapes } else { Code::BadPath };
    Problem::new(code, format!("The name `{}` in the archive {why}.", shown(name)))
}

fn refused(path: &BundlePath, kind: EntryKind) -> Problem {
    let (what, hint) = match kind {
        EntryKind::Device => ("a device", "leave it out"),
        EntryKind::Fifo => ("a pipe", "leave it out"),
        EntryKind::HardLink => ("a hard link", "put copies in: `tar --hard-dereference`"),
        EntryKind::Sparse => ("a sparse file", "make the archive without --sparse"),
        EntryKind::SymbolicLink => ("a symbolic link", "put copies in: `tar -h`, or `zip` without -y"),
        EntryKind::File | EntryKind::Folder | EntryKind::Other => ("of a kind that is not known here", "leave it out"),
    };
    let code = match kind {
        EntryKind::HardLink | EntryKind::SymbolicLink => Code::ArchiveLink,
        // An ordinary file, in an unsupported tar format.
        EntryKind::Sparse => Code::BadArchive,
        EntryKind::Device | EntryKind::Fifo | EntryKind::File | EntryKind::Folder | EntryKind::Other => {
            Code::ArchiveSpecial
        }
    };
    Problem::new(code, format!("`{path}` in the archive is {what}; a bundle holds files alone.")).hint(hint)
}

// Refusals of archives, as problems for the client.

/// Reason for an early end of unpacking.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The input or the storage stopped; the other end knows the reason.
    BrokenOff,
    /// Fault of the archive.
    Problem(Box<Problem>),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Problem(error.0)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadArchive, detail)
}

/// Converts an error of a truncated or corrupt archive.
pub(super) fn broken(error: &io::Error, detail: impl Into<String>) -> Problem {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole");
    }
    damaged(detail)
}

pub(super) fn cut_off() -> Problem {
    let detail = "The archive is cut off: it ends before its end is marked.";
    Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole")
}

pub(crate) fn damaged(detail: impl Into<String>) -> Problem {
    Problem::new(Code::ArchiveDamaged, detail).hint("create the archive again, and resend it")
}

pub(super) fn bomb(detail: impl Into<String>) -> Problem {
    Problem::new(Code::ArchiveBomb, detail).hint("`archive_ratio_max` in edge.toml is the limit")
}

pub(crate) fn too_large(detail: impl Into<String>, limit: &str) -> Problem {
    Problem::new(Code::BundleTooLarge, detail).hint(format!("`{limit}` in edge.toml is the limit"))
}

pub(super) fn too_long(detail: impl Into<String>, limit: &str) -> Problem {
    Problem::new(Code::PathTooLong, detail).hint(format!("`{limit}` in edge.toml is the limit"))
}

/// Formats a name in an archive for display: bounded, without control characters.
pub(super) fn shown(name: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Problem of a truncated archive.
pub(crate) fn broken_off() -> Error {
    Problem::new(Code::BadRequest, "The request's body broke off.").into()
}

// Size limits of an archive, derived from the limits of a bundle.

/// Returns the maximum number of entries, including folders and excluded files: each costs some memory and time.
pub(super) fn entries_max(limits: &Limits) -> u64 {
    limits.bundle_files_max.saturating_mul(4).saturating_add(1_000)
}

/// Returns the maximum length of an archive, packed or unpacked: its files, and headers for each entry.
pub(crate) fn archive_bytes_max(limits: &Limits) -> u64 {
    const ENTRY_BYTES: u64 = 2_048;
    limits.bundle_bytes_max.saturating_add(entries_max(limits).saturating_mul(ENTRY_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_empty_where_no_file_lies_below_it() {
        let limits = Limits { bundle_files_max: 6, ..Limits::default() };
        let mut gate = Gate::new(&limits);
        for file in ["a-b/x", "a/b/c", "a.d/y", "ab"] {
            gate.entry(file.as_bytes(), EntryKind::File, 0).unwrap();
        }
        for folder in ["a", "a/b", "a-b", "a.d", "a/b/d", "z"] {
            gate.entry(folder.as_bytes(), EntryKind::Folder, 0).unwrap();
        }
        gate.finish(1).unwrap();
        gate.entry(b"b", EntryKind::Folder, 0).unwrap();
        assert_eq!(gate.finish(1).unwrap_err().0.code, Code::BundleTooLarge, "three of them are empty");
    }
}
