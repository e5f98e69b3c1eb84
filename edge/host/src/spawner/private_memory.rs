//! Memory of an instance that belongs to no process: the files of its tmpfs, and its System V shared memory.
//!
//! The kernel frees it with the last one that holds the tmpfs or the namespace, which need not be a process of the
//! instance: another one of the same user opens them by `/proc/PID/root` or `/proc/PID/ns`. So it is freed at the end
//! of the instance, by descriptors that were taken at its beginning.

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

/// The namespace of System V objects of the calling process.
const OWN_IPC: &str = "/proc/self/ns/ipc";
/// Removes shared memory that no process has attached.
const REMOVE_UNUSED: &str = "/proc/sys/kernel/shm_rmid_forced";
/// Longest time of one step.
const STEP_TIME_MAX: Duration = Duration::from_secs(1);
/// Files that are removed in a step of that time, at least, unless somebody makes new ones meanwhile.
const STEP_FILES_MIN: u64 = 1_000;

/// The memory of one instance.
#[derive(Debug)]
pub(super) struct PrivateMemory {
    /// The top of its tmpfs.
    tmpfs: OwnedFd,
    /// Its namespace of System V objects.
    ipc: OwnedFd,
    /// What keeps the name of its terminal, if it has one, until its end.
    terminal: Option<OwnedFd>,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    /// Nothing is left but what somebody has open, or nothing more can be done.
    All,
    /// There is less of it.
    Part,
    /// Somebody makes new files meanwhile.
    Resisted,
}

impl PrivateMemory {
    /// That of the calling process, whose tmpfs this is, with what keeps the name of its terminal.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn own(tmpfs: OwnedFd, terminal: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self { tmpfs, ipc: File::open(OWN_IPC)?.into(), terminal })
    }

    /// That of [`Self::files`], as they arrived.
    pub(super) fn of(files: Vec<OwnedFd>) -> Option<Self> {
        let mut files = files.into_iter();
        Some(Self { tmpfs: files.next()?, ipc: files.next()?, terminal: files.next() })
    }

    pub(super) fn files(&self) -> Vec<BorrowedFd<'_>> {
        let terminal = self.terminal.as_ref().map(OwnedFd::as_fd);
        [self.tmpfs.as_fd(), self.ipc.as_fd()].into_iter().chain(terminal).collect()
    }

    /// One step of freeing it, when no process of the instance is left. The tmpfs cannot grow from then on.
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

    /// Bounds the tmpfs to what is in it; gives the number of its files. Linux can since 5.2: before, a holder of a
    /// folder can make files without a name in it, each of which is counted as long as it is open.
    fn shrink(&self) -> u64 {
        let Ok(found) = fstatvfs(&self.tmpfs) else { return 0 };
        // None at all would be no bound.
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

    /// Removes its System V shared memory, from a thread that ends: none comes back from another namespace.
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
