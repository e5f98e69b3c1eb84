//! No orphans remain after the end of the edge, of the spawner, or of both at once.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use devanture_host::spawner::{Exit, Spawner};
use rustix::process::Signal;

use crate::spawner::world::{
    World, eventually, is_alive, is_root, is_stopped, line, marked, new_edge_id, new_user, ran, send, settings,
    spawner_of,
};

/// Process that survives signals, with a child, a grandchild, and a process in a separate session.
const FAMILY: &str =
    "trap '' TERM HUP INT; sleep 1000 & sh -c 'sleep 1000 & sleep 1000' & setsid sleep 1000 & echo ready; wait";
/// Number of the processes.
const FAMILY_SIZE: usize = 6;
/// Variable that makes the process of a test act as an edge; the value names the edge.
const ACT_AS: &str = "TEST_ACT_AS_EDGE";

/// Part of the edge in a test's own program, started as the edge to be killed.
async fn act_as_edge(edge_id: &str) {
    let world = World::of(settings(edge_id)).await;
    let mut running = world.launch(world.shell(FAMILY)).await.unwrap();
    line(&mut running).await;
    let mut launch = world.shell(FAMILY);
    launch.uid = is_root().then(new_user);
    let mut other = world.launch(launch).await.unwrap();
    line(&mut other).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
}

/// Edge in a separate process, with two families of processes.
struct OtherEdge {
    process: Child,
    edge_id: String,
    spawner: i32,
}

impl OtherEdge {
    /// Starts the program of `test` again as the edge. Inside that process, returns `None` after the edge's time.
    async fn start(test: &str) -> Option<Self> {
        if let Ok(edge_id) = std::env::var(ACT_AS) {
            act_as_edge(&edge_id).await;
            return None;
        }
        let edge_id = new_edge_id();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("spawner::orphans::{test}")])
            .env(ACT_AS, &edge_id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("both families run", || marked(&edge_id).len() == 2 * FAMILY_SIZE).await;
        let spawner = spawner_of(process.id()).unwrap();
        Some(Self { process, edge_id, spawner })
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for OtherEdge {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn the_death_of_the_edge_is_the_death_of_all() {
    let Some(mut edge) = OtherEdge::start("the_death_of_the_edge_is_the_death_of_all").await else { return };
    edge.kill();
    eventually("nothing is left", || marked(&edge.edge_id).is_empty() && !is_alive(edge.spawner)).await;
}

#[tokio::test]
async fn what_outlived_edge_and_spawner_is_killed_by_the_next_start() {
    let Some(mut edge) = OtherEdge::start("what_outlived_edge_and_spawner_is_killed_by_the_next_start").await else {
        return;
    };
    // Suspended, so that the spawner cannot act in between: a thread without the signal would notice the edge's end.
    send(edge.spawner, Signal::STOP);
    eventually("the spawner stands still", || is_stopped(edge.spawner)).await;
    edge.kill();
    send(edge.spawner, Signal::KILL);
    eventually("the main processes are gone", || marked(&edge.edge_id).len() == 2 * (FAMILY_SIZE - 1)).await;
    let strangers = World::start().await;
    assert_eq!(marked(&edge.edge_id).len(), 2 * (FAMILY_SIZE - 1), "another edge leaves them alone");
    let again = World::of(settings(&edge.edge_id)).await;
    assert_eq!(again.marked(), [0; 0]);
    assert_eq!(again.run(again.shell("exit 3")).await.exit, Exit::Code(3));
    drop(strangers);
}

#[tokio::test]
async fn the_death_of_the_spawner_is_reported_and_leaves_nothing_and_another_one_starts() {
    let world = World::start().await;
    let mut running = world.launch(world.shell(FAMILY)).await.unwrap();
    line(&mut running).await;
    let mut launch = world.shell(FAMILY);
    launch.uid = is_root().then(new_user);
    let mut other = world.launch(launch).await.unwrap();
    line(&mut other).await;
    eventually("all of both run", || world.marked().len() == 2 * FAMILY_SIZE).await;
    let family = world.marked();
    let spawner = world.spawner_pid().await;
    send(spawner, Signal::KILL);
    assert_eq!(ran(running).await.exit, Exit::Lost);
    assert_eq!(ran(other).await.exit, Exit::Lost);
    assert!(family.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(world.marked(), [0; 0]);
    // Immediately, without a pause.
    assert_eq!(world.run(world.shell("exit 3")).await.exit, Exit::Code(3));
    assert_ne!(world.spawner_pid().await, spawner);
    let left: Vec<String> =
        family.iter().filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()).collect();
    assert_eq!(left, [""; 0], "the edge asked for all that came to it");
}

#[tokio::test]
async fn signals_that_are_meant_for_the_edge_leave_the_spawner_alone() {
    let world = World::start().await;
    let mut running = world.launch(world.shell("echo ready; sleep 0.1; echo more; sleep 1000")).await.unwrap();
    line(&mut running).await;
    let spawner = world.spawner_pid().await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        send(spawner, signal);
    }
    assert_eq!(line(&mut running).await, "more\n");
    assert_eq!(world.run(world.shell("exit 3")).await.exit, Exit::Code(3));
    assert_eq!(world.spawner_pid().await, spawner);
    let group = std::fs::read_to_string(format!("/proc/{spawner}/stat")).unwrap();
    let group = group.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().to_owned();
    assert_eq!(group, spawner.to_string(), "a terminal's Ctrl-C does not reach it");
}

#[tokio::test]
async fn a_spawner_that_cannot_be_started_is_an_error() {
    let mut settings = settings(&new_edge_id());
    settings.program = "/nowhere/devanture-edge".into();
    assert!(Spawner::start(settings.clone()).await.is_err());
    settings.program = "/bin/true".into();
    assert!(Spawner::start(settings).await.is_err());
}
