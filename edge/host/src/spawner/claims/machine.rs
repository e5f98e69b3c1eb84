//! User and group ids of the machine: ids in use, and existing ids.

use super::Range;

/// Ids of the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// Ids in use, each with a message about the use.
    used: Vec<(Range, String)>,
    /// User ids in the user namespace of the process; empty for all.
    users: Vec<Range>,
    /// Group ids in the user namespace of the process; empty for all.
    groups: Vec<Range>,
}

impl Machine {
    /// Reads the files of the machine. An unreadable file counts as empty.
    pub(super) fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self::of(
            &text("/etc/passwd"),
            &text("/etc/group"),
            &text("/etc/subuid"),
            &text("/etc/subgid"),
            &text("/proc/self/uid_map"),
            &text("/proc/self/gid_map"),
        )
    }

    /// Parses passwd(5), group(5), subuid(5), subgid(5), and the maps of user_namespaces(7).
    pub(super) fn of(passwd: &str, group: &str, subuid: &str, subgid: &str, users: &str, groups: &str) -> Self {
        let mut used = Vec::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            // After the password: the user id and the group id.
            for id in fields.skip(1).take(2).filter_map(|id| id.parse::<u32>().ok()) {
                used.push((id..=id, format!("{id} is an id of the user {name} in /etc/passwd")));
            }
        }
        for line in group.lines() {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            if let Some(id) = fields.nth(1).and_then(|id| id.parse::<u32>().ok()) {
                used.push((id..=id, format!("{id} is the id of the group {name} in /etc/group")));
            }
        }
        for (file, text) in [("/etc/subuid", subuid), ("/etc/subgid", subgid)] {
            for line in text.lines() {
                let mut fields = line.split(':');
                let name = fields.next().unwrap_or_default();
                let numbers =
                    (fields.next().and_then(|id| id.parse().ok()), fields.next().and_then(|n| n.parse().ok()));
                if let (Some(first), Some(count)) = numbers
                    && let Some(range) = counted(first, count)
                {
                    used.push((range, format!("{file} gives {first} and {count} ids from there on to {name}")));
                }
            }
        }
        Self { used, users: mapped(users), groups: mapped(groups) }
    }

    /// Checks that a range exists and is unused.
    ///
    /// # Errors
    /// Returns a message about the conflict.
    pub(super) fn check(&self, range: &Range) -> Result<(), String> {
        if let Some((_, why)) = self.used.iter().find(|(used, _)| super::overlap(used, range)) {
            return Err(why.clone());
        }
        match covers(&self.users, range) && covers(&self.groups, range) {
            true => Ok(()),
            false => Err("the user namespace of this process does not have them".to_owned()),
        }
    }
}

fn counted(first: u32, count: u32) -> Option<Range> {
    (count > 0).then(|| first..=first.saturating_add(count - 1))
}

/// Returns the ranges of a map in order: each line contains the first id inside, the first id outside, and the count.
fn mapped(map: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let first = fields.next()?.parse().ok()?;
        counted(first, fields.nth(1)?.parse().ok()?)
    };
    let mut ranges: Vec<Range> = map.lines().filter_map(range).collect();
    ranges.sort_by_key(|range| *range.start());
    ranges
}

/// Returns true if sorted ranges contain every id of `wanted`.
fn covers(ranges: &[Range], wanted: &Range) -> bool {
    if ranges.is_empty() {
        return true;
    }
    let mut next = *wanted.start();
    for range in ranges {
        if range.contains(&next) {
            if range.end() >= wanted.end() {
                return true;
            }
            next = range.end().saturating_add(1);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_machine_are_read_whatever_is_in_them() {
        let machine = Machine::of(
            "root:x:0:0::/:/bin/sh\nbroken\nada:x:3000:3001::/:/bin/sh\n",
            "wheel:x:10:\nstaff:x:3002:ada,bob\n:\n",
            "ada:100000:65536\n1000:300000:10\nzero:400000:0\n",
            "bob:500000:1\nbroken:x:y\n",
            "",
            "",
        );
        let fails = |range: Range| machine.check(&range).unwrap_err();
        assert!(fails(2_999..=3_000).contains("user ada") && fails(3_001..=3_001).contains("user ada"));
        assert!(fails(3_002..=3_009).contains("group staff"));
        assert!(fails(165_535..=165_600).contains("/etc/subuid") && fails(300_009..=300_009).contains("to 1000"));
        assert!(fails(499_999..=500_000).contains("/etc/subgid"));
        for free in [3_003..=99_999, 165_536..=299_999, 300_010..=499_999, 500_001..=u32::MAX - 1] {
            assert_eq!(machine.check(&free), Ok(()), "{free:?}");
        }
    }

    #[test]
    fn a_user_namespace_has_the_ids_of_its_map() {
        let all = "         0          0 4294967295\n";
        assert_eq!(Machine::of("", "", "", "", all, all).check(&(2_013_265_920..=2_013_331_455)), Ok(()));
        let parts = "1 100000 999\n1000 500000 64536\n0 1000 1\n";
        let machine = Machine::of("", "", "", "", parts, all);
        assert_eq!(machine.check(&(900..=2_000)), Ok(()));
        assert!(machine.check(&(65_000..=65_536)).is_err());
        assert!(Machine::of("", "", "", "", all, parts).check(&(65_000..=65_536)).is_err());
    }
}
