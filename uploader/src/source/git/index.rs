//! Reads the index of a work tree (gitformat-index): the staged files, and their metadata at that time.

use std::collections::BTreeMap;

use super::objects::Id;

/// Bit of the flags: the file counts as unchanged regardless of its content (`git update-index --assume-unchanged`).
const ASSUME_VALID: u16 = 0x8000;
/// Bit of the flags: a second field of flags follows.
const EXTENDED: u16 = 0x4000;
/// Bits of the flags: the side of the entry in a conflict; 0 without a conflict.
const STAGE: u16 = 0x3000;
/// Bit of the second flags: the file is not checked out (`git sparse-checkout`).
const SKIP_WORKTREE: u16 = 0x4000;
/// Bit of the second flags: the file is known, and its content is not staged (`git add --intent-to-add`).
const INTENT_TO_ADD: u16 = 0x2000;
/// Bytes of an entry before its id.
const STAT_BYTES: usize = 40;
/// Upper bound of bytes of a path, as in systems.
const PATH_BYTES_MAX: usize = 4_096;
/// Upper bound of the total length of all paths, as a multiple of the index. A repository can come from a stranger, and
/// paths that share a long prefix with the previous one would fill the memory.
const PATHS_RATIO_MAX: usize = 8;
/// Upper bound of nested folders.
const DEPTH_MAX: usize = 512;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    File,
    Link,
    /// The commit of a submodule.
    Submodule,
}

/// A staged file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The kind.
    pub(super) kind: FileKind,
    /// The mode, as in a tree.
    pub(super) mode: u32,
    /// The id of the content.
    pub(super) id: Id,
    /// The modification time at staging, in seconds and nanoseconds.
    pub(super) modified: (u32, u32),
    /// The lowest 32 bits of the length.
    pub(super) length: u32,
    /// Set if the file is not compared with the work tree.
    pub(super) is_skipped: bool,
}

/// An index.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The files by path.
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
    /// Set if an entry alone shows uncommitted changes: a conflict, or a file to be added.
    pub(super) is_unfinished: bool,
    /// Folders with a known tree, by path: the tree, and the number of its entries.
    pub(super) trees: BTreeMap<Vec<u8>, (Id, usize)>,
    paths_bytes_left: usize,
}

impl Index {
    /// Parses `bytes`, with ids of the length of `like`. `None` for unknown forms, such as a split or a sparse index.
    pub(super) fn parse(bytes: &[u8], like: Id) -> Option<Self> {
        let width = like.as_bytes().len();
        let bytes = bytes.get(..bytes.len().checked_sub(width)?)?;
        let mut rest = bytes;
        if take(&mut rest, 4)? != b"DIRC" {
            return None;
        }
        let version = u32_of(&mut rest)?;
        if !(2..=4).contains(&version) {
            return None;
        }
        let count = u32_of(&mut rest)?;
        let mut index = Self { paths_bytes_left: bytes.len().saturating_mul(PATHS_RATIO_MAX), ..Self::default() };
        let mut path = Vec::new();
        for _ in 0..count {
            let entry = index.entry(&mut rest, version, width, &mut path)?;
            index.take_room(&path)?;
            index.entries.insert(path.clone(), entry);
        }
        while !rest.is_empty() {
            let name = take(&mut rest, 4)?;
            let length = u32_of(&mut rest)?;
            let data = take(&mut rest, usize::try_from(length).ok()?)?;
            match name {
                b"TREE" => index.tree(&mut &*data, width, &[], 0)?,
                // Only extensions with names that begin with a capital may be skipped.
                [first, ..] if first.is_ascii_uppercase() => {}
                _ => return None,
            }
        }
        Some(index)
    }

