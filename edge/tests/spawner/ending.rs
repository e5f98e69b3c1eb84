//! Signals, and the absence of leftovers after the end of an instance.

use devanture_host::spawner::{Exit, Happened, SpawnError};
use rustix::process::Signal;

use crate::spawner::world::{
    World, eventually, is_alive, is_root, line, next, processes_in, processes_of, ran, send, settings, user,
};

#[tokio::test]
async fn terminate_is_a_signal_to_the_whole_group_and_can_be_answered() {
    let world = World::start().await;
    let child = "trap 'echo child >&2; exit' TERM; echo ready; while :; do sleep 0.01; done";
    let launch = world.shell(&format!("trap 'echo draining; wait; exit 5' TERM; sh -c \"{child}\" & wait"));
    let mut running = world.launch(launch).await.unwrap();
    assert_eq!(line(&mut running).await, "ready\n");
    running.signaller().terminate();
    let ran = ran(running).await;
    assert_eq!((ran.stdout.as_str(), ran.exit), ("draining\n", Exit::Code(5)));
    // Some shells also report which signal ended their children.
    assert!(ran.stderr.ends_with("child\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn who_ignores_terminate_ends_by_kill() {
    let world = World::start().await;
    let launch = world.shell("trap '' TERM; echo ready; while :; do sleep 0.01; echo on; done");
    let mut running = world.launch(launch).await.unwrap();
    assert_eq!(&line(&mut running).await[..6], "ready\n");
    let signaller = running.signaller();
    signaller.terminate();
    for _ in 0..5 {
        assert!(matches!(next(&mut running).await, Some(Happened::Output { .. })), "it goes on");
    }
    signaller.kill();
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
    assert_eq!(world.marked(), [0; 0]);
    // Without effect.
    signaller.kill();
    signaller.terminate();
    assert_eq!(world.run(world.shell("exit 3")).await.exit, Exit::Code(3));
}

#[tokio::test]
async fn nothing_of_an_instance_outlives_it() {
    let world = World::start().await;
    // Children, grandchildren, a separate session, a process without the marker, and a process with neither.
    let launch = world.shell(
        "sleep 1000 & sh -c 'sleep 1000 & sleep 1000' & setsid sleep 1000 & (setsid sh -c 'sleep 1000; true' &)
        env -i sleep 1000 & env -i setsid sleep 1000 & (env -i setsid env -i sleep 1000 &)
        trap '' HUP; echo $(cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep)'); sleep 0.2; exit 3",
    );
    let before = sleepers();
    let ran = world.run(launch).await;
    assert_eq!(ran.exit, Exit::Code(3));
    assert_eq!(world.marked(), [0; 0]);
    let left: Vec<i32> = sleepers().into_iter().filter(|pid| !before.contains(pid)).collect();
    let spawner = world.spawner_pid().await;
    assert!(left.iter().all(|pid| crate::spawner::world::parent_of(*pid) != Some(spawner)), "{left:?}");
}

/// Processes with the name `sleep`.
fn sleepers() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n") && is_alive(*pid)
    })
    .collect()
}

#[tokio::test]
async fn children_end_with_the_main_process_whatever_user_it_has() {
    if !is_root() {
        return;
    }
    let world = World::start().await;
    let mut launch = world.shell("setsid sleep 1000 & echo $!; trap '' TERM; wait");
    launch.uid = Some(user());
    let mut running = world.launch(launch).await.unwrap();
    let child: i32 = line(&mut running).await.trim().parse().unwrap();
    assert!(is_alive(child));
    send(i32::try_from(running.pid).unwrap(), Signal::KILL);
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
    assert!(!is_alive(child));
}

#[tokio::test]
async fn an_instance_that_nobody_follows_any_more_is_killed() {
    let world = World::start().await;
    let mut running = world.launch(world.shell("setsid sleep 1000 & echo ready; yes")).await.unwrap();
    line(&mut running).await;
    drop(running);
    eventually("nothing of it is left", || world.marked().is_empty()).await;
}

#[tokio::test]
async fn the_end_of_the_spawner_is_the_end_of_all() {
    let world = World::start().await;
    let mut one = world.launch(world.shell("trap '' TERM; setsid sleep 1000 & echo ready; wait")).await.unwrap();
    let two = world.launch(world.shell("sleep 1000")).await.unwrap();
    line(&mut one).await;
    let spawner = world.spawner_pid().await;
    world.spawner.end().await;
    assert_eq!(world.marked(), [0; 0]);
    assert!(!is_alive(spawner));
    assert_eq!(ran(one).await.exit, Exit::Signal(9));
    assert_eq!(ran(two).await.exit, Exit::Signal(9));
    assert!(matches!(world.launch(world.shell("true")).await, Err(SpawnError::Gone)));
    world.spawner.end().await;
}

