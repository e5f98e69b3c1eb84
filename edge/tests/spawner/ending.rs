//! Signals, and what is left when an instance has ended: nothing.

use devanture_edge::runner::spawner::{Exit, Happened, SpawnError};
use rustix::process::Signal;

use crate::world::{USER, World, eventually, is_alive, is_root, line, next, ran, send};

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
    // Some shells say besides what ended their children.
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
    // Of no consequence.
    signaller.kill();
    signaller.terminate();
    assert_eq!(world.run(world.shell("exit 3")).await.exit, Exit::Code(3));
}

#[tokio::test]
async fn nothing_of_an_instance_outlives_it() {
    let world = World::start().await;
    // Children, grandchildren, a session of its own, one without a marker, and one with neither.
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
    assert!(left.iter().all(|pid| crate::world::parent_of(*pid) != Some(spawner)), "{left:?}");
}

/// Processes that are called `sleep`.
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
    launch.uid = Some(USER);
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
    assert_eq!(crate::world::marked(&world.edge_id), [0; 0]);
}
