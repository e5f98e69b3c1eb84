//! `devanture-edge exec-instance`: drops all privileges of the process, and then becomes the instance's program.
//!
//! Orders arrive over the socket on standard input, never as arguments or environment variables: no setting of an app
//! (`LD_PRELOAD`, …) may affect this program, which can still be root. The socket closes by itself when the program
//! begins; earlier errors are reported over the socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, mkdir};
use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, getppid, getrlimit, getuid, set_parent_process_death_signal, setrlimit, setsid,
    umask,
};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use super::kernel_files::write;
use super::private_folders::{self, Entered, PrivateFolders};
use super::{Attached, Exit, InstanceLimits, passed_file, system_calls, terminal};

/// Search path for commands of an instance without `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Address space of a process beyond the memory of the instance: thread stacks and reservations of a runtime, which
/// count although never touched. The limit is a second line behind the monitoring of the instance.
const DATA_SLACK_BYTES: u64 = 512 * 1024 * 1024;
/// `oom_score_adj` of instances, of at most 1,000: the kernel kills instances before other processes.
const KILLED_FIRST: &str = "500";

/// Program of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProgramSpec {
    /// Process that must still be the parent.
    pub(super) parent: i32,
    pub(super) command: Vec<String>,
    pub(super) folder: String,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) uid: Option<u32>,
    pub(super) limits: InstanceLimits,
    /// True if a control group limits the memory.
    pub(super) has_cgroup: bool,
    /// Limit that marks the processes of the instance.
    pub(super) tag: Option<u64>,
    pub(super) folders: TemporaryFolders,
    /// Attachment; the passed file is the input or the terminal.
    pub(super) attached: Option<Attached>,
}

/// Location of temporary files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TemporaryFolders {
    /// Shared folders.
    Shared,
    /// New folder, to be created.
    New(PathBuf),
    /// Private folders.
    Private(PrivateFolders),
}

/// Task of the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// Test if instances can have private folders.
    Probe,
    /// Run the program of an instance.
    Run(Box<ProgramSpec>),
}

/// Becomes the program given on standard input. Returns only after a failure, which was reported to the other end of
/// standard input.
///
/// # Errors
/// Errors of standard input, and [`io::ErrorKind::InvalidData`] without an order.
pub fn exec_instance() -> io::Result<()> {
    // Closed when the program begins, like every file opened here; descriptor 0 leads to `/dev/null` from now on.
    let mut status = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let passed = passed_file::receive(&status)?;
    let mut text = String::new();
    status.read_to_string(&mut text)?;
    let failed = |(what, error): (&str, io::Error)| Exit::CannotStart(format!("{what}: {error}"));
    let exit = match serde_json::from_str(&text)? {
        Task::Run(spec) => confine(&spec, passed, &status).map_or_else(failed, |()| become_program(&spec)),
        Task::Probe => match private_folders::enter(&PrivateFolders::smallest(), None) {
            Ok(_entered) => return Ok(()),
            Err(error) => failed(error),
        },
    };
    status.write_all(serde_json::to_string(&exit)?.as_bytes())
}

