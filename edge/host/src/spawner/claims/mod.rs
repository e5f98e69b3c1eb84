//! Claims of user ids by edges of the machine: a range that has no other use, permanent, and locked while the edge
//! runs.
//!
//! Claims are files in one folder of the machine, the only place shared by two edges. `FIRST-LAST.json` records the
//! owner of a range, also while the edge is stopped and only files have the ids; `FIRST-LAST.lock` is locked while the
//! edge runs. All reads and changes happen under the lock of `lock`.

mod machine;

use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use devanture_base::durable::{self, Lock};
pub(crate) use machine::Machine;

/// Folders of claims; the first writable folder is used. The second is for a machine recreated at each start, such as a
/// container, with no other edge.
const FOLDERS: [&str; 2] = ["/var/lib/devanture-uids", "/run/devanture-uids"];

/// Number of ids in a chosen range.
const BLOCK: u32 = 65_536;
/// First chosen block. Above the ids that `useradd` assigns to user namespaces (login.defs(5), 100,000 to 600,100,000),
/// that systemd assigns to containers (up to 1,879,048,191) and that SSSD assigns to users of a directory (up to
/// 2,000,200,000); `Documentation of systemd, "Users, Groups, UIDs and GIDs"` lists all ids above as unused.
const FIRST: u32 = 0x7800_0000;
/// Number of blocks below systemd's range of foreign ids, which begins at 0x7ffe0000.
const BLOCKS: u32 = (0x7ffe_0000 - FIRST) / BLOCK;

/// Range of user ids.
pub type Range = RangeInclusive<u32>;

/// Claiming edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// Id of the edge, stable across restarts and unique.
    pub edge: String,
    /// Folder of the edge's backends, for messages.
    pub folder: PathBuf,
}

/// Range to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly the given range.
    Exactly(Range),
    /// The previous range of the edge if possible, otherwise any range.
    Any(Option<Range>),
}

/// Exclusive range: locked as long as the value lives, and reserved afterwards.
#[derive(Debug)]
pub struct Claim {
    /// Claimed range.
    pub range: Range,
    lock: Lock,
}

impl Claim {
    /// Copies the lock, which is held as long as either copy lives.
    ///
    /// # Errors
    /// Fails if no descriptors are left.
    pub fn copy(&self) -> std::io::Result<OwnedFd> {
        self.lock.copy()
    }

    /// Adopts the claim of an earlier process with the received lock.
    pub fn adopt(range: Range, lock: OwnedFd) -> Self {
        Self { range, lock: Lock::adopt(lock) }
    }
}

/// Reason why a range cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The wanted range belongs to another edge.
    #[error(
        "the user ids {} are those of the edge whose backends are in {folder}: choose others by `runner.uids`, or remove {file} when that edge is gone for good",
        written(range)
    )]
    Taken {
        /// Wanted range.
        range: Range,
        /// Folder of the other edge's backends.
        folder: String,
        /// Path of the other claim.
        file: String,
    },
    /// Another part of the machine uses ids of the range.
    #[error("the user ids {} cannot be used: {why}", written(range))]
    Unfit {
        /// Wanted range.
        range: Range,
        /// Reason.
        why: String,
    },
    /// The same edge or its spawner is still running.
    #[error("the user ids {} are still in use by an earlier run of this edge", written(range))]
    Busy {
        /// Claimed range.
        range: Range,
    },
    /// No range is available.
    #[error("no range of {BLOCK} user ids is free{why}: write one as `runner.uids`")]
    None {
        /// Reason after a colon; may be empty.
        why: String,
    },
    /// The folder of claims is unusable.
    #[error("the user ids of this machine cannot be claimed in {}: {why}", FOLDERS.join(" or "))]
    Registry {
        /// Reason.
        why: String,
    },
}

impl From<durable::Error> for ClaimError {
    fn from(error: durable::Error) -> Self {
        Self::Registry { why: error.to_string() }
    }
}

/// Formats a range for files.
pub fn written(range: &Range) -> String {
    format!("{}-{}", range.start(), range.end())
}

/// Parses a range in the format of [`written`].
pub fn parsed(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-')?;
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

fn overlap(one: &Range, other: &Range) -> bool {
    one.start() <= other.end() && other.start() <= one.end()
}

/// Claims a range in the folder of the machine.
///
/// # Errors
/// [`ClaimError`].
pub(crate) fn claim(claimant: &Claimant, wanted: &Wanted) -> Result<Claim, ClaimError> {
    let mut failed = String::new();
    for folder in FOLDERS.map(Path::new) {
        let opened = durable::make_folder(folder).and_then(|()| durable::lock_in_turn(&folder.join("lock")));
        match opened {
            Ok(turn) => return claim_in(folder, &turn, &Machine::read(), claimant, wanted),
            Err(error) => failed = error.to_string(),
        }
    }
    Err(ClaimError::Registry { why: failed })
}

/// Existing claims in a folder.
struct Claims<'f> {
    folder: &'f Path,
    /// Claims with their owners; an unreadable claim belongs to an unknown edge.
    all: Vec<(Range, Option<Claimant>)>,
}

