//! `devanture run` with a container image as the backend: for a client, the same as a folder.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::thread;

use rustix::termios::tcsetwinsize;

use super::running::{Seat, first_line, signal, spawn};
use crate::support::edge::{Edge, edge};
use crate::support::managed::{Project, eventually};
use crate::support::podman::{Engine, is_installed};
use crate::support::terminal::size;

/// A user without any rights.
const NOBODY: u32 = 65_534;

/// The program of the images, compiled once.
static API: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/image/api.c");
    let program = folder.path().join("api");
    let compiled = Command::new("cc").args(["-static", "-O1", "-o"]).args([&program, &source]).status().unwrap();
    assert!(compiled.success());
    std::fs::read(program).unwrap()
});

/// Writes the program, and the name to report, into the folder of a project.
pub(super) fn write_program(project: &Project, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let program = project.path().join("api");
    std::fs::write(&program, API.as_slice()).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.write("name.txt", name);
}

/// Starts an edge with a live app whose backend is an image.
fn started(engine: &Engine) -> (Edge, Project) {
    let edge = edge().with_runner().with_table(&engine.table("")).with_limit("run_stop_ms", 500).start();
    let project = Project { folder: tempfile::tempdir().unwrap(), app: "game".to_owned() };
    project.front("one");
    write_program(&project, "one");
    project.write("Containerfile", "FROM scratch\nCOPY api name.txt /\nENTRYPOINT [\"/api\"]\n");
    let name = format!("{}:1", engine.name("api"));
    engine.podman(&["build", "--quiet", "--tag", &name, project.path().to_str().unwrap()]);
    engine.podman(&["push", "--quiet", "--tls-verify=false", &name]);
    project.toml(&format!(
        "[server]\nimage = \"{name}\"\nroutes = [\"/api/*\"]\ninstances = 1\nmemory_mb = 64\nstart_ms = 20_000\n"
    ));
    project.push(&edge);
    (edge, project)
}

/// Waits until no container of a command is left.
async fn none_left(engine: &Engine) {
    eventually("the end of the container", async || {
        let all = engine.containers();
        (!all.iter().any(|name| name.contains("-run."))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_an_image_has_its_input_its_outputs_its_code_and_its_signals() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let (edge, project) = started(&engine);
    assert_eq!(project.run(&edge, &["env", "set", "COLOUR=blue"]).code, Some(0));
    let ran = project.run(&edge, &["run", "--", "/api", "env"]);
    let seen = (ran.code, ran.stdout.as_str(), ran.stderr.as_str());
    assert_eq!(seen, (Some(3), "game blue []\n", "an error of one\n"), "{}", edge.log());
    for (program, code, why) in
        [("/none", 127, "is no program of the image"), ("/name.txt", 126, "may not be executed")]
    {
        let ran = project.run(&edge, &["run", "--", program]);
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert!(ran.stderr.contains(program) && ran.stderr.contains(why), "{ran:#?}");
    }
    // All byte values, including podman's detach keys.
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent: Vec<u8> = [b"\x10\x11".to_vec(), sent].concat();
    let mut child = spawn(&project, &edge, &["run", "--", "/api", "import", "and-print"]);
    let (mut input, copy) = (child.stdin.take().unwrap(), sent.clone());
    let writer = thread::spawn(move || input.write_all(&copy).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == sent, "{} of {} bytes", output.stdout.len(), sent.len());
    // An unhandled signal ends the program, despite being the first process of its container; a handled signal reaches
    // the program.
    let mut child = spawn(&project, &edge, &["run", "--", "/api", "wait"]);
    assert_eq!(first_line(child.stdout.as_mut().unwrap()), "waits");
    signal("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut child = spawn(&project, &edge, &["run", "--", "/api", "talk"]);
    // podman sets a terminal type even without a terminal.
    let begin = first_line(child.stdout.as_mut().unwrap());
    assert!(begin.starts_with("pipes ") && begin.contains(" user ") && !begin.contains("user 0"), "{begin}");
    // Waiting would close the input.
    let input = child.stdin.take();
    signal("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    drop(input);
    // The time is over, and the client is gone.
    let ran = project.run(&edge, &["run", "--json", "--timeout", "1s", "--", "/api", "wait"]);
    assert_eq!((ran.code, ran.problem().as_str()), (Some(125), "run_ended"), "{ran:#?}");
    let mut child = spawn(&project, &edge, &["run", "--", "/api", "wait"]);
    assert_eq!(first_line(child.stdout.as_mut().unwrap()), "waits");
    child.kill().unwrap();
    child.wait().unwrap();
    none_left(&engine).await;
    // The instance from before the change of settings is kept warm.
    assert_eq!(engine.containers().len(), 2, "the instances go on: {:?}", engine.containers());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_an_image_has_a_terminal_with_its_size_its_keys_and_its_end() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let (edge, project) = started(&engine);
    let mut seat = Seat::new(&project, &edge, &["run", "--", "/api", "talk"]);
    let begin = seat.read_until("size ");
    assert!(begin.contains("terminal vt100 user ") && !begin.contains("user 0"), "{begin}");
    seat.write("hello\r");
    assert!(seat.read_until("said hello").contains("hello"));
    tcsetwinsize(&seat.outer, size(11, 22)).unwrap();
    signal("-WINCH", &seat.child);
    seat.read_until("size 11 22");
    seat.write("\u{3}");
    seat.read_until("interrupted");
    assert_eq!(seat.child.wait().unwrap().code(), Some(5));
    let mut seat = Seat::new(&project, &edge, &["run", "--", "/api", "talk"]);
    seat.read_until("size ");
    seat.write("\u{4}");
    assert_eq!(seat.child.wait().unwrap().code(), Some(6));
    // The command ends with its closed terminal.
    let mut seat = Seat::new(&project, &edge, &["run", "--", "/api", "wait"]);
    seat.read_until("waits");
    seat.child.kill().unwrap();
    seat.child.wait().unwrap();
    none_left(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_not_root_refuses_an_image_and_says_why() {
    if !is_installed() {
        return;
    }
    let table = "[runner.images]\nregistries = [\"registry.example.org/team\"]\n";
    let edge = edge().with_runner().with_table(table).with_user(NOBODY).start();
    // The reason is in the log too, and podman is never called.
    assert!(edge.log().contains("images are refused") && !edge.log().contains("does not answer"), "{}", edge.log());
    let project = Project { folder: tempfile::tempdir().unwrap(), app: "game".to_owned() };
    project.front("one");
    project.toml("[server]\nimage = \"registry.example.org/team/api:1\"\nroutes = [\"/api/*\"]\n");
    let refused = project.fails(&edge, "image_refused");
    assert!(refused.stdout.contains("only where it is root itself"), "{refused:#?}");
    let ran = project.run(&edge, &["run", "--json", "--", "/api"]);
    assert_eq!((ran.code, ran.problem().as_str()), (Some(125), "not_found"), "{ran:#?}");
}
