//! The memory limit of the process, and the default limit of loaded versions.

use std::path::Path;

use devanture_config::limits::Limits;

/// Returns the limits, with a default for the memory of loaded versions: half of the usable memory, because the other
/// half is for connections, for encoding and for the system's page cache.
pub(super) fn bounded(limits: &Limits) -> Limits {
    let set = limits.loaded_memory_bytes_max;
    let of_process = Some(limits.process_memory_bytes_max).filter(|bytes| *bytes > 0);
    let usable = usable_bytes().into_iter().chain(of_process).min();
    let loaded_memory_bytes_max = if set > 0 { set } else { usable.map_or(0, |bytes| bytes / 2) };
    Limits { loaded_memory_bytes_max, ..limits.clone() }
}

/// Returns the usable memory in bytes: of the machine, or of the control groups if less. `None` if unknown.
fn usable_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let own = std::fs::read_to_string("/proc/self/cgroup").ok();
    let group = own.and_then(|text| group_bytes(&text, Path::new("/sys/fs/cgroup")));
    machine.into_iter().chain(group).min()
}

/// Parses the machine's memory from `/proc/meminfo` (proc_meminfo(5)).
fn machine_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

/// Returns the lowest limit of the control group in `/proc/self/cgroup` and its parents (cgroups(7), version 2).
fn group_bytes(text: &str, root: &Path) -> Option<u64> {
    let name = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = root.join(name.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(|group| std::fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_base::durable;

    #[test]
    fn loaded_versions_take_half_of_the_memory_unless_something_else_is_set() {
        let unset = bounded(&Limits::default()).loaded_memory_bytes_max;
        assert!(unset > 0 && unset.saturating_mul(2) <= usable_bytes().unwrap().saturating_add(1), "{unset}");
        let set = Limits { loaded_memory_bytes_max: 1_000_000, ..Limits::default() };
        assert_eq!(bounded(&set).loaded_memory_bytes_max, 1_000_000);
        let process = Limits { process_memory_bytes_max: 2_000_000, ..Limits::default() };
        assert_eq!(bounded(&process).loaded_memory_bytes_max, 1_000_000);
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(machine_bytes("MemTotal:       24603364 kB\nMemFree: 1 kB\n"), Some(24_603_364 * 1_024));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_least_limit_of_all_control_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let of = |text: &str| group_bytes(text, root.path());
        let group = root.path().join("system.slice/edge.service");
        std::fs::create_dir_all(&group).unwrap();
        let limit = |folder: &Path, text: &str| {
            durable::write_file(&folder.join("memory.max"), text.as_bytes(), 0o600).unwrap();
        };
        assert_eq!(of("0::/system.slice/edge.service\n"), None);
        limit(&group, "max\n");
        assert_eq!(of("0::/system.slice/edge.service\n"), None);
        limit(group.parent().unwrap(), "8000\n");
        assert_eq!(of("1:cpu:/\n0::/system.slice/edge.service\n"), Some(8_000));
        limit(&group, "4000\n");
        assert_eq!(of("0::/system.slice/edge.service\n"), Some(4_000));
        assert_eq!(of("0::/\n"), None);
        assert_eq!(of("4:memory:/edge\n"), None);
    }
}