fn claim_in(
    folder: &Path,
    _turn: &Lock,
    machine: &Machine,
    claimant: &Claimant,
    wanted: &Wanted,
) -> Result<Claim, ClaimError> {
    let claims = Claims::read(folder)?;
    let range = match wanted {
        Wanted::Exactly(range) => {
            claims.check(range, claimant)?;
            machine.check(range).map_err(|why| ClaimError::Unfit { range: range.clone(), why })?;
            range.clone()
        }
        Wanted::Any(before) => claims.choose(before.as_ref(), machine, claimant)?,
    };
    let Ok(lock) = durable::lock(&claims.file(&range, "lock"))? else { return Err(ClaimError::Busy { range }) };
    if !claims.all.iter().any(|(other, whose)| *other == range && whose.as_ref() == Some(claimant)) {
        let text = serde_json::to_vec(claimant).map_err(|error| ClaimError::Registry { why: error.to_string() })?;
        durable::write_file(&claims.file(&range, "json"), &text, 0o644)?;
    }
    Ok(Claim { range, lock })
}

impl<'f> Claims<'f> {
    fn read(folder: &'f Path) -> Result<Self, ClaimError> {
        let failed = |error: std::io::Error| ClaimError::Registry { why: error.to_string() };
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(range) = name.strip_suffix(".json").and_then(parsed) else { continue };
            let whose = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            all.push((range, whose));
        }
        Ok(Self { folder, all })
    }

    fn file(&self, range: &Range, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", written(range)))
    }

    /// Checks that no id of a range belongs to another edge.
    fn check(&self, range: &Range, claimant: &Claimant) -> Result<(), ClaimError> {
        let is_other = |whose: &Option<Claimant>| whose.as_ref().is_none_or(|whose| whose.edge != claimant.edge);
        let taken = self.all.iter().find(|(other, whose)| overlap(range, other) && is_other(whose));
        let Some((other, whose)) = taken else { return Ok(()) };
        let folder =
            whose.as_ref().map_or_else(|| "an unknown folder".to_owned(), |it| it.folder.display().to_string());
        let file = self.file(other, "json").display().to_string();
        Err(ClaimError::Taken { range: range.clone(), folder, file })
    }

    fn choose(&self, before: Option<&Range>, machine: &Machine, claimant: &Claimant) -> Result<Range, ClaimError> {
        let own = self.all.iter().filter(|(_, whose)| whose.as_ref().is_some_and(|whose| whose.edge == claimant.edge));
        let known = before.into_iter().chain(own.map(|(range, _)| range)).cloned();
        // Starts at a random block: edges in containers that share only the kernel rarely collide.
        let from = rand::random::<u32>() % BLOCKS;
        let blocks = (0..BLOCKS).map(|number| block((from + number) % BLOCKS));
        let is_free = |range: &Range| self.check(range, claimant).is_ok() && machine.check(range).is_ok();
        if let Some(range) = known.chain(blocks).find(is_free) {
            return Ok(range);
        }
        self.abandoned(machine)
    }

    /// Returns the block of an edge with a missing folder. Used only if no block is free: a disk may be missing for a
    /// while.
    fn abandoned(&self, machine: &Machine) -> Result<Range, ClaimError> {
        for (range, whose) in &self.all {
            let is_gone = whose.as_ref().is_some_and(|whose| {
                std::fs::symlink_metadata(&whose.folder)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            });
            let is_block = range.start() % BLOCK == 0
                && *range.start() >= FIRST
                && *range == block((range.start() - FIRST) / BLOCK);
            if is_gone && is_block && machine.check(range).is_ok() && durable::lock(&self.file(range, "lock"))?.is_ok()
            {
                durable::remove_file(&self.file(range, "json"))?;
                return Ok(range.clone());
            }
        }
        let why = machine.check(&block(0)).err().map_or_else(String::new, |why| format!(" ({why})"));
        Err(ClaimError::None { why })
    }
}