#[tokio::test]
async fn when_nobody_holds_the_spawner_any_more_it_ends() {
    let World { spawner, edge_id, folder } = World::start().await;
    let world = World { spawner: spawner.clone(), edge_id, folder };
    let pid = world.spawner_pid().await;
    let mut running = world.launch(world.shell("echo ready; sleep 1000")).await.unwrap();
    line(&mut running).await;
    drop((spawner, running, world.spawner));
    eventually("the spawner is gone", || !is_alive(pid)).await;
    assert_eq!(crate::spawner::world::marked(&world.edge_id), [0; 0]);
}

/// Restarts itself in a new session without the marker and exits, repeatedly, as long as the file `go` exists, and for
/// at most five minutes: a chain that outlives the test would slow down other tests.
const CHAIN: &str = r"
use POSIX;
open(my $began, '>', 'began'); close $began;
%ENV = ();
my $end = time + 300;
while (-e 'go' && time < $end) { exit if fork; POSIX::setsid(); }
";

/// World with a world-writable folder that contains the chain.
async fn with_chain() -> World {
    let world = World::start().await;
    std::fs::write(world.path("chain.pl"), CHAIN).unwrap();
    std::fs::write(world.path("go"), "").unwrap();
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(world.folder.path(), anybody).unwrap();
    world
}

/// Starts an instance with a running chain.
async fn chained(world: &World, uid: Option<u32>) -> devanture_host::spawner::Running {
    std::fs::remove_file(world.path("began")).ok();
    let mut launch = world.shell("perl chain.pl & wait; echo ready; exec sleep 100000");
    launch.uid = uid;
    let mut running = world.launch(launch).await.unwrap();
    line(&mut running).await;
    eventually("the chain goes on", || world.path("began").exists()).await;
    running
}

#[tokio::test]
async fn a_chain_of_processes_ends_with_its_instance_and_no_other_instance_does() {
    let world = with_chain().await;
    // As the edge's user, and, if possible, as another user.
    for uid in [None, is_root().then_some(user())] {
        let mut other = world.shell("setsid sleep 100000 & echo ready; wait");
        other.uid = uid;
        let mut other = world.launch(other).await.unwrap();
        line(&mut other).await;
        for _ in 0..3 {
            let running = chained(&world, uid).await;
            running.signaller().kill();
            assert_eq!(ran(running).await.exit, Exit::Signal(9));
            // The end is reported once no process of the instance runs: the other instance has two running processes.
            let left = processes_in(world.folder.path());
            assert_eq!(left.len(), 2, "{left:?}");
            assert!(is_alive(i32::try_from(other.pid).unwrap()));
        }
        other.signaller().kill();
        ran(other).await;
        assert_eq!(processes_in(world.folder.path()), [0; 0]);
    }
}

#[tokio::test]
async fn a_chain_of_processes_ends_with_the_spawner() {
    for uid in [None, is_root().then_some(user())] {
        let world = with_chain().await;
        let running = chained(&world, uid).await;
        world.spawner.end().await;
        assert_eq!(processes_in(world.folder.path()), [0; 0]);
        drop(running);
    }
}

#[tokio::test]
async fn everything_of_a_user_ends_at_once() {
    if !is_root() {
        return;
    }
    let world = with_chain().await;
    let (user, stranger) = (user(), user() + 1);
    let mut beside = world.shell("echo ready; exec sleep 100000");
    beside.uid = Some(stranger);
    let mut beside = world.launch(beside).await.unwrap();
    line(&mut beside).await;
    let running = chained(&world, Some(user)).await;
    // A process that hides its identity: root owns the process's files in /proc.
    let hidden =
        "use POSIX; exit if fork; POSIX::setsid(); require 'syscall.ph' if 0; syscall(157, 4, 0); sleep 100000";
    let mut launch = world.command(&["perl", "-e", hidden]);
    launch.uid = Some(user);
    world.run(launch).await;
    world.spawner.end_user(user).await.unwrap();
    assert_eq!(processes_of(user), [0; 0]);
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
    assert!(is_alive(i32::try_from(beside.pid).unwrap()), "another user is left alone");
    // Processes of root and of system users are never ended.
    for uid in [0, 1, 999] {
        assert!(matches!(world.spawner.end_user(uid).await, Err(SpawnError::Refused(_))), "{uid}");
    }
}

#[tokio::test]
async fn what_a_killed_spawner_left_of_its_users_ends_with_the_next_start() {
    if !is_root() {
        return;
    }
    let world = with_chain().await;
    let running = chained(&world, Some(user())).await;
    // Orphans become children of this process, which is an edge, too.
    send(world.spawner_pid().await, Signal::KILL);
    assert_eq!(ran(running).await.exit, Exit::Lost);
    assert_eq!(processes_of(user()), [0; 0]);
    // A process without a known parent: an edge killed together with the spawner knows only its user ids.
    let mut left = std::process::Command::new("sleep");
    let mut left = std::os::unix::process::CommandExt::uid(left.arg("100000").env_clear(), user()).spawn().unwrap();
    let mut settings = settings(&crate::spawner::world::new_edge_id());
    settings.uids = vec![user()..=user()];
    let again = World::of(settings).await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&left.wait().unwrap()), Some(9));
    assert_eq!(processes_of(user()), [0; 0]);
    again.spawner.end().await;
}
