//! What an instance may take, and that one which takes more ends alone.

use devanture_config::edge_toml::ControlGroups;
use devanture_edge::runner::spawner::{Exit, InstanceLimits};

use crate::world::{LIMITS, MIB, USER, World, is_root, line, new_edge_id, ran, script, settings};

#[tokio::test]
async fn a_fork_bomb_ends_with_too_many_processes() {
    let world = World::start().await;
    let mut other = world.launch(world.shell("echo ready; read line; sleep 1000")).await.unwrap();
    line(&mut other).await;
    // Sixty-three shells and as many others, and then no more; half of the shells leave the group.
    let bomb = "[ $1 -gt 0 ] && { sh bomb $(($1 - 1)) & setsid sh bomb $(($1 - 1)) & }; sleep 20 & wait";
    script(&world.path("bomb"), bomb, 0o755);
    let mut launch = world.command(&["sh", "bomb", "5"]);
    launch.limits = InstanceLimits { processes: 30, ..LIMITS };
    launch.uid = is_root().then_some(USER);
    let started = std::time::Instant::now();
    let exit = world.run(launch).await.exit;
    assert_eq!(exit, Exit::TooManyProcesses, "after {:?}", started.elapsed());
    assert_eq!(exit.to_string(), "had more processes than it may");
    // The first one is `sh`, which ended at once: its standard input leads to nothing.
    let left = world.marked();
    assert!(left.len() <= 2, "{left:?}");
    other.signaller().kill();
    assert_eq!(ran(other).await.exit, Exit::Signal(9), "the other one was spared");
}

#[tokio::test]
async fn a_memory_hog_ends_with_out_of_memory() {
    let world = World::start().await;
    let hog = "const held = []; const more = setInterval(() => {
        held.push(Buffer.alloc(1 << 20, 1)); if (held.length > 300) { clearInterval(more); process.exit(9) } }, 5)";
    let mut launch = world.command(&["node", "-e", hog]);
    launch.limits = InstanceLimits { memory_bytes: 96 * MIB, ..LIMITS };
    let ran = world.run(launch).await;
    assert_eq!(ran.exit, Exit::OutOfMemory, "{ran:?}");
    assert_eq!(ran.exit.to_string(), "took more memory than it may");
    assert_eq!(world.run(world.shell("exit 3")).await.exit, Exit::Code(3));
}

#[tokio::test]
async fn memory_of_all_processes_of_an_instance_counts() {
    let world = World::start().await;
    let part = "const held = Buffer.alloc(60 << 20, 1); setTimeout(() => process.exit(9), 20000)";
    let mut launch = world.shell(&format!("for i in 1 2 3; do node -e '{part}' & done; wait"));
    launch.limits = InstanceLimits { memory_bytes: 200 * MIB, ..LIMITS };
    assert_eq!(world.run(launch).await.exit, Exit::OutOfMemory);
    assert_eq!(world.marked(), [0; 0]);
}

#[tokio::test]
async fn a_process_that_takes_much_at_once_fails_or_ends() {
    let world = World::start().await;
    let grab = "try { Buffer.alloc(1 << 30, 1) } catch (error) { process.exit(8) } setTimeout(() => {}, 20000)";
    let mut launch = world.command(&["node", "-e", grab]);
    launch.limits = InstanceLimits { memory_bytes: 96 * MIB, ..LIMITS };
    let exit = world.run(launch).await.exit;
    assert!(matches!(exit, Exit::OutOfMemory | Exit::Code(8) | Exit::Signal(_)), "{exit:?}");
}

#[tokio::test]
async fn without_a_cgroup_that_can_be_used_limits_are_held_by_looking() {
    let mut settings = settings(&new_edge_id());
    settings.cgroup = ControlGroups::Folder("/nowhere/cgroup".into());
    let world = World::of(settings).await;
    let mut launch = world.shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 20 & done; wait");
    launch.limits = InstanceLimits { processes: 5, ..LIMITS };
    assert_eq!(world.run(launch).await.exit, Exit::TooManyProcesses);
}
