//! Memory of an instance outside of processes: the files of the tmpfs, and System V shared memory.
//!
//! The kernel frees the memory with the last holder of the tmpfs or the namespace, possibly a process outside of the
//! instance: another process of the same user can open both by `/proc/PID/root` or `/proc/PID/ns`. So the memory is
//! freed at the end of the instance, by descriptors opened at the start.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags, fstatvfs, openat};
use rustix::mount::{
    FsPickFlags, MountPropagationFlags, fsconfig_reconfigure, fsconfig_set_string, fspick, mount_change,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::kernel_files;
use super::private_folders::with_writable_settings;
use devanture_base::durable;

/// System V namespace of the calling process.
const OWN_IPC: &str = "/proc/self/ns/ipc";
/// Kernel setting that removes shared memory without attached processes.
const REMOVE_UNUSED: &str = "/proc/sys/kernel/shm_rmid_forced";
/// Time limit of one step.
const STEP_TIME_MAX: Duration = Duration::from_secs(1);
/// Minimum of files removed in a step of that time, unless new files are created meanwhile.
const STEP_FILES_MIN: u64 = 1_000;

/// Memory of one instance.
#[derive(Debug)]
pub(super) struct PrivateMemory {
    /// Top of the tmpfs.
    tmpfs: OwnedFd,
    /// Namespace of System V objects.
    ipc: OwnedFd,
    /// Descriptor that keeps the name of the terminal, if any.
    terminal: Option<OwnedFd>,
}

/// Outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    /// Only open files are left, or no further progress is possible.
    All,
    /// A part of the memory was freed.
    Part,
    /// A process creates new files meanwhile.
    Resisted,
}

impl PrivateMemory {
    /// Returns the memory of the calling process, with the process's tmpfs and the descriptor for the terminal's name.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub(super) fn own(tmpfs: OwnedFd, terminal: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self { tmpfs, ipc: File::open(OWN_IPC)?.into(), terminal })
    }

    /// Returns the memory from received [`Self::files`].
    pub(super) fn of(files: Vec<OwnedFd>) -> Option<Self> {
        let mut files = files.into_iter();
        Some(Self { tmpfs: files.next()?, ipc: files.next()?, terminal: files.next() })
    }

    pub(super) fn files(&self) -> Vec<BorrowedFd<'_>> {
        let terminal = self.terminal.as_ref().map(OwnedFd::as_fd);
        [self.tmpfs.as_fd(), self.ipc.as_fd()].into_iter().chain(terminal).collect()
    }

    /// Runs one step of freeing, after the instance's last process is gone. The tmpfs cannot grow from then on.
    pub(super) fn free(&self) -> Freed {
        self.free_shared_memory().ok();
        let before = self.shrink();
        let emptied = self.empty();
        let after = self.shrink();
        match emptied.map_err(|error| error.kind()) {
            Err(ErrorKind::TimedOut) if after.saturating_add(STEP_FILES_MIN) <= before => Freed::Part,
            Err(ErrorKind::TimedOut | ErrorKind::DirectoryNotEmpty) => Freed::Resisted,
            Ok(()) | Err(_) => Freed::All,
        }
    }

    fn empty(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        durable::empty_opened_folder(openat(&self.tmpfs, ".", flags, Mode::empty())?, Instant::now() + STEP_TIME_MAX)
    }

    /// Limits the tmpfs to its content; returns the number of files. Possible since Linux 5.2: before, the holder of a
    /// folder can create files without a name, each counted as long as open.
    fn shrink(&self) -> u64 {
        let Ok(found) = fstatvfs(&self.tmpfs) else { return 0 };
        // Zero would mean no limit.
        let blocks = found.f_blocks.saturating_sub(found.f_bfree).max(1);
        let files = found.f_files.saturating_sub(found.f_ffree).max(1);
        self.bound(blocks.saturating_mul(found.f_frsize), files).ok();
        files
    }

    fn bound(&self, bytes: u64, files: u64) -> rustix::io::Result<()> {
        let options = fspick(&self.tmpfs, "", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)?;
        fsconfig_set_string(&options, "size", bytes.to_string())?;
        fsconfig_set_string(&options, "nr_inodes", files.to_string())?;
        fsconfig_reconfigure(&options)
    }

    /// Removes System V shared memory in a short-lived thread, since a thread cannot return from another namespace.
    fn free_shared_memory(&self) -> io::Result<()> {
        thread::scope(|scope| {
            let freeing = thread::Builder::new().spawn_scoped(scope, || {
                move_into_link_name_space(self.ipc.as_fd(), Some(LinkNameSpaceType::InterProcessCommunication))?;
                let remove = || kernel_files::write(Path::new(REMOVE_UNUSED), "1");
                remove().or_else(|_read_only| {
                    unshare(CloneFlags::CLONE_NEWNS)?;
                    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
                    with_writable_settings(remove)
                })
            })?;
            freeing.join().unwrap_or_else(|_panicked| Err(ErrorKind::Other.into()))
        })
    }
}
