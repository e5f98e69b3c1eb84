//! Pseudo-terminals of instances, and of the machine.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use devanture_host::spawner::{Attached, Exit, Launch, SpawnError, SpawnerSettings, Temporary, WindowSize};

use crate::spawner::world::{World, is_root, line, new_edge_id, program, ran, script, settings, user};

/// Maximum number of terminals per instance.
const MAX: &str = "32\n";
/// Capabilities of the spawner's service (deploy/devanture-spawner.service).
const SERVICE: &str =
    "setpriv --bounding-set=-all,+setuid,+setgid,+kill,+chown,+dac_read_search,+sys_ptrace,+sys_admin";
/// Limits the machine to one terminal.
const ONE: &str = "mount -t devpts -o newinstance,ptmxmode=0666,max=1 devpts /dev/pts && \
    { [ -L /dev/ptmx ] || mount --bind /dev/pts/ptmx /dev/ptmx; }";

/// Spawner with the right to mount, started by a script that ends with `exec` and the given words before the program.
/// `None` if the machine permits no mounts, or has no terminal folder.
async fn mounting(script_words: &str) -> Option<(World, tempfile::TempDir)> {
    let wrapper = tempfile::tempdir().unwrap();
    let file = wrapper.path().join("edge");
    script(&file, &format!("#!/bin/sh\n{script_words} {} \"$@\"\n", program().display()), 0o755);
    let world = World::of(SpawnerSettings { program: file, ..settings(&new_edge_id()) }).await;
    if world.spawner.means().private_folders && Path::new("/dev/pts/ptmx").exists() {
        return Some((world, wrapper));
    }
    eprintln!("left out: nobody can mount terminals here, or only root can");
    None
}

/// Returns true if a script can run as root.
fn can(script: &str) -> bool {
    let run = || Command::new("sh").args(["-c", script]).stdin(Stdio::null()).status();
    let can = is_root() && run().is_ok_and(|status| status.success());
    if !can {
        eprintln!("left out: only root can, and where the machine allows it: {script}");
    }
    can
}

/// Instance with private folders, and so with private terminals.
fn launch(world: &World, id: &str, script: &str) -> Launch {
    let folder = world.path(&id.replace('/', "-"));
    fs::create_dir_all(&folder).unwrap();
    let mut launch = world.command(&["bash", "-c", script]);
    launch.id = id.to_owned();
    if is_root() {
        chown(&folder, Some(user()), Some(user())).unwrap();
        launch.uid = Some(user());
    }
    launch.temporary = Some(Temporary { folder, name: "one".to_owned() });
    launch
}

/// Instance attached to a terminal of the edge.
fn attached() -> Attached {
    Attached { terminal: Some(WindowSize { rows: 30, columns: 100 }) }
}

/// With shared terminals, an instance that opens all terminals leaves none for a login.
#[tokio::test]
async fn an_instance_opens_so_many_terminals_and_takes_none_of_others() {
    let Some((world, _wrapper)) = mounting("exec").await else { return };
    let script = "opened=0; for file in $(seq 20 69); do \
        eval \"exec $file<>/dev/ptmx\" && opened=$((opened + 1)); done 2> /dev/null; echo $opened; exec sleep 1000";
    let mut greedy = world.launch(launch(&world, "shop/prod/web.1", script)).await.unwrap();
    assert_eq!(line(&mut greedy).await, MAX);
    let mut other = world.launch(launch(&world, "shop/prod/web.2", script)).await.unwrap();
    assert_eq!(line(&mut other).await, MAX, "each has its own");
    for instance in [greedy, other] {
        instance.signaller().kill();
        assert_eq!(ran(instance).await.exit, Exit::Signal(9));
    }
}

/// The terminal is one of the machine's terminals, which programs look up by name.
#[tokio::test]
async fn the_terminal_of_an_attached_instance_has_its_name_among_those_of_the_instance() {
    let script = "tty; stty size; echo by name > $(tty); echo by itself > /dev/tty; readlink /proc/self/fd/0; \
        exec 20<>/dev/ptmx; echo $(ls /dev/pts | sort)";
    let seen = "/dev/pts/0\r\n30 100\r\nby name\r\nby itself\r\n/dev/pts/0\r\n0 1 ptmx\r\n";
    for privileges in ["exec".to_owned(), format!("exec {SERVICE}")] {
        if privileges != "exec" && !can(&format!("{SERVICE} true")) {
            return;
        }
        let Some((world, _wrapper)) = mounting(&privileges).await else { return };
        let launch = launch(&world, "shop/prod/run.1", script);
        let ran = ran(world.spawner.launch_attached(launch, attached()).await.unwrap()).await;
        assert_eq!((ran.stdout.as_str(), &ran.exit), (seen, &Exit::Code(0)), "{privileges}: {ran:?}");
    }
}

#[tokio::test]
async fn a_machine_without_a_terminal_left_says_so() {
    if !can(&format!("exec unshare --mount sh -c '{ONE}'")) {
        return;
    }
    let words = format!("exec unshare --mount sh -c '{ONE} && exec \"$@\"' sh");
    let Some((world, _wrapper)) = mounting(&words).await else { return };
    let first = launch(&world, "shop/prod/run.1", "echo begun; exec sleep 1000");
    let mut first = world.spawner.launch_attached(first, attached()).await.unwrap();
    assert_eq!(line(&mut first).await, "begun\r\n");
    let second = world.spawner.launch_attached(launch(&world, "shop/prod/run.2", "tty"), attached()).await;
    let error = second.err().unwrap();
    assert!(matches!(error, SpawnError::NoTerminalLeft), "{error}");
    // Without a terminal, and with private terminals, everything is present.
    let none = launch(&world, "shop/prod/run.3", "exec 20<>/dev/ptmx; ls /dev/pts | sort");
    let none = ran(world.spawner.launch_attached(none, Attached { terminal: None }).await.unwrap()).await;
    assert_eq!((none.stdout.as_str(), &none.exit), ("0\nptmx\n", &Exit::Code(0)), "{none:?}");
    first.signaller().kill();
    assert_eq!(ran(first).await.exit, Exit::Signal(9));
}
