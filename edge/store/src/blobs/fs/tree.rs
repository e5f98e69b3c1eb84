//! The hash tree of a stored file: the expected hash of each group of bytes, so that a piece of the file can be checked
//! alone.
//!
//! BLAKE3 is a tree of chunks of 1 KiB. A group is a whole subtree of 64 chunks; only the last group is shorter. The
//! groups' values are computed in the one pass that checks the whole file, and stay in memory: 36 bytes for each 64
//! KiB.

use std::io::{ErrorKind, Read};
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use devanture_config::Digest;

/// Bytes of a group: a power of two, about as much as a response reads at once.
pub(super) const GROUP_BYTES: usize = 64 * 1_024;
/// Seconds for which a checked group counts as whole while its pages stay in the page cache. The system does not report
/// a new read of a page from the disk, so damage can go unnoticed for this time.
const TRUSTED_S: u32 = 10;
/// The time of the first group of a damaged file: later than any real time, which stays.
const DAMAGED_S: u32 = u32::MAX;

/// The expected hashes of a file, group by group.
pub(super) struct Tree {
    groups: Groups,
}

/// The groups. Most files have one group, which takes no extra memory.
enum Groups {
    One([Group; 1]),
    Many(Box<[Group]>),
}

impl Deref for Groups {
    type Target = [Group];

    #[inline]
    fn deref(&self) -> &[Group] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl From<Vec<Group>> for Groups {
    fn from(groups: Vec<Group>) -> Self {
        match <[Group; 1]>::try_from(groups) {
            Ok(one) => Self::One(one),
            Err(many) => Self::Many(many.into()),
        }
    }
}

/// The tree of an opened file. Most files have one group: the tree of one group takes hardly more than a shared pointer
/// and its counts would, and each opened file has a separate tree.
pub(super) enum OpenedTree {
    /// The tree of a file with one group.
    Own(Tree),
    /// Of several, shared by all.
    Shared(Arc<Tree>),
}

impl From<Tree> for OpenedTree {
    fn from(tree: Tree) -> Self {
        if tree.len() > 1 { Self::Shared(Arc::new(tree)) } else { Self::Own(tree) }
    }
}

impl Deref for OpenedTree {
    type Target = Tree;

    #[inline]
    fn deref(&self) -> &Tree {
        match self {
            Self::Own(tree) => tree,
            Self::Shared(tree) => tree,
        }
    }
}

struct Group {
    value: ChainingValue,
    /// The time of the last check, in seconds of the process.
    checked_s: AtomicU32,
}

impl Group {
    /// Returns true if the group was checked so recently that its bytes in the page cache count as whole.
    fn is_trusted(&self, now_s: u32) -> bool {
        let checked_s = self.checked_s.load(Ordering::Relaxed);
        checked_s != DAMAGED_S && now_s.saturating_sub(checked_s) < TRUSTED_S
    }

    /// Records the check of the group, or damage of the file.
    fn note(&self, checked_s: u32) {
        self.checked_s.fetch_max(checked_s, Ordering::Relaxed);
    }
}

/// Returns the seconds since a moment before the start of the process: a group checked at 0 is not trusted.
fn now_s() -> u32 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let passed = u32::try_from(BEGAN.elapsed().as_secs()).unwrap_or(u32::MAX);
    passed.saturating_add(TRUSTED_S).min(DAMAGED_S - 1)
}

/// Returns the value of a group. For a file of one group the value is the hash of the file.
fn value(index: usize, bytes: &[u8], is_only: bool) -> ChainingValue {
    if is_only {
        return *blake3::hash(bytes).as_bytes();
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index.saturating_mul(GROUP_BYTES) as u64);
    hasher.update(bytes).finalize_non_root()
}

/// Returns the value of the subtree above some groups, the first of which begins at a multiple of their number's power
/// of two.
fn subtree(groups: &[Group]) -> Option<ChainingValue> {
    if let [only] = groups {
        return Some(only.value);
    }
    let (left, right) = halves(groups)?;
    Some(merge_subtrees_non_root(&subtree(left)?, &subtree(right)?, Mode::Hash))
}

/// Splits groups: the left half has the largest power of two that leaves the right half non-empty. `None` for fewer
/// than two groups.
fn halves(groups: &[Group]) -> Option<(&[Group], &[Group])> {
    let left = groups.len().checked_next_power_of_two()? / 2;
    groups.split_at_checked(left).filter(|_| left > 0)
}

