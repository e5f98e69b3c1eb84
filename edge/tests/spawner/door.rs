//! Spawner as a separate service behind a socket.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use devanture_host::spawner::{Exit, SpawnError, Spawner, SpawnerSettings};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use tempfile::TempDir;

use crate::spawner::world::{
    World, eventually, is_root, line, marked, new_edge_id, parent_of, program, ran, send, settings, user,
};

pub(crate) struct Door {
    process: Child,
    folder: TempDir,
}

/// Range of user ids for the spawner service.
fn uids() -> String {
    format!("{}-{}", user(), user() + 999)
}

impl Door {
    async fn open(user: &str) -> Self {
        Self::open_telling(user, &uids(), Stdio::inherit()).await
    }

    async fn open_telling(user: &str, uids: &str, stderr: Stdio) -> Self {
        Self::start(Command::new(program()), "off", user, uids, stderr).await
    }

    /// Spawner service that starts in a control group, and detects the group.
    pub(crate) async fn open_in_group(group: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        let enter = format!("echo $$ > '{}/cgroup.procs' && exec \"$0\" \"$@\"", group.display());
        command.arg("-c").arg(enter).arg(program());
        Self::start(command, "auto", "root", &uids(), Stdio::inherit()).await
    }

    async fn start(mut command: Command, cgroup: &str, user: &str, uids: &str, stderr: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("spawner.sock");
        command.arg("spawner").arg("--listen").arg(&socket).args(["--user", user, "--uids", uids]);
        command.args(["--cgroup", cgroup]);
        let process = command.stdin(Stdio::null()).stderr(stderr).spawn().unwrap();
        let door = Self { process, folder };
        eventually("somebody listens", || UnixStream::connect(&socket).is_ok()).await;
        door
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("spawner.sock")
    }

