//! Paths and links that lead out of a project: files not named by the person are neither sent nor shown.
#![cfg(unix)]

use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli_support::fake_edge::FakeEdge;
use crate::cli_support::{Project, Ran};

/// The protected text.
const SECRET: &str = "c3RvbGVu-secret";
/// Longest run of a command before the test fails.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A change of a project before the check.
type Prepare = fn(&Project);

/// A project in the folder `site`, beside a folder with secrets.
fn project(edge: &FakeEdge, files: &[(&str, &str)]) -> Project {
    let project = Project::new(files)
        .variable("DEVANTURE_URL", &edge.url())
        .variable("DEVANTURE_TOKEN", "t0ken")
        .variable("DEVANTURE_APP", "shop");
    project.file("secret/id_ed25519", SECRET);
    project.file("secret/.env", &format!("{SECRET}=1\nDEVANTURE_ENV={SECRET}\n"));
    project.file("secret.zip", SECRET);
    project.file("site/dist/index.html", "<h1>Hi</h1>");
    project.file("site/.git/config", &format!("[http]\n\textraheader = {SECRET}\n"));
    project
}

fn link(project: &Project, path: &str, target: impl AsRef<Path>) {
    symlink(target, project.path(path)).unwrap();
}

/// The command in the folder `site`.
fn command(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    command.current_dir(project.path("site")).env("XDG_STATE_HOME", project.path("state"));
    command
}

fn run(project: &Project, arguments: &[&str]) -> Ran {
    command(project, arguments).output().unwrap().into()
}

/// Runs a command that may hang.
#[track_caller]
fn ends(mut command: Command) -> Ran {
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > TIME_MAX {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} does not end");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    Ran { code: status.code(), stdout, stderr }
}