    fn entry(&mut self, rest: &mut &[u8], version: u32, width: usize, path: &mut Vec<u8>) -> Option<Entry> {
        let start = rest.len();
        let mut stat = take(rest, STAT_BYTES)?;
        // The time of the inode's change, the device, the inode and the owner are not needed.
        take(&mut stat, 8)?;
        let modified = (u32_of(&mut stat)?, u32_of(&mut stat)?);
        take(&mut stat, 8)?;
        let mode = u32_of(&mut stat)?;
        take(&mut stat, 8)?;
        let length = u32_of(&mut stat)?;
        let id = Id::of_bytes(take(rest, width)?)?;
        let flags = u16_of(rest)?;
        let more = if flags & EXTENDED == 0 { 0 } else { u16_of(rest)? };
        if version == 4 {
            // The path shares its beginning with the previous path, except for the given number of bytes.
            let kept = path.len().checked_sub(number(rest)?)?;
            path.truncate(kept);
        } else {
            path.clear();
        }
        let end = rest.iter().position(|byte| *byte == 0)?;
        path.extend_from_slice(take(rest, end)?);
        // The path ends with a NUL; before version 4 up to seven more pad the entry's length to a multiple of eight.
        let padding = if version == 4 { 1 } else { 8 - (start - rest.len()) % 8 };
        if take(rest, padding)?.iter().any(|byte| *byte != 0) || !is_plain(path) {
            return None;
        }
        self.is_unfinished |= flags & STAGE != 0 || more & INTENT_TO_ADD != 0;
        let kind = match mode >> 12 {
            0o10 => FileKind::File,
            0o12 => FileKind::Link,
            0o16 => FileKind::Submodule,
            _ => return None,
        };
        let is_skipped = flags & ASSUME_VALID != 0 || more & SKIP_WORKTREE != 0;
        Some(Entry { kind, mode, id, modified, length, is_skipped })
    }

    /// Counts a stored path.
    fn take_room(&mut self, path: &[u8]) -> Option<()> {
        let left = self.paths_bytes_left.checked_sub(path.len()).filter(|_| path.len() <= PATH_BYTES_MAX)?;
        self.paths_bytes_left = left;
        Some(())
    }

    /// Reads a tree of the tree cache and its subtrees.
    fn tree(&mut self, rest: &mut &[u8], width: usize, above: &[u8], depth: usize) -> Option<()> {
        let name = take_until(rest, 0)?;
        let entries: i64 = std::str::from_utf8(take_until(rest, b' ')?).ok()?.parse().ok()?;
        let trees: usize = std::str::from_utf8(take_until(rest, b'\n')?).ok()?.parse().ok()?;
        let mut path = above.to_vec();
        if depth > 0 {
            path.extend_from_slice(name);
            path.push(b'/');
        }
        if depth > DEPTH_MAX || path.len() > PATH_BYTES_MAX || name.is_empty() != (depth == 0) {
            return None;
        }
        // A negative count marks an invalid entry, without an id.
        if let Ok(entries) = usize::try_from(entries) {
            self.take_room(&path)?;
            self.trees.insert(path.clone(), (Id::of_bytes(take(rest, width)?)?, entries));
        }
        (0..trees).try_for_each(|_| self.tree(rest, width, &path, depth + 1))
    }
}

/// Returns true if a path stays in the work tree and outside of the repository.
fn is_plain(path: &[u8]) -> bool {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.eq_ignore_ascii_case(b".git");
    path.split(|byte| *byte == b'/').all(is_name)
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

/// Takes the text before `end`, and `end`.
fn take_until<'b>(rest: &mut &'b [u8], end: u8) -> Option<&'b [u8]> {
    let taken = take(rest, rest.iter().position(|byte| *byte == end)?)?;
    take(rest, 1)?;
    Some(taken)
}

fn u32_of(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

fn u16_of(rest: &mut &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(take(rest, 2)?.try_into().ok()?))
}