    pub(crate) fn settings(&self) -> SpawnerSettings {
        let edge_id = new_edge_id();
        let folder = self.folder.path().join(&edge_id);
        SpawnerSettings { socket: Some(self.socket()), program: "/nowhere".into(), folder, ..settings(&edge_id) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        forget_claims(self.folder.path());
    }
}

/// Deletes the user id claims of edges whose folders lay below `folder`, so that other tests can use the ids.
fn forget_claims(folder: &Path) {
    for entry in std::fs::read_dir("/var/lib/devanture-uids").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if text.contains(folder.to_str().unwrap()) {
            std::fs::remove_file(entry.path().with_extension("lock")).ok();
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

#[tokio::test]
async fn an_edge_that_connects_gets_its_own_users_only() {
    if !is_root() {
        return;
    }
    let door = Door::open("root").await;
    let world = World::of(door.settings()).await;
    let mut launch = world.shell("id -u");
    for uid in [None, Some(0), Some(1_000), Some(user() - 1), Some(user() + 1_000)] {
        launch.uid = uid;
        assert!(matches!(world.launch(launch.clone()).await, Err(SpawnError::Refused(_))), "{uid:?}");
    }
    launch.uid = Some(user());
    let ran = world.run(launch).await;
    assert_eq!((ran.stdout, ran.exit), (format!("{}\n", user()), Exit::Code(0)));
    world.spawner.end().await;
}

#[tokio::test]
async fn the_end_of_a_connection_ends_its_instances_and_no_others() {
    if !is_root() {
        return;
    }
    let door = Door::open_telling("0", "auto", Stdio::inherit()).await;
    let (one, two) = (World::of(door.settings()).await, World::of(door.settings()).await);
    let start = async |world: &World| {
        let mut launch = world.shell("trap '' TERM; setsid sleep 1000 & echo ready; wait");
        launch.uid = first_of(world);
        let mut running = world.launch(launch).await.unwrap();
        line(&mut running).await;
        running
    };
    let (first, second) = (start(&one).await, start(&two).await);
    one.spawner.end().await;
    assert_eq!(one.marked(), [0; 0]);
    assert_eq!(ran(first).await.exit, Exit::Signal(9));
    eventually("the other one still runs", || two.marked().len() == 2).await;
    // The spawner process dies: the listening service kills the orphaned instances.
    send(parent_of(i32::try_from(second.pid).unwrap()).unwrap(), Signal::KILL);
    assert_eq!(ran(second).await.exit, Exit::Lost);
    eventually("nothing is left", || two.marked().is_empty()).await;
    assert_eq!(ran(start_again(&two).await).await.exit, Exit::Code(3));
    two.spawner.end().await;
    assert_eq!(marked(&two.edge_id), [0; 0]);
}

async fn start_again(world: &World) -> devanture_host::spawner::Running {
    let mut launch = world.shell("exit 3");
    launch.uid = first_of(world);
    world.launch(launch).await.unwrap()
}

/// First user id claimed by the spawner.
fn first_of(world: &World) -> Option<u32> {
    Some(*world.spawner.uids().unwrap().start())
}

#[tokio::test]
async fn two_edges_of_a_door_share_no_user() {
    if !is_root() {
        return;
    }
    let door = Door::open_telling("root", "auto", Stdio::inherit()).await;
    let (one, two) = (World::of(door.settings()).await, World::of(door.settings()).await);
    let (first, second) = (one.spawner.uids().unwrap().clone(), two.spawner.uids().unwrap().clone());
    assert!(!first.contains(second.start()) && !second.contains(first.start()), "{first:?} {second:?}");
    let mut launch = one.shell("true");
    launch.uid = Some(*second.start());
    assert!(matches!(one.launch(launch).await, Err(SpawnError::Refused(_))));
    // A reconnecting edge keeps the user ids, even while the earlier spawner is still ending.
    let settings = SpawnerSettings { edge_id: one.edge_id.clone(), ..door.settings() };
    drop(one);
    assert_eq!(World::of(settings).await.spawner.uids(), Some(&first));
    // A range belongs permanently to one edge.
    let door = Door::open("root").await;
    let first = World::of(door.settings()).await;
    first.spawner.end().await;
    let refused = Spawner::start(door.settings()).await.unwrap_err().to_string();
    assert!(refused.contains(&uids()) && refused.contains(door.folder.path().to_str().unwrap()), "{refused}");
}

#[tokio::test]
async fn a_door_outlasts_an_edge_that_it_cannot_let_in() {
    if !is_root() {
        return;
    }
    let mut door = Door::open_telling("root", &uids(), Stdio::piped()).await;
    let pid = Pid::from_raw(door.process.id().try_into().unwrap());
    let few = Rlimit { current: Some(1), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    let _edge = UnixStream::connect(door.socket()).unwrap();
    let stderr = door.process.stderr.take().unwrap();
    let stderr = tokio::task::spawn_blocking(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        while !line.contains("could not be let in") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        }
        stderr
    });
    let stderr = stderr.await.unwrap();
    prlimit(pid, Resource::Nofile, before).unwrap();
    let world = World::of(door.settings()).await;
    let mut launch = world.shell("echo in");
    launch.uid = Some(user());
    assert_eq!(world.run(launch).await.stdout, "in\n");
    world.spawner.end().await;
    drop(stderr);
}

#[tokio::test]
async fn another_user_is_turned_away() {
    if !is_root() {
        return;
    }
    let door = Door::open("12345").await;
    assert!(Spawner::start(door.settings()).await.is_err());
}

#[test]
fn a_door_needs_the_user_that_it_is_for() {
    let fails = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.arg("spawner").args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        assert!(!command.status().unwrap().success(), "{arguments:?}");
    };
    let socket = tempfile::tempdir().unwrap().path().join("s").to_str().unwrap().to_owned();
    fails(&["--listen", &socket]);
    fails(&["--listen", &socket, "--user", "root"]);
    fails(&["--listen", &socket, "--user", "root", "--uids", "0-10"]);
    fails(&["--listen", &socket, "--user", "root", "--uids", "20-10"]);
    fails(&["--listen", &socket, "--user", "5", "--uids", "1-10"]);
    fails(&["--listen", &socket, "--user", "nobody-is-called-so", "--uids", "10-20"]);
    assert!(!Path::new(&socket).exists());
}
