//! The first command of the README, run with the programs of this build in a copy of the required files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Folder of both programs; `None` if only this package was built.
fn programs() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_devanture-edge")).parent().unwrap();
    if folder.join("devanture").is_file() {
        return Some(folder.to_owned());
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "`devanture` is not built: cargo build -p devanture");
    eprintln!("left out: `devanture` is not built: cargo build -p devanture");
    None
}

fn write(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Runs the demo of an example once in `folder` and returns the output.
fn demo(folder: &Path, programs: &Path, example: &[&str]) -> String {
    let mut command = Command::new(folder.join("demo"));
    command.args(example).env("DEMO_ONCE", "1").env("DEMO_BIN", programs).stdin(Stdio::null());
    // The demo ignores the settings of another edge and never prints the token.
    command.env("DEVANTURE_URL", "https://192.0.2.1").env("DEVANTURE_TOKEN", "of-another-edge");
    let output = command.output().unwrap();
    let (reported, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{reported}\n{errors}", output.status);
    reported.into_owned()
}

fn urls(reported: &str) -> Vec<&str> {
    let names = ["live", "spring", "summer"];
    let line =
        |name: &str| reported.lines().find_map(|line| line.trim_start().strip_prefix(name)?.split_whitespace().next());
    names.iter().map(|name| line(name).unwrap_or_else(|| panic!("no {name}: {reported}"))).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Copies the demo and one example below `folder`; the edge stores data in `data`.
fn clone(folder: &Path, example: &str, data: &str, table: &str) -> PathBuf {
    // A space in the path must work.
    let folder = folder.join("a clone");
    fs::create_dir_all(folder.join("examples")).unwrap();
    fs::create_dir_all(folder.join("packages")).unwrap();
    for path in ["demo".to_owned(), format!("examples/{example}"), "packages/service".to_owned()] {
        let to = folder.join(&path);
        assert!(Command::new("cp").arg("-R").arg(root().join(path)).arg(to).status().unwrap().success());
    }
    // The system chooses the ports, since another edge may use the defaults.
    fs::create_dir(folder.join(data)).unwrap();
    let config = fs::read_to_string(root().join("config/samples/valid/edge-least.toml")).unwrap();
    write(&folder.join(data).join("edge.toml"), &(config.replace("8443", "0").replace("8444", "0") + table));
    folder
}

#[test]
fn the_demo_serves_two_versions_and_finds_them_again() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = clone(folder.path(), "shop", ".demo", "");

    let first = demo(&folder, &programs, &[]);
    let previews = urls(&first);
    assert!(previews.iter().all(|url| url.starts_with("https://") && !url.ends_with(":0")), "{first}");
    assert_ne!(previews[1], previews[2], "{first}");
    assert_eq!(mode(&folder.join(".demo/token")), 0o600);
    assert_eq!(mode(&folder.join("examples/shop/.env")), 0o600);
    assert!(!first.contains("dvt_"), "the token was shown");

    // A file changed between the runs is left for the user to push.
    write(&folder.join("examples/shop/www/new.html"), "<!doctype html><title>New</title>");
    let second = demo(&folder, &programs, &[]);
    assert_eq!(urls(&second), previews);
    assert!(!second.contains("$ devanture push"), "{second}");

    // The lock of the data folder is free: no edge runs any more.
    let check = Command::new(programs.join("devanture-edge"))
        .args(["token", "create", "--name", "after", "--scope", "read", "--config"])
        .arg(folder.join(".demo/edge.toml"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    assert!(!folder.join(".demo/data/control.sock").exists());
}

#[test]
fn the_demo_of_the_game_builds_it_and_runs_its_backend() {
    let Some(programs) = programs() else { return };
    if Command::new("npm").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "npm is not installed");
        eprintln!("left out: npm is not installed, and the game is built by it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = clone(folder.path(), "game", ".demo-game", "\n[runner]\nenabled = true\n");
    let first = demo(&folder, &programs, &["game"]);
    let live = first.lines().find_map(|line| line.trim_start().strip_prefix("live ")).unwrap().trim();
    assert!(live.starts_with("https://game.localhost:"), "{first}");
    assert!(first.contains("createGame") && !first.contains("dvt_"), "{first}");
    assert_eq!(mode(&folder.join("examples/game/.env")), 0o600);
    assert!(folder.join("examples/game/dist/server/server.js").is_file());
    // The example is pushed once and starts again with the next demo.
    let second = demo(&folder, &programs, &["game"]);
    assert!(second.contains(live) && !second.contains("$ devanture push"), "{second}");
}

#[test]
fn the_demo_of_a_cluster_loses_a_node_a_member_and_the_store_and_no_page() {
    let Some(programs) = programs() else { return };
    let found =
        |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found("etcd").is_err() || found("weed").is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "etcd or weed (SeaweedFS) is not installed");
        eprintln!("left out: etcd or weed (SeaweedFS) is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = clone(folder.path(), "shop", ".demo", "");
    fs::create_dir(folder.join("tools")).unwrap();
    fs::copy(root().join("tools/demo-cluster"), folder.join("tools/demo-cluster")).unwrap();
    let reported = demo(&folder, &programs, &["cluster"]);
    for line in ["edge-1 ready · edge-2 ready · edge-3 ready", "and 0 loads failed"] {
        assert!(reported.contains(line), "{line}: {reported}");
    }
    // On a slow machine the lease of the killed node ends before the push lists the nodes.
    let without = ["prepare   edge-1 ready · edge-2 ready · edge-3 gone", "prepare   edge-1 ready · edge-2 ready"];
    assert!(reported.lines().any(|line| without.contains(&line.trim())), "{reported}");
}

/// Runs a walkthrough to completion.
fn walk(name: &str) -> String {
    let Some(programs) = programs() else { return String::new() };
    let folder = tempfile::tempdir().unwrap();
    let folder = clone(folder.path(), "shop", ".demo", "");
    fs::create_dir(folder.join("tools")).unwrap();
    fs::copy(root().join("tools/demo-walk"), folder.join("tools/demo-walk")).unwrap();
    let reported = demo(&folder, &programs, &["walk", name]);
    assert!(reported.contains("That was all of it"), "{reported}");
    reported
}

#[test]
fn the_walk_of_a_developer_ends_with_what_was_pushed_last() {
    walk("alone");
}

#[test]
fn the_walk_of_a_team_promotes_what_staging_had() {
    walk("team");
}

#[test]
fn the_walk_of_ops_upgrades_crashes_and_restores_without_a_failed_page() {
    walk("ops");
}

#[test]
fn the_walk_of_ci_deploys_without_a_stored_secret() {
    walk("ci");
}
