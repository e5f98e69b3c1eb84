//! Tag that identifies the processes of an instance regardless of their parents.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use super::process_users::users_of;
use super::processes::{INSTANCE_MARKER, Mark, variable_of};

/// Lowest tag, above all limits in use.
const TAG_FIRST: u64 = 1 << 40;

/// Permanent mark of an instance's processes: the hard limit of file locks, ignored by Linux since 2.4.25. A process
/// inherits the limit, even in a user namespace, and can lower but never raise the limit, so that leftovers of an ended
/// instance cannot pass for a younger instance. They can pass for an older instance: so the user of a process counts as
/// well ([`Mark`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    /// Returns a tag above all earlier tags; `None` if the spawner itself has a lower limit.
    pub(super) fn next() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(TAG_FIRST);
        let tag = NEXT.fetch_add(1, Ordering::Relaxed);
        let is_possible = getrlimit(Resource::Locks).maximum.is_none_or(|maximum| maximum >= tag);
        is_possible.then_some(Self(tag))
    }

    /// Returns the limit that carries the tag.
    pub(super) const fn limit(self) -> u64 {
        self.0
    }

    /// Returns the tag as the marker of an instance.
    pub(super) fn marker(self) -> String {
        format!("tag {}", self.0)
    }

    fn of(pid: i32) -> Option<Self> {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        hard_limit(&limits, "Max file locks").filter(|limit| *limit >= TAG_FIRST).map(Self)
    }
}

/// Returns the hard limit in a table of `/proc/PID/limits`; `None` for no limit.
fn hard_limit(table: &str, name: &str) -> Option<u64> {
    let values = table.lines().find_map(|line| line.strip_prefix(name))?;
    values.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns the mark of an instance's process: the tag, or a variable if no tag could be set; and the process's users.
pub(super) fn mark_of(pid: i32) -> Option<Mark> {
    let marker = Tag::of(pid).map(Tag::marker).or_else(|| variable_of(pid, INSTANCE_MARKER))?;
    let (uids, _) = users_of(pid)?;
    Some(Mark { marker, uids })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn a_tag_is_read_from_the_limits_of_a_process() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max open files            1024                 4096                 files     \n\
            Max file locks            7                    1099511627777        locks     \n\
            Max pending signals       unlimited            unlimited            signals   \n";
        assert_eq!(hard_limit(table, "Max file locks"), Some(TAG_FIRST + 1));
        assert_eq!((hard_limit(table, "Max pending signals"), hard_limit(table, "Max none")), (None, None));
        let own = getpid().as_raw_nonzero().get();
        assert_eq!(Tag::of(own), None, "nobody gave this process one");
        let (one, two) = (Tag::next().unwrap(), Tag::next().unwrap());
        assert!(one.limit() >= TAG_FIRST && two.limit() > one.limit() && one.marker() != two.marker());
    }
}