/// Drops the rights of the process. The order matters: privileges are dropped before requesting the parent-death
/// signal, since dropping resets the signal, and the parent is checked afterwards.
fn confine(spec: &ProgramSpec, passed: Option<OwnedFd>, status: &UnixStream) -> Result<(), (&'static str, io::Error)> {
    let step = |what: &'static str| move |error: rustix::io::Errno| (what, io::Error::from(error));
    setsid().map_err(step("no session of its own"))?;
    if let (Some(attached), Some(passed)) = (&spec.attached, passed) {
        terminal::attach(attached, passed).map_err(step("its input cannot be attached"))?;
    }
    // When the system is out of memory, instances are killed before the edge.
    write(Path::new("/proc/self/oom_score_adj"), KILLED_FIRST).ok();
    umask(Mode::from_raw_mode(0o022));
    let mut named = None;
    if let TemporaryFolders::Private(folders) = &spec.folders {
        let Entered { memory, terminal } = private_folders::enter(folders, spec.uid)?;
        named = terminal;
        // The spawner frees the memory. Sent as root: files sent by other processes of the user count against a limit.
        let sent = passed_file::send(status, &memory.files());
        sent.map_err(|error| ("the folder for temporary files cannot be handed over", error))?;
    }
    let is_other = spec.uid.is_some_and(|uid| uid != getuid().as_raw());
    if let Some(uid) = spec.uid.filter(|_| is_other) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        set_thread_groups(&[]).map_err(step("the groups cannot be given up"))?;
        set_thread_res_gid(gid, gid, gid).map_err(step("the group cannot be changed"))?;
        set_thread_res_uid(uid, uid, uid).map_err(step("the user cannot be changed"))?;
    }
    if let Some(name) = named {
        // As the user, the owner: root may lack the privilege. Open descriptors already lead to the same terminal.
        terminal::reopen(&name).ok();
    }
    set_no_new_privs(true).map_err(step("privileges cannot be ruled out"))?;
    system_calls::forbid().map_err(|error| ("system calls cannot be ruled out", error))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(step("no signal at the parent's end"))?;
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(spec.parent) {
        return Err(("the parent is gone", io::ErrorKind::NotFound.into()));
    }
    limit(Resource::Core, 0).map_err(step("the limit of core files cannot be set"))?;
    if let Some(tag) = spec.tag {
        limit(Resource::Locks, tag).map_err(step("the instance cannot be tagged"))?;
    }
    limit(Resource::Nofile, spec.limits.open_files).map_err(step("the limit of open files cannot be set"))?;
    if is_other {
        // Limit per user; all processes of the user belong to the same app.
        let tasks = spec.limits.tasks_max().min(spec.limits.app_tasks);
        limit(Resource::Nproc, tasks).map_err(step("the limit of processes cannot be set"))?;
    }
    if !spec.has_cgroup {
        let bytes = spec.limits.memory_bytes.saturating_add(DATA_SLACK_BYTES);
        limit(Resource::Data, bytes).map_err(step("the limit of memory cannot be set"))?;
    }
    limit(Resource::Fsize, spec.limits.file_bytes).map_err(step("the limit of files cannot be set"))?;
    umask(Mode::from_raw_mode(0o007));
    if let TemporaryFolders::New(folder) = &spec.folders {
        // As the user, in a folder of the same user.
        mkdir(folder, Mode::RWXU).map_err(step("the folder for temporary files cannot be made"))?;
    }
    std::env::set_current_dir(&spec.folder).map_err(|error| ("the working folder cannot be entered", error))
}

/// Sets a permanent limit, or keeps a lower permanent limit.
fn limit(resource: Resource, value: u64) -> rustix::io::Result<()> {
    let value = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
}

/// Becomes the program; returns the reason of a failure.
fn become_program(spec: &ProgramSpec) -> Exit {
    let Some((command, arguments)) = spec.command.split_first() else {
        return Exit::CannotStart("the command is empty".to_owned());
    };
    let mut found = None;
    for candidate in candidates(command, spec.environment.get("PATH").map(String::as_str)) {
        let mut program = Command::new(&candidate);
        program.arg0(command).args(arguments).env_clear().envs(&spec.environment);
        // Returns only with an error.
        let error = program.exec();
        match why(command, &candidate, &error) {
            Exit::Missing(_) => {}
            // The first failure counts, unless a later folder has an executable file.
            exit => found = found.or(Some(exit)),
        }
    }
    found.unwrap_or_else(|| Exit::Missing(command.clone()))
}

/// Returns the candidate files of a command in order: the command itself with a slash, otherwise a file in each folder
/// of `path`.
fn candidates(command: &str, path: Option<&str>) -> Vec<PathBuf> {
    if command.contains('/') {
        return vec![PathBuf::from(command)];
    }
    let folders = path.unwrap_or(DEFAULT_PATH).split(':').filter(|folder| !folder.is_empty());
    // Always with a slash, so that no further look-up happens.
    folders.map(|folder| Path::new("./").join(folder).join(command)).collect()
}

/// Explains the failed execution of a file.
fn why(command: &str, file: &Path, error: &io::Error) -> Exit {
    let is_there = file.metadata().is_ok();
    match error.kind() {
        // Scripts fail in the same way if the interpreter in their first line is missing.
        io::ErrorKind::NotFound if is_there => {
            Exit::CannotStart(format!("`{command}` is there, but what should run it is not"))
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Exit::Missing(command.to_owned()),
        io::ErrorKind::PermissionDenied if is_there => Exit::NotExecutable(command.to_owned()),
        _ => Exit::CannotStart(format!("`{command}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_slash_is_itself_and_others_are_looked_for() {
        assert_eq!(candidates("./run", Some("/bin")), [Path::new("./run")]);
        assert_eq!(candidates("bin/run", None), [Path::new("bin/run")]);
        assert_eq!(
            candidates("node", Some("/a::b:/c")),
            [Path::new("/a/node"), Path::new("./b/node"), Path::new("/c/node")]
        );
        assert_eq!(candidates("node", None).len(), 3);
    }

    #[test]
    fn what_is_missing_is_distinguished_from_what_may_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_owned();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(why("run", &there, &denied), Exit::NotExecutable("run".to_owned()));
        assert_eq!(why("run", &there.join("no"), &missing), Exit::Missing("run".to_owned()));
        assert!(matches!(why("run", &there, &missing), Exit::CannotStart(_)));
        assert!(matches!(why("run", &there.join("no"), &denied), Exit::CannotStart(_)));
    }
}
