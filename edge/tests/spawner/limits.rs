//! Resource limits of an instance: an instance above a limit ends alone.

use devanture_config::edge_toml::ControlGroups;
use devanture_host::spawner::{Exit, InstanceLimits, MeasuredFolder, Temporary};

use crate::spawner::world::{LIMITS, MIB, World, eventually, is_root, line, new_edge_id, ran, script, settings, user};

#[tokio::test]
async fn a_fork_bomb_ends_with_too_many_processes() {
    let world = World::start().await;
    let mut other = world.launch(world.shell("echo ready; read line; sleep 1000")).await.unwrap();
    line(&mut other).await;
    // Sixty-three shells and as many others, and then no more; half of the shells leave the process group.
    let bomb = "[ $1 -gt 0 ] && { sh bomb $(($1 - 1)) & setsid sh bomb $(($1 - 1)) & }; sleep 20 & wait";
    script(&world.path("bomb"), bomb, 0o755);
    let mut launch = world.command(&["sh", "bomb", "5"]);
    launch.limits = InstanceLimits { processes: 30, ..LIMITS };
    launch.uid = is_root().then_some(user());
    let started = std::time::Instant::now();
    let exit = world.run(launch).await.exit;
    assert_eq!(exit, Exit::TooManyProcesses, "after {:?}", started.elapsed());
    assert_eq!(exit.to_string(), "had more processes than it may");
    // The first process is `sh`, which exited at once: standard input is empty.
    let left = world.marked();
    assert!(left.len() <= 2, "{left:?}");
    other.signaller().kill();
    assert_eq!(ran(other).await.exit, Exit::Signal(9), "the other one was spared");
}

#[tokio::test]
async fn an_app_with_too_many_processes_in_all_loses_its_largest_instance() {
    let world = World::start().await;
    let launch = async |id: &str, children: u32| {
        let mut launch = world.shell(&format!("for i in $(seq {children}); do sleep 1000 & done; echo ready; wait"));
        (launch.id, launch.limits) = (id.to_owned(), InstanceLimits { app_tasks: 40, ..LIMITS });
        world.launch(launch).await.unwrap()
    };
    // No process exceeds the limit alone, and another instance does not count.
    let mut neighbour = launch("other/prod/web.1", 30).await;
    let mut first = launch("shop/prod/web.1", 10).await;
    line(&mut neighbour).await;
    line(&mut first).await;
    // The instance may be ended before it is ready.
    let second = launch("shop/staging/web.1", 32).await;
    let exit = ran(second).await.exit;
    assert_eq!(exit, Exit::TooManyTasksOfApp);
    assert!(exit.to_string().contains("app_tasks_max"), "{exit}");
    for other in [first, neighbour] {
        other.signaller().kill();
        assert_eq!(ran(other).await.exit, Exit::Signal(9), "the others were spared");
    }
}

#[tokio::test]
async fn a_memory_hog_ends_with_out_of_memory() {
    let world = World::start().await;
    // The excess memory stays allocated until a check detects the excess.
    let hog = "const held = []; setInterval(() => {
        if (held.length < 300) { held.push(Buffer.alloc(1 << 20, 1)) } }, 5)";
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
    // The program file is mapped in all processes, and does not count as memory of any.
    let part = "const held = Buffer.alloc(75 << 20, 1); setTimeout(() => process.exit(9), 20000)";
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

/// Runs a Python program with 96 MiB of memory; Python names the required system calls.
async fn python(world: &World, program: &str) -> Exit {
    let mut launch = world.command(&["/usr/bin/python3", "-c", program]);
    launch.limits = InstanceLimits { memory_bytes: 96 * MIB, ..LIMITS };
    world.run(launch).await.exit
}

/// Returns true if a suitable Python is installed; otherwise prints a note.
fn has_python() -> bool {
    let found = std::process::Command::new("/usr/bin/python3").args(["-c", "import os; os.memfd_create"]).status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        eprintln!("left out: there is no /usr/bin/python3 with memfd_create");
    }
    has
}

#[tokio::test]
async fn memory_that_no_process_has_mapped_counts() {
    if !has_python() {
        return;
    }
    let world = World::start().await;
    let hidden = "
import os, time
parts = [os.memfd_create('part') for _ in range(8)]
for part in parts: os.write(part, bytes(32 << 20))
time.sleep(100)";
    assert_eq!(python(&world, hidden).await, Exit::OutOfMemory);
    let file = format!("/dev/shm/devanture-test-{:016x}", rand::random::<u64>());
    let shared = format!(
        "
import os, time
file = open('{file}', 'wb')
os.unlink('{file}')
for _ in range(256): file.write(bytes(1 << 20))
time.sleep(100)"
    );
    assert_eq!(python(&world, &shared).await, Exit::OutOfMemory);
}

