//! Initial state of an instance, and reports of failed starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use devanture_host::spawner::{Exit, InstanceLimits, SpawnError, SpawnerSettings};

use crate::spawner::world::{LIMITS, World, is_root, new_edge_id, program, ran, script, settings, user};

#[tokio::test]
async fn the_environment_is_what_was_given_and_the_markers() {
    let world = World::start().await;
    let given = [("A", "1"), ("B", "with space\nand line"), ("EMPTY", ""), ("LD_PRELOAD_NOT", "x=y")];
    let mut launch = world.command(&["/usr/bin/env", "-0"]);
    launch.environment = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let ran = world.run(launch).await;
    assert_eq!(ran.exit, Exit::Code(0), "{ran:?}");
    let mut found: BTreeMap<&str, &str> =
        ran.stdout.split_terminator('\0').map(|variable| variable.split_once('=').unwrap()).collect();
    assert_eq!(found.remove("DEVANTURE_EDGE_ID"), Some(world.edge_id.as_str()));
    assert!(found.remove("DEVANTURE_INSTANCE_ID").unwrap().starts_with("shop/prod/web.1#"));
    assert_eq!(found, BTreeMap::from(given));
}

#[tokio::test]
async fn an_instance_has_a_session_a_folder_and_three_files_of_its_own() {
    let world = World::start().await;
    let script =
        "pwd -P; umask; grep NoNewPrivs /proc/$$/status; ulimit -n; ulimit -c; readlink /proc/$$/fd/0; echo $$;
        cut -d' ' -f5,6 /proc/$$/stat";
    let mut launch = world.shell(script);
    launch.limits = InstanceLimits { open_files: 77, ..LIMITS };
    let running = world.launch(launch).await.unwrap();
    let own = running.pid.to_string();
    let ran = ran(running).await;
    let folder = fs::canonicalize(world.folder.path()).unwrap();
    let session = format!("{own} {own}");
    let expected = [folder.to_str().unwrap(), "0007", "NoNewPrivs:\t1", "77", "0", "/dev/null", &own, &session];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected, "{ran:?}");
    // `ls` opens one more file descriptor for the listed folder.
    assert_eq!(world.run(world.command(&["ls", "/proc/self/fd"])).await.stdout, "0\n1\n2\n3\n");
}

#[tokio::test]
async fn files_that_were_left_open_in_the_edge_are_in_no_instance() {
    let wrapper = tempfile::tempdir().unwrap();
    let program = program();
    script(&wrapper.path().join("edge"), &format!("#!/bin/sh\nexec {} \"$@\" 7</dev/null\n", program.display()), 0o755);
    let world = World::of(SpawnerSettings { program: wrapper.path().join("edge"), ..settings(&new_edge_id()) }).await;
    assert_eq!(world.run(world.command(&["ls", "/proc/self/fd"])).await.stdout, "0\n1\n2\n3\n");
}

#[tokio::test]
async fn how_it_ended_is_reported_as_it_was() {
    let world = World::start().await;
    assert_eq!(world.run(world.shell("exit 0")).await.exit, Exit::Code(0));
    let ran = world.run(world.shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.exit.clone()), ("out\n", "err\n", Exit::Code(7)));
    assert_eq!(ran.exit.to_string(), "exited with code 7");
    let ran = world.run(world.shell("kill -ABRT $$")).await;
    assert_eq!(ran.exit, Exit::Signal(6));
    assert_eq!(ran.exit.to_string(), "was ended by signal 6");
}

#[tokio::test]
async fn a_command_is_found_in_its_own_path_and_folder() {
    let world = World::start().await;
    fs::create_dir(world.path("bin")).unwrap();
    script(&world.path("bin/greet"), "#!/bin/sh\necho greeted $0 $1\n", 0o755);
    let ran = world.run(world.command(&["bin/greet", "a b"])).await;
    assert_eq!(ran.stdout, "greeted bin/greet a b\n", "{ran:?}");
    for path in [world.path("bin"), PathBuf::from("bin")] {
        let mut launch = world.command(&["greet"]);
        launch.environment.insert("PATH".to_owned(), format!("/nowhere:{}:/bin:/usr/bin", path.display()));
        assert_eq!(world.run(launch).await.exit, Exit::Code(0));
    }
    let mut launch = world.command(&["sh", "-c", "exit 4"]);
    launch.environment.clear();
    assert_eq!(world.run(launch).await.exit, Exit::Code(4), "without a PATH the usual folders are looked in");
}

