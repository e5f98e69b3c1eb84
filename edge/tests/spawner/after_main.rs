//! Processes left by a main process that exits on SIGTERM too early: shells, npm, and other programs that forward no
//! signals.

use devanture_host::spawner::{Exit, Running};

use crate::spawner::world::{World, eventually, is_alive, line, ran, script};

/// Ignores SIGTERM until the file `go` exists.
const JOB: &str = "#!/bin/sh
trap 'echo ends; while ! [ -e go ]; do sleep 0.01; done; echo done; exit' TERM
echo ready
while :; do sleep 0.01; done
";

/// Commands that start the job, and neither forward SIGTERM nor wait for the job.
const COMMANDS: [&str; 7] = [
    "./job; true",
    "sh -c './job; true'; true",
    "./job & wait",
    "(./job &); exec sleep 1000",
    // In a separate session, unreachable by signals to the process group, and without the marker variable.
    "setsid ./job & wait",
    "env -u DEVANTURE_EDGE_ID -u DEVANTURE_INSTANCE_ID setsid ./job & wait",
    // Like npm and similar programs.
    "exec node -e \"require('child_process').spawn('./job', { stdio: 'inherit' })\"",
];

/// Starts the job through a command, and requests the end; returns once the main process has exited.
async fn asked_to_end(world: &World, command: &str) -> Running {
    script(&world.path("job"), JOB, 0o755);
    // Some shells report there which signal ended their children.
    let command = format!("exec 2>/dev/null; {command}");
    let mut running = world.launch(world.shell(&command)).await.unwrap();
    assert_eq!(line(&mut running).await, "ready\n", "{command}");
    running.signaller().terminate();
    assert_eq!(line(&mut running).await, "ends\n", "{command}");
    let main = i32::try_from(running.pid).unwrap();
    eventually("the main process has ended", || !is_alive(main)).await;
    running
}

#[tokio::test]
async fn what_was_asked_to_end_has_ended_with_its_last_process() {
    for command in COMMANDS {
        let world = World::start().await;
        let running = asked_to_end(&world, command).await;
        std::fs::write(world.path("go"), "").unwrap();
        let ran = ran(running).await;
        assert_eq!((ran.stdout.as_str(), ran.exit), ("done\n", Exit::Signal(15)), "{command}");
    }
}

#[tokio::test]
async fn what_does_not_end_when_it_was_asked_to_ends_when_it_is_killed() {
    for command in COMMANDS {
        let world = World::start().await;
        let running = asked_to_end(&world, command).await;
        running.signaller().kill();
        let ran = ran(running).await;
        assert_eq!((ran.stdout.as_str(), ran.exit), ("", Exit::Signal(15)), "{command}");
        assert_eq!(world.marked(), [0; 0]);
    }
}
