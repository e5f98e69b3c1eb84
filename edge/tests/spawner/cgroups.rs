//! Instances in kernel control groups: accounting, placement and end.
//!
//! Each test is skipped with a message on machines where the test cannot create version 2 control groups with the
//! controllers `memory` and `pids`: such groups belong to root, and controllers may be bound to version 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use devanture_config::edge_toml::ControlGroups;
use devanture_host::spawner::{Exit, InstanceLimits, SpawnerSettings};
use rustix::fs::XattrFlags;

use crate::spawner::door::Door;
use crate::spawner::world::{
    LIMITS, MIB, World, eventually, is_alive, line, new_edge_id, parent_of, ran, settings, user,
};

/// Control group of a test, removed on drop.
struct TestGroup(PathBuf);

impl TestGroup {
    /// Creates a group; `None` if the machine permits none.
    fn new() -> Option<Self> {
        let made = Self::try_new();
        made.inspect_err(|why| eprintln!("left out: no control groups can be created here: {why}")).ok()
    }

    fn try_new() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or("version 2 is not mounted")?;
        let root = Path::new(mount.split(' ').nth(4).ok_or("there is no mount")?);
        let group = Self(root.join(format!("devanture-test-{:016x}", rand::random::<u64>())));
        fs::create_dir(&group.0).map_err(|error| format!("{}: {error}", group.0.display()))?;
        fs::write(root.join("cgroup.subtree_control"), "+memory +pids +cpu").ok();
        let controllers = group.read("cgroup.controllers");
        match ["memory", "pids"].into_iter().find(|name| !controllers.split_whitespace().any(|has| has == *name)) {
            Some(missing) => Err(format!("{} has no controller `{missing}`", root.display())),
            None => Ok(group),
        }
    }

    fn settings(&self, edge_id: &str) -> SpawnerSettings {
        SpawnerSettings { cgroup: ControlGroups::Folder(self.0.clone()), ..settings(edge_id) }
    }

    async fn world(&self) -> World {
        World::of(self.settings(&new_edge_id())).await
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    /// Groups below, by relative path.
    fn below(&self) -> Vec<String> {
        fn all(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
                all(&entry.path(), found);
                found.push(entry.path());
            }
        }
        let mut found = Vec::new();
        all(&self.0, &mut found);
        found.iter().map(|path| path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned()).collect()
    }
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        fs::write(self.0.join("cgroup.kill"), "1").ok();
        for _ in 0..1_000 {
            self.below().iter().for_each(|group| drop(fs::remove_dir(self.0.join(group))));
            let removed = fs::remove_dir(&self.0);
            if removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Group of a process, relative to the group of the test.
fn group_of(pid: u32, test: &TestGroup) -> String {
    let all = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = all.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let name = test.0.file_name().unwrap().to_str().unwrap();
    own.split_once(&format!("/{name}/")).map_or(String::new(), |(_, rest)| rest.to_owned())
}

#[tokio::test]
async fn each_instance_has_a_group_with_its_limits_below_that_of_its_app() {
    let Some(test) = TestGroup::new() else { return };
    let world = test.world().await;
    let mut launch = world.shell("echo ready; sleep 1000");
    launch.limits = InstanceLimits { memory_bytes: 64 * MIB, processes: 40, cpu_percent: 50, ..LIMITS };
    let mut running = world.launch(launch).await.unwrap();
    line(&mut running).await;
    let group = group_of(running.pid, &test);
    assert!(group.starts_with(&format!("edge-{}/app-shop/instance-", world.edge_id)), "{group}");
    let read = |file: &str| test.read(&format!("{group}/{file}")).trim().to_owned();
    assert_eq!(read("memory.max"), (64 * MIB).to_string());
    assert_eq!((read("memory.oom.group"), read("pids.max")), ("1".to_owned(), "1280".to_owned()));
    let of_app = group.rsplit_once('/').unwrap().0;
    assert_eq!(test.read(&format!("{of_app}/pids.max")).trim(), LIMITS.app_tasks.to_string());
    if Path::new(&test.0.join(&group).join("cpu.max")).exists() {
        assert_eq!(read("cpu.max"), "50000 100000");
    }
    let monitor = running.monitor();
    eventually("its use is reported", || monitor.usage().memory_bytes > 0 && monitor.usage().processes == 2).await;
    running.signaller().kill();
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
    assert!(!test.below().iter().any(|group| group.contains("app-")), "{:?}", test.below());
    world.spawner.end().await;
    assert_eq!(test.below(), [""; 0], "nothing is left");
}

#[tokio::test]
async fn memory_that_no_process_has_mapped_is_charged_too() {
    let Some(test) = TestGroup::new() else { return };
    let world = test.world().await;
    let hidden = "
import os, time
part = os.memfd_create('part')
for _ in range(256): os.write(part, bytes(1 << 20))
time.sleep(1000)";
    let mut launch = world.command(&["/usr/bin/python3", "-c", hidden]);
    launch.limits = InstanceLimits { memory_bytes: 96 * MIB, ..LIMITS };
    assert_eq!(world.run(launch.clone()).await.exit, Exit::OutOfMemory);
    // Files of a tmpfs are charged to the writer for as long as the files exist.
    let file = format!("/dev/shm/devanture-test-{:016x}", rand::random::<u64>());
    let shared = format!(
        "
file = open('{file}', 'wb')
for _ in range(256): file.write(bytes(1 << 20))"
    );
    launch.command = ["/usr/bin/python3", "-c", &shared].map(str::to_owned).to_vec();
    let exit = world.run(launch).await.exit;
    fs::remove_file(file).ok();
    assert_eq!(exit, Exit::OutOfMemory);
}

#[tokio::test]
async fn a_group_ends_with_all_that_hides_in_it() {
    let Some(test) = TestGroup::new() else { return };
    let world = test.world().await;
    // Without a common parent, session, process group or marker.
    let hidden = "(env -i setsid sh -c 'env -i setsid sleep 1000 & echo $!' &) | head -1; echo on; sleep 1000";
    let mut launch = world.shell(hidden);
    launch.uid = Some(user());
    let mut running = world.launch(launch).await.unwrap();
    let mut text = line(&mut running).await;
    while !text.contains("on\n") {
        text += &line(&mut running).await;
    }
    let child: i32 = text.lines().next().unwrap().trim().parse().unwrap();
    assert!(group_of(child.unsigned_abs(), &test).contains("/app-shop/instance-"), "a child stays in the group");
    running.signaller().kill();
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
    assert!(!is_alive(child));
}

#[tokio::test]
async fn what_an_earlier_run_left_in_its_groups_is_killed() {
    let Some(test) = TestGroup::new() else { return };
    let edge_id = new_edge_id();
    let group = test.0.join(format!("edge-{edge_id}/app-old/instance-old"));
    fs::create_dir_all(&group).unwrap();
    let mut sleeper = Command::new("sleep").arg("1000").env_clear().stdin(Stdio::null()).spawn().unwrap();
    fs::write(group.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    let ended = tokio::task::spawn_blocking(move || sleeper.wait().unwrap());
    let world = World::of(test.settings(&edge_id)).await;
    assert!(!ended.await.unwrap().success(), "it had no marker, and was found by its group");
    assert!(!group.exists());
    assert_eq!(world.run(world.shell("exit 3")).await.exit, Exit::Code(3));
}

#[tokio::test]
async fn a_service_uses_the_group_that_was_delegated_to_it() {
    let Some(test) = TestGroup::new() else { return };
    // Marked as by systemd.
    rustix::fs::setxattr(&test.0, "trusted.delegate", b"1", XattrFlags::empty()).unwrap();
    let door = Door::open_in_group(&test.0).await;
    let world = World::of(door.settings()).await;
    let mut launch = world.shell("echo ready; sleep 1000");
    launch.uid = Some(user());
    let mut running = world.launch(launch).await.unwrap();
    line(&mut running).await;
    let group = group_of(running.pid, &test);
    assert!(group.starts_with(&format!("edge-{}/app-shop/instance-", world.edge_id)), "{group}");
    let spawner = parent_of(i32::try_from(running.pid).unwrap()).unwrap();
    assert_eq!(group_of(spawner.unsigned_abs(), &test), "supervisor", "a group has processes or controls others");
    world.spawner.end().await;
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
    eventually("its groups are removed", || test.below() == ["supervisor"]).await;
}