/// Returns the block with a number below [`BLOCKS`].
fn block(number: u32) -> Range {
    let first = FIRST.saturating_add(number.saturating_mul(BLOCK));
    first..=first.saturating_add(BLOCK - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(edge: &str) -> Claimant {
        Claimant { edge: edge.to_owned(), folder: PathBuf::from("/") }
    }

    fn take(folder: &Path, machine: &Machine, edge: &str, wanted: &Wanted) -> Result<Claim, ClaimError> {
        let turn = durable::lock_in_turn(&folder.join("lock")).unwrap();
        claim_in(folder, &turn, machine, &claimant(edge), wanted)
    }

    #[test]
    fn ranges_that_are_chosen_keep_off_those_of_other_programs() {
        let (first, last) = (block(0), block(BLOCKS - 1));
        assert_eq!((*first.start(), *first.end()), (2_013_265_920, 2_013_331_455));
        assert_eq!(*last.end(), 0x7ffd_ffff);
        for (program, range) in [
            ("useradd", 100_000..=600_100_000),
            ("systemd", 524_288..=1_879_048_191),
            ("SSSD", 200_000..=2_000_200_000),
        ] {
            assert!(!overlap(&range, &(*first.start()..=*last.end())), "{program}");
        }
    }

    #[test]
    fn two_edges_never_share_an_id() {
        let (folder, machine) = (tempfile::tempdir().unwrap(), Machine::default());
        let any = Wanted::Any(None);
        let one = take(folder.path(), &machine, "one", &any).unwrap();
        let two = take(folder.path(), &machine, "two", &any).unwrap();
        assert!(!overlap(&one.range, &two.range));
        // Nor a range chosen by hand, even while the other edge is stopped.
        let inner = one.range.start() + 5..=one.range.start() + 9;
        for _ in 0..2 {
            let taken = take(folder.path(), &machine, "two", &Wanted::Exactly(inner.clone()));
            assert!(matches!(taken, Err(ClaimError::Taken { .. })), "{taken:?}");
            let again = take(folder.path(), &machine, "three", &Wanted::Any(Some(one.range.clone()))).unwrap();
            assert!(!overlap(&one.range, &again.range));
        }
        let range = one.range.clone();
        drop(one);
        assert!(take(folder.path(), &machine, "two", &Wanted::Exactly(inner)).is_err());
        // The edge itself gets the range again after its earlier run has ended.
        let again = take(folder.path(), &machine, "one", &any).unwrap();
        assert_eq!(again.range, range);
        assert!(matches!(take(folder.path(), &machine, "one", &any), Err(ClaimError::Busy { .. })));
    }

    #[test]
    fn what_the_machine_uses_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::of("ada:x:3005:3005::/:/bin/sh\n", "", "bob:200000:65536\n", "", "", "");
        for (range, who) in [(3_000..=3_009, "ada"), (265_000..=270_000, "bob")] {
            let unfit = take(folder.path(), &machine, "one", &Wanted::Exactly(range)).unwrap_err().to_string();
            assert!(unfit.contains(who), "{unfit}");
        }
        let before = Wanted::Any(Some(200_000..=265_535));
        assert!(*take(folder.path(), &machine, "one", &before).unwrap().range.start() >= FIRST);
        // In a user namespace with few ids, no range is available.
        let few = Machine::of("", "", "", "", "0 100000 65536\n", "0 100000 65536\n");
        let none = take(folder.path(), &few, "two", &Wanted::Any(None)).unwrap_err().to_string();
        assert!(none.contains("runner.uids") && none.contains("user namespace"), "{none}");
        assert!(take(folder.path(), &few, "two", &Wanted::Exactly(60_000..=60_999)).is_ok());
    }

    #[test]
    fn a_range_of_an_edge_that_is_gone_is_taken_last() {
        let folder = tempfile::tempdir().unwrap();
        // All blocks but the first two are in use.
        let rest = format!("x:{}:{}\n", block(2).start(), (BLOCKS - 2) * BLOCK);
        let machine = Machine::of("", "", &rest, "", "", "");
        let gone = Claimant { edge: "gone".to_owned(), folder: folder.path().join("gone") };
        let turn = durable::lock_in_turn(&folder.path().join("lock")).unwrap();
        let first = claim_in(folder.path(), &turn, &machine, &gone, &Wanted::Any(None)).unwrap();
        drop(turn);
        let second = take(folder.path(), &machine, "two", &Wanted::Any(None)).unwrap();
        assert!(matches!(take(folder.path(), &machine, "three", &Wanted::Any(None)), Err(ClaimError::None { .. })));
        let range = first.range.clone();
        drop(first);
        assert_eq!(take(folder.path(), &machine, "three", &Wanted::Any(None)).unwrap().range, range);
        drop(second);
        // The folder of the second edge exists.
        assert!(matches!(take(folder.path(), &machine, "four", &Wanted::Any(None)), Err(ClaimError::None { .. })));
    }
}