/// Reads a number of variable length, highest seven bits first, like the distance of a delta in a pack.
fn number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    loop {
        let byte = *take(rest, 1)?.first()?;
        number = number.checked_mul(128)? | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number);
        }
        number = number.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn like() -> Id {
        "a".repeat(40).parse().unwrap()
    }

    /// Returns an index of version 2 with a single entry of this path.
    fn with_path(path: &str) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
        let mut entry = vec![0; STAT_BYTES];
        entry[24..28].copy_from_slice(&0o100_644_u32.to_be_bytes());
        entry.extend_from_slice(&[7; 20]);
        entry.extend_from_slice(&u16::try_from(path.len()).unwrap().to_be_bytes());
        entry.extend_from_slice(path.as_bytes());
        entry.resize(entry.len() + 8 - entry.len() % 8, 0);
        bytes.extend(entry);
        bytes.extend_from_slice(&[0; 20]);
        bytes
    }

    #[test]
    fn a_path_that_leads_out_of_the_work_tree_is_refused() {
        for path in ["a", "a/b", "a/.gitignore", "..."] {
            let index = Index::parse(&with_path(path), like()).unwrap();
            assert_eq!(index.entries.keys().next().unwrap(), path.as_bytes());
        }
        for path in ["../a", "a/../../b", "/etc/passwd", ".git/config", "a/.GIT/config", "a//b", "."] {
            assert!(Index::parse(&with_path(path), like()).is_none(), "{path}");
        }
    }

    #[test]
    fn what_is_cut_off_or_of_an_unknown_form_is_refused() {
        let whole = with_path("a/b");
        for end in 0..whole.len() {
            assert!(Index::parse(&whole[..end], like()).is_none(), "{end}");
        }
        let with = |name: &[u8]| {
            let mut bytes = whole[..whole.len() - 20].to_vec();
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0, 0, 0, 1, 9]);
            bytes.extend_from_slice(&[0; 20]);
            Index::parse(&bytes, like())
        };
        assert!(with(b"EOIE").is_some());
        assert!(with(b"link").is_none(), "a split index");
    }

    /// Returns an index of version 4 with paths of common beginnings, and with the cached trees of `trees`.
    fn of_version_4(paths: &[&str], trees: &[u8]) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x04".to_vec();
        bytes.extend(u32::try_from(paths.len()).unwrap().to_be_bytes());
        for end in paths {
            let mut stat = [0; STAT_BYTES];
            stat[24..28].copy_from_slice(&0o100_644_u32.to_be_bytes());
            bytes.extend(stat);
            bytes.extend([7; 20]);
            bytes.extend([0, 9, 0]);
            bytes.extend(end.as_bytes());
            bytes.push(0);
        }
        if !trees.is_empty() {
            bytes.extend(b"TREE");
            bytes.extend(u32::try_from(trees.len()).unwrap().to_be_bytes());
            bytes.extend(trees);
        }
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn paths_take_no_more_memory_than_the_index_explains() {
        let paths: Vec<&str> = ["a/b"].into_iter().chain(std::iter::repeat_n("c", 100)).collect();
        assert_eq!(Index::parse(&of_version_4(&paths, b""), like()).unwrap().entries.len(), 101);
        let long = "a".repeat(4_000);
        let paths: Vec<&str> = [long.as_str()].into_iter().chain(std::iter::repeat_n("c", 90)).collect();
        assert!(Index::parse(&of_version_4(&paths, b""), like()).is_none());
        assert!(Index::parse(&of_version_4(&["a".repeat(5_000).as_str()], b""), like()).is_none());
    }

    #[test]
    fn trees_are_no_deeper_than_the_limit() {
        let nested = |name: &str, depth: usize| {
            let root = b"\0-1 1\n".to_vec();
            let below = format!("{name}\0-1 1\n").repeat(depth - 1) + &format!("{name}\0-1 0\n");
            [root, below.into_bytes()].concat()
        };
        assert!(Index::parse(&of_version_4(&["a"], &nested("d", 500)), like()).is_some());
        assert!(Index::parse(&of_version_4(&["a"], &nested("d", 600)), like()).is_none());
        // Without names the paths do not grow.
        assert!(Index::parse(&of_version_4(&["a"], &nested("", 1_000_000)), like()).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(flips in proptest::collection::vec((0_usize..100, any::<u8>()), 0..6)) {
            let mut bytes = with_path("a/b");
            for (at, byte) in flips {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Index::parse(&bytes, like());
        }
    }
}