fn root(groups: &[Group]) -> Option<Digest> {
    let hash = match groups {
        [only] => blake3::Hash::from_bytes(only.value),
        _ => {
            let (left, right) = halves(groups)?;
            merge_subtrees_root(&subtree(left)?, &subtree(right)?, Mode::Hash)
        }
    };
    Some(hash.into())
}

/// Fills `buffer` as far as bytes are available.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Tree {
    /// Reads a file of `size` bytes to the end. Returns the hash, and the tree for checks of pieces.
    ///
    /// # Errors
    /// Errors of the system; a file of a different length has no hash.
    pub(super) fn read(mut file: impl Read, size: u64) -> std::io::Result<(Option<Digest>, Self)> {
        let is_only = size <= GROUP_BYTES as u64;
        let count = usize::try_from(size.div_ceil(GROUP_BYTES as u64)).unwrap_or(usize::MAX).max(1);
        // The memory grows with the bytes that arrive, not with the announced size.
        let mut groups = Vec::new();
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(GROUP_BYTES)];
        let (checked_s, mut length) = (now_s(), 0_u64);
        for index in 0..count {
            let filled = fill(&mut file, &mut buffer)?;
            length = length.saturating_add(filled as u64);
            if filled == 0 && !is_only {
                break;
            }
            let value = value(index, buffer.get(..filled).unwrap_or_default(), is_only);
            groups.push(Group { value, checked_s: AtomicU32::new(checked_s) });
            if filled < buffer.len() {
                break;
            }
        }
        let is_whole = length == size && fill(&mut file, &mut [0])? == 0;
        let hash = root(&groups).filter(|_| is_whole);
        Ok((hash, Self { groups: groups.into() }))
    }

    /// Returns the tree of a file of one group with the hash `hash`. Reads have to check the bytes.
    pub(super) fn of_one_group(hash: Digest) -> Self {
        let group = Group { value: *hash.as_bytes(), checked_s: AtomicU32::new(0) };
        Self { groups: Groups::One([group]) }
    }

    /// The number of groups.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Returns the bytes of memory that the tree takes.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.groups {
            Groups::One(_) => 0,
            Groups::Many(many) => size_of_val::<[Group]>(many),
        }
    }

    /// Returns true if a damaged group was read.
    pub(super) fn is_damaged(&self) -> bool {
        self.groups.first().is_some_and(|first| first.checked_s.load(Ordering::Relaxed) == DAMAGED_S)
    }

    pub(super) fn set_damaged(&self) {
        if let Some(first) = self.groups.first() {
            first.note(DAMAGED_S);
        }
    }

    /// Returns the groups of a piece: the first, and one past the last.
    fn range(offset: u64, len: usize) -> (usize, usize) {
        let group = |at: u64| usize::try_from(at / GROUP_BYTES as u64).unwrap_or(usize::MAX);
        let end = offset.saturating_add(len as u64);
        (group(offset), group(end.saturating_sub(1)).saturating_add(1))
    }

    /// Returns true if all groups of a piece are trusted.
    pub(super) fn is_trusted(&self, offset: u64, len: usize) -> bool {
        let (first, end) = Self::range(offset, len);
        let now_s = now_s();
        self.groups.get(first..end).is_some_and(|groups| groups.iter().all(|group| group.is_trusted(now_s)))
    }

    /// Extends a piece to whole groups.
    pub(super) fn around(offset: u64, len: usize, size: u64) -> (u64, usize) {
        let (first, end) = Self::range(offset, len);
        let at = |group: usize| (group as u64).saturating_mul(GROUP_BYTES as u64).min(size);
        (at(first), usize::try_from(at(end).saturating_sub(at(first))).unwrap_or(usize::MAX))
    }

    /// Returns true if the bytes from `offset`, which are whole groups, are those of the file.
    pub(super) fn is_whole(&self, offset: u64, bytes: &[u8]) -> bool {
        self.all_groups(offset, bytes, |_, _| false)
    }

    /// Like [`Tree::is_whole`], for bytes from the page cache, without a check of trusted groups.
    pub(super) fn is_whole_or_trusted(&self, offset: u64, bytes: &[u8]) -> bool {
        self.all_groups(offset, bytes, Group::is_trusted)
    }

    fn all_groups(&self, offset: u64, bytes: &[u8], is_passed: impl Fn(&Group, u32) -> bool) -> bool {
        let (first, _) = Self::range(offset, bytes.len());
        let now_s = now_s();
        bytes.chunks(GROUP_BYTES).enumerate().all(|(number, bytes)| {
            let index = first.saturating_add(number);
            self.groups.get(index).is_some_and(|group| {
                let is_passed = is_passed(group, now_s);
                let is_whole = is_passed || value(index, bytes, self.groups.len() == 1) == group.value;
                if is_whole && !is_passed {
                    group.note(now_s);
                }
                is_whole
            })
        })
    }

    /// A tree of so many groups.
    #[cfg(test)]
    pub(super) fn of_groups(count: usize) -> Self {
        let group = || Group { value: [0; 32], checked_s: AtomicU32::new(0) };
        let groups: Vec<Group> = std::iter::repeat_with(group).take(count).collect();
        Self { groups: groups.into() }
    }

    /// Makes the next read check every group again.
    #[cfg(test)]
    pub(super) fn distrust(&self) {
        self.groups.iter().for_each(|group| group.checked_s.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of any length around the ends of groups.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        (0..20_usize, -2..3_isize, any::<u8>()).prop_map(|(groups, more, seed)| {
            let length = (groups * GROUP_BYTES).saturating_add_signed(more);
            (0..length).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[4] ^ seed).collect()
        })
    }

    fn tree(bytes: &[u8]) -> Tree {
        let (hash, tree) = Tree::read(bytes, bytes.len() as u64).unwrap();
        assert_eq!(hash, Some(Digest::of(bytes)));
        tree
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_piece_is_whole_until_one_bit_of_its_groups_is_another(
            mut bytes in bytes(), at in any::<prop::sample::Index>(), len in 0..200_000_usize, bit in 0..8_u8,
        ) {
            let tree = tree(&bytes);
            prop_assume!(!bytes.is_empty());
            let size = bytes.len() as u64;
            let offset = at.index(bytes.len());
            let len = len.min(bytes.len() - offset);
            let (from, around) = Tree::around(offset as u64, len, size);
            let begin = usize::try_from(from).unwrap();
            let groups = |bytes: &[u8]| bytes[begin..begin + around].to_vec();
            tree.distrust();
            prop_assert!(tree.is_whole(from, &groups(&bytes)));
            prop_assert!(len == 0 || tree.is_trusted(offset as u64, len));
            tree.distrust();
            bytes[offset] ^= 1 << bit;
            prop_assert!(len == 0 || !tree.is_whole(from, &groups(&bytes)));
            prop_assert!(len == 0 || !tree.is_trusted(offset as u64, len));
        }

        #[test]
        fn a_file_of_another_length_has_another_hash(bytes in bytes(), announced in 0..1_500_000_u64) {
            prop_assume!(announced != bytes.len() as u64);
            let (hash, _) = Tree::read(&*bytes, announced).unwrap();
            prop_assert_ne!(hash, Some(Digest::of(&bytes)));
        }
    }

    #[test]
    fn what_was_found_damaged_is_not_trusted_however_lately_it_was_checked() {
        let tree = tree(&[1; 10]);
        assert!(tree.is_trusted(0, 10) && !tree.is_damaged());
        tree.set_damaged();
        assert!(!tree.is_trusted(0, 10) && tree.is_damaged());
        assert!(!tree.is_whole_or_trusted(0, &[2; 10]));
    }

    /// A file with the given results of reads, one after the other.
    struct Reads(std::collections::VecDeque<std::io::Result<&'static [u8]>>);

    impl Read for Reads {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let bytes = self.0.pop_front().unwrap_or(Ok(&[]))?;
            into[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_read_that_a_signal_ended_is_done_again_and_one_that_failed_is_not() {
        let hash = |reads: Vec<std::io::Result<&'static [u8]>>| {
            let read = Tree::read(Reads(reads.into()), 3);
            read.map(|(hash, _)| hash).map_err(|error| error.kind())
        };
        let failed = |kind: ErrorKind| -> std::io::Result<&'static [u8]> { Err(kind.into()) };
        let (signal, late) = (ErrorKind::Interrupted, ErrorKind::TimedOut);
        let reads = vec![failed(signal), Ok(&b"ab"[..]), failed(signal), failed(signal), Ok(&b"c"[..])];
        assert_eq!(hash(reads), Ok(Some(Digest::of(b"abc"))));
        assert_eq!(hash(vec![Ok(&b"ab"[..]), failed(late), Ok(&b"c"[..])]), Err(late));
        assert_eq!(hash(vec![Ok(&b"ab"[..])]), Ok(None), "it is shorter");
    }
}
