//! Finds the control group delegated to the process by the service manager.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Attributes of a group delegated by systemd; the second attribute is readable without privileges.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// Returns the delegated group of the process, or the nearest delegated parent group.
///
/// # Errors
/// Returns a message if no group is delegated.
pub(super) fn delegated() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"));
    let (mounts, membership) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    let (root, mount) = mounted(&mounts).ok_or("no control groups of version 2 are mounted")?;
    let own = own_group(&membership).and_then(|own| Path::new(own).strip_prefix(root).ok());
    let own = own.ok_or("this process has no control group of version 2")?;
    let mut groups = own.ancestors().filter(|group| *group != Path::new(""));
    let found = groups.find_map(|group| Some(mount.join(group)).filter(|group| is_delegated(group)));
    found.ok_or_else(|| "the control group of this process is not delegated to it (systemd: Delegate=yes)".to_owned())
}

/// Returns true if a group is delegated to the process, by mark or by owner.
fn is_delegated(group: &Path) -> bool {
    let is_marked = |name: &&str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, *name, &mut value[..]).is_ok_and(|length| value.get(..length) == Some(b"1"))
    };
    let own = geteuid();
    let is_given = || {
        let owns = |path: &Path| fs::metadata(path).is_ok_and(|found| found.uid() == own.as_raw());
        !own.is_root() && owns(group) && owns(&group.join("cgroup.subtree_control"))
    };
    DELEGATED.iter().any(is_marked) || is_given()
}

/// Returns the group and the mount point of the first version 2 mount in `mountinfo`.
fn mounted(mounts: &str) -> Option<(&Path, &Path)> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then(|| (Path::new(root), Path::new(mount)))
    })
}

/// Returns the path of a process's version 2 group from `/proc/PID/cgroup`.
fn own_group(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_and_the_group_of_version_two_are_found_beside_those_of_version_one() {
        let mounts = "\
24 1 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
25 1 0:23 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";
        assert_eq!(mounted(mounts), Some((Path::new("/"), Path::new("/sys/fs/cgroup/unified"))));
        assert_eq!(mounted("24 1 0:22 / /x rw - cgroup cgroup rw\n"), None);
        assert_eq!(
            own_group("9:name=systemd:/\n0::/system.slice/devanture.service\n"),
            Some("/system.slice/devanture.service")
        );
        assert_eq!(own_group("4:memory:/a\n"), None);
    }

    #[test]
    fn a_folder_that_nobody_marked_is_not_delegated_to_root() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_delegated(folder.path()), "it has no files of a control group");
    }
}