/// Checks that every command reading the folder fails with `bad_config`, that the secret was neither sent nor shown,
/// and returns the output of `push`.
#[track_caller]
fn refused(project: &Project, edge: &FakeEdge) -> Value {
    let commands: [&[&str]; 5] =
        [&["push"], &["push", "--dry-run"], &["check"], &["routes", "/"], &["dev", "--port", "0"]];
    let mut lines = Vec::new();
    for arguments in commands {
        let ran = ends(command(project, &[arguments, &["--json"]].concat()));
        assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{arguments:?}: {ran:#?}");
        lines.push(ran.failed("bad_config", 2));
    }
    nothing_sent(edge);
    lines.swap_remove(0)
}

#[track_caller]
fn nothing_sent(edge: &FakeEdge) {
    let state = edge.state.lock().unwrap();
    assert!(state.blobs.is_empty(), "{:?}", state.blobs);
    for request in &state.requests {
        assert!(!String::from_utf8_lossy(&request.body).contains(SECRET) && !request.target.contains(SECRET));
    }
}

#[test]
fn a_folder_that_leads_out_of_the_project_is_refused_with_its_line() {
    let edge = FakeEdge::start();
    let absolute = |project: &Project| project.path("secret").display().to_string();
    let paths: [(&str, Prepare); 9] = [
        ("../secret", |_| {}),
        ("../not-there", |_| {}),
        ("dist/../../secret", |_| {}),
        ("ABSOLUTE", |_| {}),
        ("linked", |project| link(project, "site/linked", "../secret")),
        ("linked/", |project| link(project, "site/linked", project.path("secret"))),
        ("a/b", |project| {
            project.file("secret/b/key", SECRET);
            link(project, "site/a", "../secret");
        }),
        ("../secret.zip", |_| {}),
        ("dist/../..", |_| {}),
    ];
    for (path, prepare) in paths {
        for key in ["www = ", "[server]\ncommand = [\"a\"]\ndir = "] {
            if key.contains("server") && path.ends_with("zip") {
                continue;
            }
            let project = project(&edge, &[]);
            prepare(&project);
            let path = path.replace("ABSOLUTE", &absolute(&project));
            project.file("site/devanture.toml", &format!("app = \"shop\"\n{key}{path:?}\n"));
            let error = refused(&project, &edge);
            let mistake = &error["mistakes"][0];
            let line = if key.contains("server") { 4 } else { 2 };
            assert_eq!((&mistake["file"], &mistake["line"]), (&"devanture.toml".into(), &line.into()), "{error}");
            assert!(
                mistake["message"].as_str().unwrap().contains("leads out of the folder of devanture.toml"),
                "{error}"
            );
            assert!(mistake["hint"].as_str().unwrap().contains("--root"), "{error}");
        }
    }
}

#[test]
fn the_usual_folder_may_be_no_link_out_of_the_project() {
    let edge = FakeEdge::start();
    let project = project(&edge, &[("site/devanture.toml", "app = \"shop\"\n")]);
    link(&project, "site/www", "../secret");
    let error = refused(&project, &edge);
    assert!(error["message"].as_str().unwrap().starts_with("The folder `www` leads out of"), "{error}");
}

#[test]
fn what_git_keeps_is_no_folder_to_push() {
    let edge = FakeEdge::start();
    for www in [".git", "./dist/../.git", "linked"] {
        let toml = format!("app = \"shop\"\nwww = {www:?}\n");
        let project = project(&edge, &[("site/devanture.toml", &toml)]);
        link(&project, "site/linked", ".git");
        let error = refused(&project, &edge);
        assert!(error["mistakes"][0]["message"].as_str().unwrap().contains(".git"), "{error}");
    }
}

#[test]
fn several_apps_are_held_to_the_same_folder_and_both_folders_are_reported_at_once() {
    let edge = FakeEdge::start();
    let toml = "[apps.shop]\nwww = \"../secret\"\n[apps.shop.server]\ncommand = [\"a\"]\ndir = \"../secret\"\n";
    let error = refused(&project(&edge, &[("site/devanture.toml", toml)]), &edge);
    let lines: Vec<&Value> = error["mistakes"].as_array().unwrap().iter().map(|mistake| &mistake["line"]).collect();
    assert_eq!(lines, [2, 5], "{error}");
}

#[test]
fn a_file_of_settings_that_is_a_link_out_of_the_project_is_not_read() {
    let edge = FakeEdge::start();
    let links: [(&str, &str); 5] = [
        (".env", "../secret/.env"),
        (".env.shop", "../secret/.env"),
        ("devanture.staging.toml", "../secret/id_ed25519"),
        ("dist/server/Procfile", "../../../secret/id_ed25519"),
        ("devanture.toml", "../secret/id_ed25519"),
    ];
    for (path, target) in links {
        let server = if path.ends_with("Procfile") { "[server]\ndir = \"dist/server\"\n" } else { "" };
        let toml = format!("app = \"shop\"\nwww = \"dist\"\n{server}");
        let project = project(&edge, &[("site/dist/server/server.js", ""), ("site/devanture.toml", &toml)]);
        std::fs::remove_file(project.path("site").join(path)).ok();
        link(&project, &format!("site/{path}"), target);
        let error = refused(&project, &edge);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("{path} cannot be read: it is a link that leads out of")), "{error}");
        let ran = run(&project, &["status", "--explain"]);
        // `.env` is not needed by the command.
        let code = if path.starts_with(".env") { 2 } else { 0 };
        assert!(ran.code == Some(code) && !format!("{ran:?}").contains(SECRET), "{ran:#?}");
    }
}

