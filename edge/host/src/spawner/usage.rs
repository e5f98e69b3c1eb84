//! Usage of instances, measured from `/proc` without control groups.
//!
//! An upper bound mostly suffices: the resident memory of each process of an instance, plus all shared memory of the
//! machine. Only beyond the limit of the instance, the usage is measured exactly: private memory of the processes,
//! their part of shared memory, and each file of a tmpfs, named or not, that a process has open or mapped, counted
//! once. Further charges of a control group, such as socket and pipe buffers, cannot be measured.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FsWord, MemfdFlags, memfd_create, statfs};

/// Maximum inspected descriptors of one instance.
const DESCRIPTORS_MAX: usize = 65_536;
/// Maximum inspected mappings of one instance.
const MAPPINGS_MAX: usize = 262_144;
/// File systems with files in memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "devtmpfs"];
/// Type of tmpfs from statfs(2).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Memory of the machine in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) available: u64,
    /// Bytes of tmpfs files, memfd and other shared memory.
    pub(super) shared: u64,
    pub(super) swapped: u64,
}

impl Machine {
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let bytes = |name: &str| kib(text, name).saturating_mul(1_024);
        Self {
            available: bytes("MemAvailable:"),
            shared: bytes("Shmem:"),
            swapped: bytes("SwapTotal:").saturating_sub(bytes("SwapFree:")),
        }
    }

    /// Returns an upper bound of an instance's memory, given the resident memory of its processes.
    pub(super) fn bound(&self, resident: u64) -> u64 {
        resident.saturating_add(self.shared).saturating_add(self.swapped)
    }
}

/// Identity of a file, regardless of its names.
type FileId = (u64, u64);

/// Open and mapped files of an instance, each counted once.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Bytes of memory.
    pub(super) shared: u64,
    /// Bytes of unlinked files on a disk.
    pub(super) unlinked: u64,
    /// True if there are more files than can be inspected.
    pub(super) are_too_many: bool,
    seen: HashSet<FileId>,
    descriptors: usize,
    mappings: usize,
}

/// Devices with files in memory.
pub(super) struct Devices(HashSet<u64>);

impl Devices {
    pub(super) fn read() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut devices: HashSet<u64> = in_memory(&mounts).collect();
        // Device without a mount, used by memfd, shared mappings and System V shared memory.
        let own = memfd_create("", MemfdFlags::CLOEXEC).and_then(rustix::fs::fstat);
        devices.extend(own.map(|own| own.st_dev));
        Self(devices)
    }
}

/// Measures the memory of processes exactly. `apart` is the device of files counted elsewhere.
pub(super) fn memory(processes: &[(i32, u64)], devices: &Devices, apart: Option<u64>) -> (u64, Files) {
    let mut files = Files::default();
    let mut own: u64 = 0;
    for (pid, resident) in processes {
        own = own.saturating_add(private_memory(*pid).unwrap_or(*resident));
        files.add(*pid, devices, apart);
    }
    (own.saturating_add(files.shared), files)
}

/// Returns the memory of a process without files, including page tables; `None` without permission.
fn private_memory(pid: i32) -> Option<u64> {
    let rollup = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(rollup) => rollup,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        // The process has ended, or is about to.
        Err(_) => return Some(0),
    };
    let tables = fs::read_to_string(format!("/proc/{pid}/status")).map_or(0, |status| kib(&status, "VmPTE:"));
    // Linux before 5.9 reports the value together with files.
    let name = if rollup.contains("Pss_Anon:") { "Pss_Anon:" } else { "Pss:" };
    let parts = kib(&rollup, name).saturating_add(kib(&rollup, "SwapPss:")).saturating_add(tables);
    Some(parts.saturating_mul(1_024))
}

impl Files {
    /// Adds the open and mapped files of a process.
    pub(super) fn add(&mut self, pid: i32, devices: &Devices, apart: Option<u64>) {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for entry in entries {
            self.descriptors += 1;
            if self.descriptors > DESCRIPTORS_MAX {
                self.are_too_many = true;
                return;
            }
            self.count(&entry.path(), devices, apart);
        }
        let Ok(maps) = fs::File::open(format!("/proc/{pid}/maps")) else { return };
        for line in BufReader::new(maps).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            self.mappings += 1;
            if self.mappings > MAPPINGS_MAX {
                self.are_too_many = true;
                return;
            }
            if let Some((range, id)) = held_mapping(&line, devices).filter(|(_, id)| !self.seen.contains(id)) {
                self.count(Path::new(&format!("/proc/{pid}/map_files/{range}")), devices, apart);
                // An inaccessible file is not retried through further mappings.
                self.seen.insert(id);
            }
        }
    }

    /// Counts the file behind a link of `/proc`.
    fn count(&mut self, link: &Path, devices: &Devices, apart: Option<u64>) {
        let Ok(found) = fs::metadata(link) else { return };
        let is_new = found.is_file() && self.seen.insert((found.dev(), found.ino()));
        if !is_new || apart == Some(found.dev()) {
            return;
        }
        let bytes = found.blocks().saturating_mul(512);
        // The tmpfs of another instance, possibly ended, is mounted nowhere in this namespace.
        let is_memory = || statfs(link).is_ok_and(|system| system.f_type == TMPFS_MAGIC);
        if devices.0.contains(&found.dev()) || is_memory() {
            self.shared = self.shared.saturating_add(bytes);
        } else if found.nlink() == 0 {
            self.unlinked = self.unlinked.saturating_add(bytes);
        }
    }
}

