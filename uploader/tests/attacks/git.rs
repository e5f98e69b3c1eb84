//! A repository brought by a pull request as files: its settings name commands, and no command is run.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use devanture_config::api::Source;

use crate::cli_support::Project;
use crate::cli_support::fake_edge::FakeEdge;

/// The file written by a hostile command.
const MARK: &str = "ran";

/// Makes a project with a clean repository of one commit in `.git`.
fn repository(edge: &FakeEdge) -> Project {
    let project = Project::site(&edge.url());
    git(&project, &["init", "-q", "-b", "main"]);
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "The subject"]);
    project
}

fn git(project: &Project, arguments: &[&str]) {
    let settings = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
    let mut command = Command::new("git");
    command.args(settings).args(arguments).current_dir(project.path(""));
    let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Adds a command that leaves a mark with its environment, and the settings by which git would run the command.
fn plant(project: &Project, config: &str) {
    let (mark, script) = (project.path(MARK), project.path("run.sh"));
    // With the token, if accessible.
    project.file("run.sh", &format!("#!/bin/sh\nenv > '{}'\ncat\n", mark.display()));
    executable(&script);
    let run = script.display();
    let settings = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {run}\n\thooksPath = {hooks}\n\tsshCommand = {run}\n\
         \tpager = {run}\n\tbare = false\n\tworktree = {tree}\n\
         [filter \"own\"]\n\tclean = {run}\n\tprocess = {run}\n\trequired = true\n\
         [diff]\n\texternal = {run}\n[diff \"own\"]\n\ttextconv = {run}\n\tcommand = {run}\n\
         [log]\n\tshowSignature = true\n[gpg]\n\tprogram = {run}\n[include]\n\tpath = {hooks}/more\n\
         [extensions]\n\tpartialClone = origin\n[remote \"origin\"]\n\turl = {tree}\n\tuploadpack = {run}\n\
         \tpromisor = true\n[alias]\n\tlog = !{run}\n\tstatus = !{run}\n",
        hooks = project.path("hooks").display(),
        tree = project.path("").display(),
    );
    project.file(config, &settings);
    for hook in ["post-index-change", "fsmonitor-watchman", "reference-transaction"] {
        project.file(&format!("hooks/{hook}"), &format!("#!/bin/sh\n{run}\n"));
        executable(&project.path(&format!("hooks/{hook}")));
    }
    project.file(".gitattributes", "* filter=own diff=own\n");
    // Every file looks changed, so that git would run a filter.
    project.file("dist/index.html", "<h1>Changed</h1>");
    project.file("devanture.toml", "app = \"shop\"\nwww = \"dist\"\n# changed\n");
}

fn executable(path: &std::path::Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs every command that reads the project, and checks that no hostile command ran. Returns the printed origin of the
/// bundle.
#[track_caller]
fn nothing_runs(project: &Project, edge: &FakeEdge) -> Source {
    for arguments in [&["check"][..], &["push", "--dry-run"], &["push", "--json"], &["status"], &["history"]] {
        let ran = project.run(arguments);
        assert!(!project.path(MARK).exists(), "{arguments:?} ran a command: {ran:#?}");
    }
    edge.state.lock().unwrap().begun.last().unwrap().source.clone()
}

#[test]
fn a_bare_repository_of_plain_files_is_no_repository() {
    let edge = FakeEdge::start();
    let project = repository(&edge);
    // In the form of a pull request: no path contains `.git`.
    for name in ["HEAD", "index", "objects", "refs"] {
        std::fs::rename(project.path(".git").join(name), project.path(name)).unwrap();
    }
    std::fs::remove_dir_all(project.path(".git")).unwrap();
    plant(&project, "config");
    assert_eq!(nothing_runs(&project, &edge), Source::default());
}

#[test]
fn what_the_settings_of_a_repository_name_is_not_run() {
    let edge = FakeEdge::start();
    let project = repository(&edge);
    plant(&project, ".git/config");
    let source = nothing_runs(&project, &edge);
    assert_eq!((source.branch.as_deref(), source.message.as_deref()), (Some("main"), Some("The subject")));
    assert!(source.dirty, "it is seen without them: {source:?}");
}

#[test]
fn a_commit_that_is_not_there_is_not_fetched() {
    let edge = FakeEdge::start();
    let project = repository(&edge);
    plant(&project, ".git/config");
    let commit = "1".repeat(40);
    project.file(".git/refs/heads/main", &format!("{commit}\n"));
    let source = nothing_runs(&project, &edge);
    assert_eq!((source.commit, source.message, source.dirty), (Some(commit), None, false));
}

#[test]
fn no_program_called_git_is_run() {
    let edge = FakeEdge::start();
    let path = format!(".:bin:{}", std::env::var("PATH").unwrap());
    let project = repository(&edge).variable("PATH", &path);
    plant(&project, ".git/config");
    for name in ["git", "bin/git"] {
        project.file(name, &format!("#!/bin/sh\n{}\n", project.path("run.sh").display()));
        executable(&project.path(name));
    }
    assert_eq!(nothing_runs(&project, &edge).message.as_deref(), Some("The subject"));
}

#[test]
fn a_submodule_with_settings_of_its_own_runs_nothing() {
    let edge = FakeEdge::start();
    let project = repository(&edge);
    let sub = project.path("sub");
    std::fs::create_dir(&sub).unwrap();
    for name in ["HEAD", "index", "objects", "refs"] {
        let copied = Command::new("cp").arg("-r").arg(project.path(".git").join(name)).arg(&sub).status();
        assert!(copied.unwrap().success());
    }
    plant(&project, "sub/config");
    // A folder with a repository, as the work tree of a repository.
    std::fs::create_dir(sub.join(".git")).unwrap();
    for name in ["HEAD", "index", "objects", "refs", "config"] {
        std::fs::rename(sub.join(name), sub.join(".git").join(name)).unwrap();
    }
    let mut toml = std::fs::read_to_string(project.path("devanture.toml")).unwrap();
    toml.push_str("# again\n");
    project.file("devanture.toml", &toml);
    nothing_runs(&project, &edge);
    // Also with the project inside.
    project.file("sub/devanture.toml", "app = \"shop\"\nwww = \"../dist\"\n");
    project.run(&["push", "--config", "sub/devanture.toml"]);
    assert!(!project.path(MARK).exists());
}
