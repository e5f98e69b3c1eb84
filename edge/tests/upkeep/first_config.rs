//! `devanture-edge init` writes a working configuration; `devanture-edge --help`, completions and man pages list all
//! commands.

use std::path::Path;
use std::process::{Command, Output};

use devanture_config::edge_toml::EdgeFile;

use crate::support::RunningEdge;

fn init(folder: &Path, flags: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_devanture-edge");
    Command::new(program).arg("init").args(flags).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_configuration_starts_an_edge_and_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let any_port = ["--domain", "localhost", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let path = ["--config", "etc/edge.toml"];
    let flags = [&any_port[..], &path].concat();
    let done = init(folder.path(), &flags);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let next = text(&done.stdout);
    assert!(next.starts_with("Wrote etc/edge.toml"), "{next}");
    assert!(next.contains("devanture-edge check --config etc/edge.toml"), "{next}");
    assert!(next.contains("DEVANTURE_CA=etc/data/tls/ca.pem"), "{next}");

    let written = std::fs::read_to_string(folder.path().join("etc/edge.toml")).unwrap();
    let again = init(folder.path(), &flags);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(text(&again.stderr), "etc/edge.toml exists; nothing was changed\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("etc/edge.toml")).unwrap(), written);

    let edge = RunningEdge::over(folder, EdgeFile::parse("edge.toml", &written).unwrap()).await;
    edge.push("shop", &[("index.html", b"hi")]).await;
    assert_eq!(edge.get("shop.localhost", "/").await.body, "hi");
    edge.stop().await;
}

#[test]
fn a_start_without_a_configuration_says_how_to_write_one() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_devanture-edge");
    // As under a service manager that sets the variable to an empty value.
    let done = Command::new(program).current_dir(folder.path()).env("DEVANTURE_EDGE_CONFIG", "").output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = text(&done.stderr);
    assert!(said.contains("edge.toml cannot be read") && said.contains("`devanture-edge init`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_asks_the_running_edge_whether_it_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let done = init(folder.path(), &["--domain", "localhost", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let path = folder.path().join("edge.toml");
    let health = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
        command.arg("health").args(flags).env("DEVANTURE_EDGE_CONFIG", &path).output().unwrap()
    };
    let before = health(&[]);
    assert_eq!(before.status.code(), Some(1));
    let said = text(&before.stderr);
    assert!(said.starts_with("the running edge does not answer") && said.contains("--config"), "{said}");
    let written = std::fs::read_to_string(&path).unwrap();
    let edge = RunningEdge::over(folder, EdgeFile::parse("edge.toml", &written).unwrap()).await;
    for (flags, answer) in [(&[][..], "live\n"), (&["--ready"], "ready\n")] {
        let done = health(flags);
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert_eq!(text(&done.stdout), answer);
    }
    edge.stop().await;
}

#[test]
fn a_mistake_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, message) in [
        (&[][..], "--domain is missing, and there is no terminal to ask on; see `init --help`\n"),
        (&["--domain", "not a domain"], "not a domain"),
        (
            &["--domain", "example.app", "--certificates", "acme", "--contact", "ops@example.app"],
            "--agree-terms is missing",
        ),
        (&["--domain", "localhost", "--admin", "127.0.0.1:8443"], "same socket"),
    ] {
        let done = init(folder.path(), flags);
        let text = text(&done.stderr);
        assert!(done.status.code() == Some(2) && text.contains(message), "{text}");
        assert!(!folder.path().join("edge.toml").exists());
    }
}

#[test]
fn completions_and_man_pages_have_the_commands_of_the_help() {
    let folder = tempfile::tempdir().unwrap();
    let program = || Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    let bash = program().args(["completions", "bash"]).output().unwrap();
    let script = text(&bash.stdout);
    assert!(bash.status.success() && script.contains("complete -F _devanture__edge"), "{script}");
    assert!(script.contains("--agree-terms"), "{script}");
    let written = program().arg("man").arg(folder.path()).status().unwrap();
    assert!(written.success());
    let page = std::fs::read_to_string(folder.path().join("devanture-edge-init.1")).unwrap();
    assert!(page.contains("Write a configuration file"), "{page}");
    let absent = program().arg("man").arg(folder.path().join("absent")).output().unwrap();
    assert!(absent.status.code() == Some(1) && !absent.stderr.is_empty());
    assert!(!folder.path().join("devanture-edge-local.1").exists(), "it is hidden");
}

#[test]
fn the_help_lists_what_operators_run_and_nothing_else() {
    let help = Command::new(env!("CARGO_BIN_EXE_devanture-edge")).arg("--help").output().unwrap();
    let help = text(&help.stdout);
    let lists = |command: &str| help.lines().any(|line| line.split_whitespace().next() == Some(command));
    assert!(lists("check") && lists("spawner"), "{help}");
    assert!(!lists("exec-instance") && !lists("user-task") && !lists("local"), "{help}");
}
