//! Small disk that a test can fill, and a disk that fails.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "what a test writes is not durable, and a test that cannot go on should stop"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the filling file.
const FILE: &str = "large";

/// Disk of 64 MiB, of which a sixteenth stays free.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    #[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("left out: only root may mount a small file system");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file until at most `bytes` are free.
    pub(crate) fn fill(&self, bytes: u64) {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        let length = found.f_bavail * found.f_frsize - bytes;
        // Appends to an earlier filling.
        let mut file = fs::File::options().create(true).append(true).open(self.path().join(FILE)).unwrap();
        file.write_all(&vec![1; usize::try_from(length).unwrap()]).unwrap();
    }

    /// Removes the filling file.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.path().join(FILE)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

fn unmount(path: &Path) {
    Command::new("umount").arg("--lazy").arg(path).status().ok();
}

/// Size in bytes of the failing disk.
const IMAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Separate file system that becomes read-only under open files, like a file system on a failing disk.
pub(crate) struct FailingDisk {
    folder: tempfile::TempDir,
    mounted: PathBuf,
}

impl FailingDisk {
    /// Mounts the disk; `None` if the machine has no loop devices or the user must not mount.
    #[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).stderr(Stdio::null()).status();
        let mounted = folder.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        let disk = Self { folder, mounted };
        if made.is_ok_and(|made| made.success()) && disk.mount_as("rw") {
            return Some(disk);
        }
        eprintln!("left out: only root may mount a file system, from a loop device");
        None
    }

    fn mount_as(&self, option: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("loop,{option}")]).arg(self.folder.path().join("image")).arg(&self.mounted);
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// Fails every later write with EROFS, as after a disk error. Earlier writes of the test are on the disk.
    pub(crate) fn fail(&self) {
        assert!(Command::new("sync").arg("-f").arg(&self.mounted).status().unwrap().success());
        self.remount("abort");
    }

    /// Mounts the disk again, once no files are open.
    pub(crate) fn mount_again(&self, option: &str) {
        assert!(Command::new("umount").arg(&self.mounted).status().unwrap().success(), "somebody has files open");
        assert!(self.mount_as(option), "{option}");
    }

    pub(crate) fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{option}")]).arg(&self.mounted);
        assert!(mount.status().unwrap().success(), "{option}");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        unmount(&self.mounted);
    }
}