#[test]
fn a_provider_s_file_that_is_a_link_out_of_the_project_is_not_read() {
    let edge = FakeEdge::start();
    for (provider, file) in [("netlify", "netlify.toml"), ("vercel", "vercel.json"), ("firebase", "firebase.json")] {
        let project = project(&edge, &[]);
        link(&project, &format!("site/{file}"), "../secret/id_ed25519");
        let ran = run(&project, &["init", "--from", provider, "--json"]);
        ran.failed("bad_config", 2);
        assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{ran:#?}");
    }
    // `init` refuses a folder that a push would refuse, too.
    let project = project(&edge, &[]);
    run(&project, &["init", "../secret", "--json"]).failed("bad_config", 2);
    assert!(!project.path("site/devanture.toml").exists());
}

#[test]
fn a_person_may_name_any_folder_and_widen_the_project_s() {
    let edge = FakeEdge::start();
    let toml = "app = \"shop\"\nwww = \"../built\"\n[server]\ncommand = [\"a\"]\ndir = \"../linked\"\n";
    let project = project(&edge, &[("site/devanture.toml", toml), ("built/index.html", "x"), ("server/a", "y")]);
    link(&project, "linked", "server");
    for arguments in
        [&["check", "--root", ".."][..], &["push", "--root", ".."], &["push", "--dry-run", "--root", "../."]]
    {
        let ran = run(&project, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
    }
    assert_eq!(edge.state.lock().unwrap().blobs.len(), 2);
    // `--root` must be a folder around the project.
    for (root, why) in [("dist", "does not hold"), ("../none", "cannot be taken"), ("devanture.toml", "not a folder")] {
        let error = run(&project, &["check", "--root", root, "--json"]).failed("usage", 2);
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    project.file("site/devanture.toml", "app = \"shop\"\nwww = \"../..\"\n");
    run(&project, &["push", "--root", "..", "--json"]).failed("bad_config", 2);
    // A folder from the command line may be anywhere, even if the file names a folder.
    let built = project.path("built").display().to_string();
    for dir in ["../built", &built] {
        assert_eq!(run(&project, &["push", dir]).code, Some(0));
    }
}

#[test]
fn paths_that_stay_within_the_project_are_taken() {
    let edge = FakeEdge::start();
    for www in ["dist", "./dist/", "../site/dist", "linked", "dist/../dist", "ABSOLUTE"] {
        let project = project(&edge, &[]);
        let www = www.replace("ABSOLUTE", project.path("site/dist").to_str().unwrap());
        project.file("site/devanture.toml", &format!("app = \"shop\"\nwww = {www:?}\n"));
        link(&project, "site/linked", "dist");
        let ran = run(&project, &["push", "--dry-run"]);
        assert_eq!(ran.code, Some(0), "{www}: {ran:#?}");
    }
    // The whole project, without files never published; the file itself may be named through a link.
    let project = project(&edge, &[("site/devanture.toml", "app = \"shop\"\nwww = \".\"\n"), ("site/.env", "A=1\n")]);
    link(&project, "same", "site");
    for config in ["devanture.toml", "../same/devanture.toml"] {
        let plan = run(&project, &["push", "--dry-run", "--json", "--config", config]).json();
        assert_eq!(plan["left_out"], serde_json::json!([".env", ".git"]), "{plan}");
    }
    link(&project, "site/.env.shop", ".env");
    assert_eq!(run(&project, &["push", "--dry-run"]).code, Some(0), "a link that stays within is followed");
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_a_file_is_not_waited_for() {
    let edge = FakeEdge::start();
    let pipe = |project: &Project, path: &str| {
        let path = project.path(path);
        std::fs::remove_file(&path).ok();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    };
    let toml = ("site/devanture.toml", "app = \"shop\"\nwww = \"dist\"\n");
    let of_toml = project(&edge, &[toml]);
    pipe(&of_toml, "site/devanture.toml");
    ends(command(&of_toml, &["check", "--json"])).failed("bad_config", 2);

    let of_git = project(&edge, &[toml]);
    for file in ["HEAD", "index", "packed-refs"] {
        pipe(&of_git, &format!("site/.git/{file}"));
    }
    pipe(&of_git, "site/.gitignore");
    assert_eq!(ends(command(&of_git, &["push", "--json"])).code, Some(0));

    // A file of certificates without an end, named by a `.env`.
    let of_ca = Project::new(&[("site/dist/index.html", "x"), ("site/devanture.toml", toml.1)]);
    of_ca.file("site/.env", "DEVANTURE_URL=https://localhost:1\nDEVANTURE_TOKEN=t\nDEVANTURE_CA=/dev/zero\n");
    let mut limited = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_devanture");
    // If the file were read to its end, the test would end before the machine's memory does.
    limited.args(["-c", &format!("ulimit -v 16000000; exec {program} status --json")]);
    limited.current_dir(of_ca.path("site")).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    limited
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let error = ends(limited).failed("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("it is not a file"), "{error}");
}