#[tokio::test]
async fn memory_that_is_mapped_and_nowhere_resident_counts() {
    if !has_python() || !is_root() {
        eprintln!("left out: only root can look at files that are mapped and not open");
        return;
    }
    let world = World::start().await;
    let hidden = "
import mmap, time
size = 256 << 20
part = mmap.mmap(-1, size)
for at in range(0, size, 1 << 20): part[at:at + (1 << 20)] = bytes(1 << 20)
part.madvise(mmap.MADV_DONTNEED)
time.sleep(100)";
    assert_eq!(python(&world, hidden).await, Exit::OutOfMemory);
}

#[tokio::test]
async fn memory_that_processes_share_counts_once() {
    if !has_python() {
        return;
    }
    let world = World::start().await;
    // Like a server that loads the application and then forks workers.
    let workers = "
import os, time
held = bytearray(os.urandom(1 << 20)) * 40
for _ in range(4):
    if os.fork() == 0:
        sum(held[::4096])
        time.sleep(1.5)
        os._exit(0)
for _ in range(4): os.wait()
os._exit(3)";
    assert_eq!(python(&world, workers).await, Exit::Code(3));
}

#[tokio::test]
async fn threads_are_bounded_too() {
    if !has_python() {
        return;
    }
    let world = World::start().await;
    let threads = "
import threading, time
threading.stack_size(32768)
for _ in range(1400): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
time.sleep(100)";
    let mut launch = world.command(&["/usr/bin/python3", "-c", threads]);
    launch.limits = InstanceLimits { processes: 10, ..LIMITS };
    assert_eq!(world.run(launch).await.exit, Exit::TooManyProcesses);
}

#[tokio::test]
async fn files_in_a_tmpfs_of_its_own_are_memory_of_the_instance() {
    let world = World::start().await;
    if !world.spawner.means().private_folders {
        eprintln!("left out: nobody can mount a tmpfs here, or only root can");
        return;
    }
    let folder = world.path("temporary");
    std::fs::create_dir(&folder).unwrap();
    let mut launch = world.shell("head -c 64M /dev/zero > /tmp/file; echo on; sleep 1000");
    launch.temporary = Some(Temporary { folder, name: "one".to_owned() });
    launch.limits = InstanceLimits { memory_bytes: 256 * MIB, temporary_bytes: 512 * MIB, ..LIMITS };
    let mut running = world.launch(launch.clone()).await.unwrap();
    line(&mut running).await;
    let monitor = running.monitor();
    eventually("its use is reported", || {
        let usage = monitor.usage();
        usage.temporary_bytes == 64 * MIB && usage.memory_bytes > 64 * MIB && usage.processes == 2
    })
    .await;
    running.signaller().kill();
    ran(running).await;
    launch.command[2] = launch.command[2].replace("64M", "300M");
    assert_eq!(world.run(launch).await.exit, Exit::OutOfMemory);
}

#[tokio::test]
async fn what_lies_in_folders_is_measured_with_what_has_no_name_any_more() {
    let world = World::start().await;
    let data = world.path("data");
    std::fs::create_dir(&data).unwrap();
    let script = "head -c 3M /dev/zero > data/kept; exec 3> data/gone; rm data/gone; head -c 5M /dev/zero >&3; echo on;
        sleep 1000";
    let mut running = world.launch(world.shell(script)).await.unwrap();
    line(&mut running).await;
    let folders = vec![MeasuredFolder { path: data.display().to_string(), owner: None }];
    let alone = world.spawner.measure(folders.clone(), &[], 100).await.unwrap();
    assert_eq!((alone.files, alone.bytes / MIB, alone.is_partial), (1, 3, false));
    let mut all = alone;
    for _ in 0..500 {
        // The owners of the processes are determined in several rounds.
        all = world.spawner.measure(folders.clone(), &[running.monitor()], 100).await.unwrap();
        if all.bytes > alone.bytes {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(all.bytes / MIB, 8, "{all:?}");
    assert!(world.spawner.measure(folders, &[], 0).await.unwrap().is_partial);
    running.signaller().kill();
    ran(running).await;
}
