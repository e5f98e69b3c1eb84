//! Location and limits of the instances' temporary files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use devanture_host::spawner::{Exit, InstanceLimits, Launch, Means, SpawnerSettings, Temporary};

use crate::spawner::world::{LIMITS, MIB, World, is_root, line, new_edge_id, program, ran, script, settings, user};

/// Spawner without the right to mount, as in most containers.
async fn confined() -> Option<(World, tempfile::TempDir)> {
    let wrapper = tempfile::tempdir().unwrap();
    let drop = "setpriv --bounding-set=-sys_admin";
    let is_there = Command::new("sh").arg("-c").arg(format!("{drop} true")).stdin(Stdio::null()).status();
    if !is_root() || !is_there.is_ok_and(|status| status.success()) {
        eprintln!("left out: only root can give up a privilege here, by setpriv");
        return None;
    }
    let text = format!("#!/bin/sh\nexec {drop} {} \"$@\"\n", program().display());
    script(&wrapper.path().join("edge"), &text, 0o755);
    let settings = SpawnerSettings { program: wrapper.path().join("edge"), ..settings(&new_edge_id()) };
    Some((World::of(settings).await, wrapper))
}

/// Spawner with the right to mount; `None` if the machine permits no mounts.
async fn mounting() -> Option<World> {
    let world = World::start().await;
    if world.spawner.means().private_folders {
        return Some(world);
    }
    eprintln!("left out: nobody can mount a tmpfs here, or only root can");
    None
}

/// Spawner on a machine with `/run/systemd/notify`, as under systemd: here a pipe, in a private `/run`.
async fn managed() -> Option<(World, tempfile::TempDir)> {
    drop(mounting().await?);
    let wrapper = tempfile::tempdir().unwrap();
    let text = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve && \
         mkfifo /run/systemd/notify && exec \"$0\" \"$@\"' {} \"$@\"\n",
        program().display()
    );
    script(&wrapper.path().join("edge"), &text, 0o755);
    let settings = SpawnerSettings { program: wrapper.path().join("edge"), ..settings(&new_edge_id()) };
    Some((World::of(settings).await, wrapper))
}