#[tokio::test]
async fn a_command_that_cannot_begin_is_distinguished_from_one_that_fails() {
    let world = World::start().await;
    script(&world.path("plain"), "#!/bin/sh\n", 0o644);
    script(&world.path("lost"), "#!/nowhere/interpreter\n", 0o755);
    let exit = async |command: &[&str]| world.run(world.command(command)).await.exit;
    let missing = exit(&["no-such-program"]).await;
    assert_eq!(missing, Exit::Missing("no-such-program".to_owned()));
    assert_eq!(missing.to_string(), "there is no `no-such-program`, neither in its folder nor in its PATH");
    assert_eq!(exit(&["./server.js"]).await, Exit::Missing("./server.js".to_owned()));
    let plain = exit(&["./plain"]).await;
    assert_eq!(plain, Exit::NotExecutable("./plain".to_owned()));
    assert_eq!(plain.to_string(), "`./plain` may not be run: it lacks the run bit");
    assert!(matches!(exit(&["./lost"]).await, Exit::CannotStart(_)));
    assert!(matches!(exit(&[]).await, Exit::CannotStart(_)));
    // The same exit code as a shell's for a missing command, from a program that did start.
    assert_eq!(exit(&["sh", "-c", "exit 127"]).await, Exit::Code(127));
    let mut launch = world.shell("true");
    launch.folder = world.path("no-folder");
    let Exit::CannotStart(reason) = world.run(launch).await.exit else { panic!("it has no folder") };
    assert!(reason.contains("working folder"), "{reason}");
}

#[tokio::test]
async fn an_order_that_is_too_long_is_an_error_and_harms_nobody() {
    let world = World::start().await;
    let mut launch = world.shell("true");
    launch.environment.insert("LONG".to_owned(), "x".repeat(3 * 1024 * 1024));
    assert!(matches!(world.launch(launch).await, Err(SpawnError::Order(_))));
    let mut launch = world.shell("true");
    launch.environment.insert("LONG".to_owned(), "x".repeat(1024 * 1024));
    assert!(matches!(world.run(launch).await.exit, Exit::CannotStart(_)), "no program can have so long a variable");
    assert_eq!(world.run(world.shell("true")).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn an_instance_runs_as_its_own_user_and_reads_nothing_of_root() {
    if !is_root() {
        return;
    }
    let world = World::start().await;
    let secret = world.path("secret");
    script(&secret, "of root", 0o600);
    let mut launch = world.shell("id -u; id -g; id -G; cat secret; grep -E '^Cap(Prm|Eff|Amb)' /proc/$$/status");
    launch.uid = Some(user());
    let ran = world.run(launch).await;
    let none = "0000000000000000";
    let expected = format!("{0}\n{0}\n{0}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\n", user());
    assert_eq!(ran.stdout, expected);
    assert!(ran.stderr.contains("secret"), "{ran:?}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let mut launch = world.command(&["cat", "secret"]);
    launch.uid = Some(user());
    assert_eq!(world.run(launch).await.stdout, "of root");
}

#[tokio::test]
async fn nothing_of_an_app_reaches_the_program_that_is_still_root() {
    if !is_root() {
        return;
    }
    let world = World::start().await;
    // The dynamic loader warns on standard error for every program with the variable.
    let mut launch = world.command(&["/bin/sh", "-c", "true"]);
    launch.environment.insert("LD_PRELOAD".to_owned(), "/nowhere/preload.so".to_owned());
    let ran = world.run(launch).await;
    let complaints: BTreeSet<&str> = ran.stderr.lines().collect();
    assert_eq!(complaints.len(), ran.stderr.lines().count(), "once, for the program itself: {ran:?}");
    assert_eq!(complaints.len(), 1, "{ran:?}");
}
