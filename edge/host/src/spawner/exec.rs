//! `devanture-edge exec-instance`: makes of itself what an instance may be, and then becomes the instance's program.
//!
//! Orders come over the socket that is its standard input, never by its arguments or environment: nothing
//! that an app says (`LD_PRELOAD`, …) may touch this program, which can still be root. The socket closes by itself when
//! the program begins; what went wrong before that is said over it.

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

/// Where a command is looked for when the instance has no `PATH` of its own.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Address space of a process beyond the memory of its instance: stacks of threads and what a runtime sets aside,
/// which are counted though they are never touched. The bound is a second line behind the watch of the instance.
const DATA_SLACK_BYTES: u64 = 512 * 1024 * 1024;
/// `oom_score_adj` of instances, of 1,000: the kernel kills them before other processes.
const KILLED_FIRST: &str = "500";

/// The program that this process becomes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The process that must still be there.
    pub(super) parent: i32,
    pub(super) command: Vec<String>,
    pub(super) folder: String,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) uid: Option<u32>,
    pub(super) limits: InstanceLimits,
    /// A control group holds the memory.
    pub(super) has_cgroup: bool,
    /// The limit that marks the processes of the instance.
    pub(super) tag: Option<u64>,
    pub(super) folders: TemporaryFolders,
    /// What came beside this is its input, or its terminal.
    pub(super) attached: Option<Attached>,
}

/// Where temporary files go.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TemporaryFolders {
    /// Into folders that others use too.
    Shared,
    /// Into one that is still to be made.
    New(PathBuf),
    /// Into folders that nobody else sees.
    Private(PrivateFolders),
}

/// The purpose of this process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// To find out whether instances can have private folders.
    Probe,
    /// To become the program of an instance.
    Run(Box<Spec>),
}

/// Becomes the program that the standard input names. Returns only where that failed, which was reported to the other
/// end of the standard input.
///
/// # Errors
/// Errors of the standard input, and [`io::ErrorKind::InvalidData`] if it has no order.
pub fn exec_instance() -> io::Result<()> {
    // Closed when the program begins, like every file that is opened here; the number 0 leads to nothing from now on.
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

/// Gives up what the instance may not have. In an order that matters: privileges go before the parent-death signal is
/// asked for, since their change takes it back, and whether the parent is still there is looked at after that.
fn confine(spec: &Spec, passed: Option<OwnedFd>, status: &UnixStream) -> Result<(), (&'static str, io::Error)> {
    let step = |what: &'static str| move |error: rustix::io::Errno| (what, io::Error::from(error));
    setsid().map_err(step("no session of its own"))?;
    if let (Some(attached), Some(passed)) = (&spec.attached, passed) {
        terminal::attach(attached, passed).map_err(step("its input cannot be attached"))?;
    }
    // When the system is out of memory, an instance goes sooner than the edge.
    write(Path::new("/proc/self/oom_score_adj"), KILLED_FIRST).ok();
    umask(Mode::from_raw_mode(0o022));
    let mut named = None;
    if let TemporaryFolders::Private(folders) = &spec.folders {
        let Entered { memory, terminal } = private_folders::enter(folders, spec.uid)?;
        named = terminal;
        // The spawner frees it. As root: what other processes of its user send counts against a bound of this.
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
        // By its user, whose it is: root may lack the privilege. What is open already leads to the same terminal.
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
        // Of its user, whose other processes are all of the same app.
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
        // By the user that it is for, in a folder of the same user.
        mkdir(folder, Mode::RWXU).map_err(step("the folder for temporary files cannot be made"))?;
    }
    std::env::set_current_dir(&spec.folder).map_err(|error| ("the working folder cannot be entered", error))
}

/// Sets a limit for good, or leaves a lower one that is there for good.
fn limit(resource: Resource, value: u64) -> rustix::io::Result<()> {
    let value = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
}

/// Becomes the program; returns why that failed.
fn become_program(spec: &Spec) -> Exit {
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
            // The first one counts, unless a later folder has one that runs.
            exit => found = found.or(Some(exit)),
        }
    }
    found.unwrap_or_else(|| Exit::Missing(command.clone()))
}

/// The files that a command can mean, in the order in which they are tried: itself where it has a slash, else one in
/// each folder of `path`.
fn candidates(command: &str, path: Option<&str>) -> Vec<PathBuf> {
    if command.contains('/') {
        return vec![PathBuf::from(command)];
    }
    let folders = path.unwrap_or(DEFAULT_PATH).split(':').filter(|folder| !folder.is_empty());
    // With a slash, always, so that nobody looks it up once more.
    folders.map(|folder| Path::new("./").join(folder).join(command)).collect()
}

/// Explains why a file could not be executed.
fn why(command: &str, file: &Path, error: &io::Error) -> Exit {
    let is_there = file.metadata().is_ok();
    match error.kind() {
        // Scripts fail in this way too, when the program that their first line names is not there.
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