/// Instance with a new folder of the environment for temporary files.
fn launch(world: &World, script: &str) -> (Launch, Temporary) {
    let folder = world.path("temporary");
    fs::create_dir_all(&folder).unwrap();
    let mut launch = world.shell(script);
    if is_root() {
        chown(&folder, Some(user()), Some(user())).unwrap();
        launch.uid = Some(user());
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let temporary = Temporary { folder: folder.clone(), name: "one".to_owned() };
    launch.temporary = Some(temporary.clone());
    for name in ["TMPDIR", "HOME"] {
        launch.environment.insert(name.to_owned(), folder.display().to_string());
    }
    (launch, temporary)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn temporary_files_of_an_instance_are_its_own_and_bounded_together() {
    let Some(world) = mounting().await else { return };
    fs::write(world.path("page"), "mine").unwrap();
    let fill = |folder: &str| format!("head -c 6M /dev/zero > {folder}/file && echo {folder}");
    let folders = ["$TMPDIR", "/tmp", "/var/tmp", "/dev/shm"];
    let script = format!("cat page; ls -A $TMPDIR; {}; echo end", folders.map(fill).join("; "));
    let (mut launch, temporary) = launch(&world, &script);
    launch.limits = InstanceLimits { temporary_bytes: 16 * MIB, ..LIMITS };
    let ran = world.run(launch).await;
    let own = temporary.folder.display();
    assert_eq!(ran.stdout, format!("mine{own}\n/tmp\nend\n"), "two have room: {ran:?}");
    assert_eq!(ran.stderr.matches("No space left on device").count(), 2, "{ran:?}");
    assert!(is_empty(&temporary.folder), "nothing of it is on the disk");
    let outside = ["/tmp/file", "/var/tmp/file", "/dev/shm/file"];
    assert!(outside.iter().all(|path| fs::metadata(path).map_or(true, |found| found.uid() != user())));
}

/// Debian's PHP has a world-writable folder on the disk.
#[tokio::test]
async fn no_folder_that_everybody_may_write_to_is_shared_with_an_instance() {
    let Some(world) = mounting().await else { return };
    let script = "for folder in $(find /run/lock /var/lib/php -maxdepth 1 -type d -writable 2>/dev/null); do \
        echo x > $folder/of-an-instance && echo written; done";
    let (launch, _) = launch(&world, script);
    let written = world.run(launch).await.stdout;
    let shared = ["/run/lock", "/var/lib/php/sessions"];
    let there: Vec<&Path> = shared.iter().map(Path::new).filter(|folder| folder.is_dir()).collect();
    assert_eq!(written, "written\n".repeat(there.len()));
    assert!(there.iter().all(|folder| !folder.join("of-an-instance").exists()), "{there:?}");
}

#[tokio::test]
async fn files_without_bytes_are_bounded_too() {
    let Some(world) = mounting().await else { return };
    let (mut launch, _) = launch(&world, "i=0; while true > /tmp/$i; do i=$((i + 1)); done 2>/dev/null; echo $i");
    launch.limits = InstanceLimits { temporary_files: 500, ..LIMITS };
    let made: u64 = world.run(launch).await.stdout.trim().parse().unwrap();
    assert!((500..600).contains(&made), "{made}");
}

#[tokio::test]
async fn memory_that_outlives_processes_goes_with_the_instance() {
    let Some(world) = mounting().await else { return };
    let (mut launch, _) =
        launch(&world, "cat /proc/sys/kernel/shmall; ipcmk -M 4096 > /dev/null; ipcs -m | grep -c 0x");
    launch.limits = InstanceLimits { temporary_bytes: 16 * MIB, ..LIMITS };
    let ran = world.run(launch).await;
    let pages = 16 * MIB / rustix::param::page_size() as u64;
    assert_eq!(ran.stdout, format!("{pages}\n1\n"), "{ran:?}");
    let left = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    assert!(!left.contains(&format!(" {} ", user())), "{left}");
}

/// The kernel's limits are gigabytes, and no memory limit counts the objects.
#[tokio::test]
async fn semaphores_and_message_queues_of_an_instance_are_bounded() {
    let Some(world) = mounting().await else { return };
    let script = "ipcmk -S 1000 > /dev/null && echo made; ipcmk -S 1001 2> /dev/null || echo refused; \
        for i in 1 2 3 4; do ipcmk -S 1000; done 2> /dev/null | wc -l; \
        for i in $(seq 20); do ipcmk -Q; done 2> /dev/null | wc -l";
    let (launch, _) = launch(&world, script);
    let ran = world.run(launch).await;
    assert_eq!(ran.stdout, "made\nrefused\n3\n16\n", "{ran:?}");
}

/// System V shared memory of the namespace behind a process's file descriptor 5, with a header line.
fn shared_memory(holder: i32) -> String {
    let mut command = Command::new("nsenter");
    command.arg(format!("--ipc=/proc/{holder}/fd/5")).args(["cat", "/proc/sysvipc/shm"]).stdin(Stdio::null());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Otherwise a web process could retain the files of successive `devanture run` instances until the machine is out of
/// memory.
#[tokio::test]
async fn nobody_keeps_the_temporary_files_of_an_ended_instance() {
    let Some(world) = mounting().await else { return };
    fs::write(world.path("page"), "mine").unwrap();
    let script = "head -c 6M /dev/zero > /tmp/file; head -c 2M /dev/zero > $TMPDIR/file; mkdir -p /tmp/a/b/c; \
        head -c 1M /dev/zero > /dev/shm/file; head -c 1M /dev/zero > /tmp/open; ln -s $PWD /tmp/link; \
        ipcmk -M 1048576 > /dev/null; echo $$; exec sleep 1000";
    let (mut one, _) = launch(&world, script);
    one.id = "shop/prod/web.1".to_owned();
    let mut one = world.launch(one).await.unwrap();
    let pid = line(&mut one).await.trim().to_owned();
    let script = format!(
        "exec 3< /proc/{pid}/root/tmp 4< /proc/{pid}/ns/mnt 5< /proc/{pid}/ns/ipc 6<> /proc/{pid}/root/tmp/open; \
         echo $$; exec sleep 1000"
    );
    let (mut holder, _) = launch(&world, &script);
    holder.id = "shop/prod/web.2".to_owned();
    let mut holder = world.launch(holder).await.unwrap();
    let holding: i32 = line(&mut holder).await.trim().parse().unwrap();
    let held = format!("/proc/{holding}/fd/3");
    let bytes = || {
        let found = rustix::fs::statvfs(held.as_str()).unwrap();
        ((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize)
    };
    assert_eq!((bytes(), shared_memory(holding).lines().count()), ((10 * MIB, 16 * MIB), 2));
    one.signaller().kill();
    assert_eq!(ran(one).await.exit, Exit::Signal(9));
    assert!(is_empty(Path::new(&held)), "no name is left");
    assert_eq!(bytes(), (MIB, MIB), "only the file is left that is open, and there is no room for more");
    assert_eq!(shared_memory(holding).lines().count(), 1);
    assert!(fs::write(format!("{held}/new"), "").is_err());
    assert_eq!(fs::read_to_string(world.path("page")).unwrap(), "mine", "what a link leads to is still there");
    holder.signaller().kill();
    assert_eq!(ran(holder).await.exit, Exit::Signal(9));
}

#[tokio::test]
async fn a_temporary_file_of_another_instance_counts_for_the_one_that_has_it_open() {
    let Some(world) = mounting().await else { return };
    let (mut one, _) = launch(&world, "head -c 15M /dev/zero > /tmp/open; echo $$; exec sleep 1000");
    one.id = "shop/prod/web.1".to_owned();
    let mut one = world.launch(one).await.unwrap();
    let pid = line(&mut one).await.trim().to_owned();
    let (mut holder, _) = launch(&world, &format!("exec 3< /proc/{pid}/root/tmp/open; echo holds; exec sleep 30"));
    holder.id = "shop/prod/web.2".to_owned();
    holder.limits = InstanceLimits { memory_bytes: 14 * MIB, ..LIMITS };
    let holder = ran(world.launch(holder).await.unwrap()).await;
    assert_eq!(holder.exit, Exit::OutOfMemory, "{holder:?}");
    one.signaller().kill();
    assert_eq!(ran(one).await.exit, Exit::Signal(9));
}

#[tokio::test]
async fn two_instances_do_not_see_each_others_temporary_files() {
    let Some(world) = mounting().await else { return };
    let (mut one, temporary) =
        launch(&world, "echo secret > $TMPDIR/one; echo secret > /tmp/one; echo ready; sleep 1000");
    one.id = "shop/prod/web.1".to_owned();
    let mut one = world.launch(one).await.unwrap();
    assert_eq!(line(&mut one).await, "ready\n");
    let (two, _) = launch(&world, "ls -A $TMPDIR; ls -A /dev/shm; cat /tmp/one");
    let two = world.run(two).await;
    assert_eq!((two.stdout.as_str(), two.exit), ("", Exit::Code(1)));
    assert!(is_empty(&temporary.folder));
    one.signaller().kill();
    assert_eq!(ran(one).await.exit, Exit::Signal(9));
}

#[tokio::test]
async fn law_11_an_instance_reports_nothing_to_the_service_manager_of_the_edge() {
    let Some((world, _wrapper)) = managed().await else { return };
    let (launch, _) = launch(&world, "stat -c %F /run/systemd/notify; ls /run/systemd");
    let ran = world.run(launch).await;
    assert_eq!(ran.stdout, "character special file\nnotify\nresolve\n", "{ran:?}");
}

#[tokio::test]
async fn where_nothing_can_be_mounted_an_instance_gets_a_new_folder() {
    let Some((world, _wrapper)) = confined().await else { return };
    assert_eq!(world.spawner.means(), Means::default());
    let (launch, temporary) = launch(&world, "echo $TMPDIR $HOME; echo text > $TMPDIR/file");
    let ran = world.run(launch).await;
    let own = temporary.own();
    assert_eq!(ran.stdout, format!("{0} {0}\n", own.display()), "{ran:?}");
    let found = fs::metadata(&own).unwrap();
    assert_eq!((found.mode() & 0o777, found.uid()), (0o700, user()));
    assert_eq!(fs::read_to_string(own.join("file")).unwrap(), "text\n");
}

#[tokio::test]
async fn no_file_grows_beyond_what_the_instance_may_keep() {
    let world = World::start().await;
    let mut launch = world.shell("head -c 3M /dev/zero > $(dirname $0)/large; cat /proc/self/oom_score_adj");
    launch.command.push(world.path("script").display().to_string());
    launch.limits = InstanceLimits { file_bytes: 2 * MIB, ..LIMITS };
    let ran = world.run(launch).await;
    assert_eq!(fs::metadata(world.path("large")).unwrap().len(), 2 * MIB, "{ran:?}");
    assert_eq!(ran.stdout, "500\n", "it is killed for want of memory before the edge is");
}