/// Returns the bytes of all files in a process's private tmpfs at `folder`, and the device; `None` before the process
/// has entered the tmpfs: until then the process sees the machine's own folder, mostly a disk with all its files.
pub(super) fn of_tmpfs(pid: i32, folder: &str) -> Option<(u64, u64)> {
    let path = format!("/proc/{pid}/root{folder}");
    let device = fs::metadata(&path).ok()?.dev();
    if fs::metadata(folder).is_ok_and(|own| own.dev() == device) {
        return None;
    }
    let found = rustix::fs::statvfs(&path).ok()?;
    let used = found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize);
    Some((used, device))
}

/// Returns the number of KiB after a name.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Returns the devices of file systems with files in memory, from `mountinfo`.
fn in_memory(mounts: &str) -> impl Iterator<Item = u64> {
    mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let (major, minor) = place.split(' ').nth(2)?.split_once(':')?;
        let is_memory = IN_MEMORY.contains(&kind.split(' ').next()?);
        is_memory.then(|| Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?)))?
    })
}

/// Returns the range and the file of a line of `/proc/PID/maps`, if the file is in memory or unlinked.
fn held_mapping<'l>(line: &'l str, devices: &Devices) -> Option<(&'l str, FileId)> {
    let mut fields = line.split_ascii_whitespace();
    let range = fields.next()?;
    let (device, inode) = (fields.nth(2)?, fields.next()?);
    let (major, minor) = device.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let id: FileId = (rustix::fs::makedev(number(major)?, number(minor)?), inode.parse().ok()?);
    let is_held = devices.0.contains(&id.0) || line.ends_with(" (deleted)");
    (id.1 != 0 && is_held).then_some((range, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::ftruncate;
    use std::io::Write as _;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_memory_of_the_machine_is_read_by_its_names() {
        let text = "MemTotal: 100 kB\nMemAvailable:   60 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\nShmem:  8 kB\nShmemHugePages: 9 kB\n";
        let machine = Machine::parse(text);
        assert_eq!(machine, Machine { available: 60 * 1_024, shared: 8 * 1_024, swapped: 6 * 1_024 });
        assert_eq!(machine.bound(1_024), 15 * 1_024);
        assert!(Machine::read().available > 0);
    }

    /// Regression: the folder counted as memory, so an instance of 44 MB was reported with the 64 GB of the disk.
    #[test]
    fn the_disk_that_a_process_sees_before_its_own_tmpfs_is_not_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(of_tmpfs(own, "/tmp"), None);
    }

    #[test]
    fn devices_of_memory_are_distinguished_from_disks() {
        let mounts = "\
24 1 254:0 / / rw - ext4 /dev/vda rw
25 1 0:22 / /dev/shm rw shared:4 - tmpfs tmpfs rw
26 1 0:23 / /proc rw - proc proc rw
";
        assert_eq!(in_memory(mounts).collect::<Vec<_>>(), [rustix::fs::makedev(0, 22)]);
    }

    #[test]
    fn mappings_of_memory_and_of_what_has_no_name_count() {
        let devices = Devices([rustix::fs::makedev(0, 1)].into());
        let of = |line: &'static str| held_mapping(line, &devices).map(|(range, id)| (range, id.1));
        assert_eq!(of("7f00-7f01 rw-s 00000000 00:01 1057 /memfd:a b (deleted)"), Some(("7f00-7f01", 1_057)));
        assert_eq!(of("7f00-7f01 rw-p 00000000 00:01 12 /memfd:a"), Some(("7f00-7f01", 12)));
        assert_eq!(of("7f00-7f01 r--p 00000000 fe:00 9 /data/old (deleted)"), Some(("7f00-7f01", 9)));
        assert_eq!(of("7f00-7f01 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6"), None);
        assert_eq!(of("7f00-7f01 rw-p 00000000 00:00 0 "), None);
        assert_eq!(of("broken"), None);
    }

    /// Like the tmpfs of another instance, which is mounted nowhere in this process's namespace.
    #[test]
    fn a_file_of_a_tmpfs_counts_as_memory_also_where_its_device_is_not_known() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else { return };
        file.write_all(&vec![1; 8 * 1024 * 1024]).unwrap();
        if statfs("/dev/shm").unwrap().f_type != TMPFS_MAGIC {
            return;
        }
        let mut files = Files::default();
        files.add(own, &Devices(HashSet::new()), None);
        assert!(files.shared >= 8 * MIB, "{files:?}");
        assert!(files.unlinked < 8 * MIB, "it is on no disk: {files:?}");
    }

    #[test]
    fn memory_that_no_process_has_mapped_is_counted_once() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let devices = Devices::read();
        let (_, before) = memory(&[(own, 0)], &devices, None);
        let mut file = fs::File::from(memfd_create("hidden", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(&vec![1; 8 * 1024 * 1024]).unwrap();
        let _again = file.try_clone().unwrap();
        // A hole is not charged.
        ftruncate(&file, 1 << 30).unwrap();
        let (all, after) = memory(&[(own, 0)], &devices, None);
        let grown = after.shared.saturating_sub(before.shared);
        // Other tests of this process may have such files too, but smaller.
        assert!((8 * MIB..16 * MIB).contains(&grown), "{grown}");
        assert!(all > after.shared && !after.are_too_many);
    }
}
