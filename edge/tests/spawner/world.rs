//! Spawner with a separate folder and marker, and queries about processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::edge_toml::ControlGroups;
use devanture_host::spawner::{
    Exit, Happened, InstanceLimits, Launch, Running, SpawnError, Spawner, SpawnerSettings, Stream,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1024 * 1024;
/// Generous limits for tests of other subjects.
pub(crate) const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 1024 * MIB,
    processes: 200,
    app_tasks: 16_384,
    open_files: 1_000,
    cpu_percent: 0,
    file_bytes: 1024 * MIB,
    temporary_bytes: 16 * MIB,
    temporary_files: 1_000,
};

thread_local! {
    static USER: u32 = 1_000_000_000 + rand::random::<u32>() % 500_000_000;
}

/// Unused user id, unique to the test's thread: ending a user ends all processes of the user.
pub(crate) fn user() -> u32 {
    USER.with(|user| *user)
}

pub(crate) struct World {
    pub(crate) spawner: Spawner,
    pub(crate) edge_id: String,
    pub(crate) folder: TempDir,
}

/// Unique edge id.
pub(crate) fn new_edge_id() -> String {
    format!("test-{:016x}", rand::random::<u64>())
}

/// Unique user id: an edge kills orphans of the instances' users, and several tests may share one process.
pub(crate) fn new_user() -> u32 {
    user() + 1 + rand::random::<u32>() % 700
}

pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_devanture-edge"))
}

pub(crate) fn settings(edge_id: &str) -> SpawnerSettings {
    SpawnerSettings {
        program: program(),
        socket: None,
        cgroup: ControlGroups::Off,
        edge_id: edge_id.to_owned(),
        folder: PathBuf::from("/nowhere").join(edge_id),
        uids: Vec::new(),
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::of(settings(&new_edge_id())).await
    }

    pub(crate) async fn of(settings: SpawnerSettings) -> Self {
        let edge_id = settings.edge_id.clone();
        let folder = tempfile::tempdir().unwrap();
        // Other users run programs in the folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { spawner: Spawner::start(settings).await.unwrap(), edge_id, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Launch of `command` in the folder, with the test's `PATH` as the only variable.
    pub(crate) fn command(&self, command: &[&str]) -> Launch {
        Launch {
            id: "shop/prod/web.1".to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            folder: self.folder.path().to_owned(),
            environment: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
            uid: None,
            limits: LIMITS,
            temporary: None,
            keep: Vec::new(),
        }
    }

    pub(crate) fn shell(&self, script: &str) -> Launch {
        self.command(&["/bin/sh", "-c", script])
    }

    pub(crate) async fn launch(&self, launch: Launch) -> Result<Running, SpawnError> {
        self.spawner.launch(launch).await
    }

    /// Runs to the end.
    pub(crate) async fn run(&self, launch: Launch) -> InstanceResult {
        ran(self.spawner.launch(launch).await.unwrap()).await
    }

    /// Parent process of all instances.
    pub(crate) async fn spawner_pid(&self) -> i32 {
        self.run(self.shell("echo $PPID")).await.stdout.trim().parse().unwrap()
    }

    /// Processes with the marker of this edge.
    pub(crate) fn marked(&self) -> Vec<i32> {
        marked(&self.edge_id)
    }
}

/// Spawner process that is a child of `parent`.
pub(crate) fn spawner_of(parent: u32) -> Option<i32> {
    pids().into_iter().find(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        parent_of(*pid) == i32::try_from(parent).ok() && words.split(|byte| *byte == 0).nth(1) == Some(b"spawner")
    })
}

pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(crate) fn marked(edge_id: &str) -> Vec<i32> {
    let marker = format!("DEVANTURE_EDGE_ID={edge_id}");
    let mut pids = pids();
    pids.retain(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
    });
    pids
}

/// Running processes of a user.
pub(crate) fn processes_of(user: u32) -> Vec<i32> {
    let mut pids = pids();
    pids.retain(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().next());
        uid == Some(user.to_string().as_str()) && is_alive(*pid)
    });
    pids
}

/// Running processes in a folder.
pub(crate) fn processes_in(folder: &Path) -> Vec<i32> {
    let folder = fs::canonicalize(folder).unwrap();
    let mut pids = pids();
    pids.retain(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == folder) && is_alive(*pid));
    pids
}

/// Returns true if a process runs: neither gone nor a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Returns true if all threads of a process are stopped.
pub(crate) fn is_stopped(pid: i32) -> bool {
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

pub(crate) fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Value in KiB of `/proc/PID/status`, as bytes.
pub(crate) fn status_bytes(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Output and exit of an instance.
#[derive(Debug)]
pub(crate) struct InstanceResult {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

pub(crate) async fn ran(mut running: Running) -> InstanceResult {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    loop {
        match next(&mut running).await.expect("an end is told") {
            Happened::Output { stream: Stream::Stdout, bytes } => stdout.extend_from_slice(&bytes),
            Happened::Output { stream: Stream::Stderr, bytes } => stderr.extend_from_slice(&bytes),
            Happened::Exited(exit) => {
                assert_eq!(next(&mut running).await, None, "nothing comes after the end");
                return InstanceResult { stdout: text(stdout), stderr: text(stderr), exit };
            }
        }
    }
}

/// Next event, which arrives soon.
pub(crate) async fn next(running: &mut Running) -> Option<Happened> {
    tokio::time::timeout(Duration::from_secs(60), running.next()).await.expect("something happens")
}

/// Waits until the instance has written a whole line.
pub(crate) async fn line(running: &mut Running) -> String {
    let mut text = String::new();
    while !text.ends_with('\n') {
        match next(running).await {
            Some(Happened::Output { bytes, .. }) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            other => panic!("{other:?} after {text:?}"),
        }
    }
    text
}

/// Waits until `fact` holds; fails after a long time.
pub(crate) async fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if fact() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("this never came true: {what}");
}

/// Writes an executable file.
pub(crate) fn script(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
