//! `examples/git`: a repository whose hook deploys pushed commits, with real git and a real edge.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::edge::{Edge, Ran, edge};

/// A bare repository set up as in the README, and the work tree of a developer.
struct Repository {
    folder: TempDir,
    edge: Edge,
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/git").join(name)
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap(), edge: edge().start() };
        let (folder, edge) = (repository.folder.path(), &repository.edge);
        std::fs::create_dir(folder.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_devanture"), folder.join("bin/devanture")).unwrap();
        std::fs::copy(example("post-receive"), folder.join("post-receive")).unwrap();
        let token = folder.join("token");
        std::fs::write(&token, format!("{}\n", edge.token)).unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        let readme = std::fs::read_to_string(example("README.md")).unwrap();
        let (_, rest) = readme.split_once("<!-- set up -->\n```sh\n").unwrap();
        let (set_up, _) = rest.split_once("```\n").unwrap();
        let set_up = set_up
            .replace("/srv/git/shop.git", folder.join("shop.git").to_str().unwrap())
            .replace("https://edge.example.org:8444", &format!("https://{}", edge.admin()))
            .replace("/etc/devanture/shop.token", token.to_str().unwrap())
            .replace("npm ci && npm run build", "./build");
        repository.sh(&format!("HOME={}; {set_up}\ngit config devanture.ca {}", folder.display(), edge.ca().display()));
        repository.sh("git init -q --initial-branch=main work; cd work; git remote add production ../shop.git");
        // The build of this team prints its environment.
        repository.write(
            "build",
            "#!/bin/sh\nset -e\nmkdir -p dist\ncp page.html dist/index.html\nenv | grep -c dvt_ || :\n",
        );
        repository.sh("chmod +x work/build");
        repository.write("devanture.toml", "app = \"shop\"\nwww = \"dist\"\n");
        repository
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("work").join(name), text).unwrap();
    }

    fn run(&self, script: &str) -> Ran {
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(self.folder.path()).env_clear().env("PATH", path);
        // No settings of the machine, and an author.
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("HOME", "/nowhere");
        for name in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{name}_NAME"), "me").env(format!("GIT_{name}_EMAIL"), "me@example.org");
        }
        Ran::of(command.output().unwrap())
    }

    #[track_caller]
    fn sh(&self, script: &str) -> Ran {
        let ran = self.run(script);
        assert_eq!(ran.code, Some(0), "{script}: {ran:#?}");
        ran
    }

    /// Commits a page and pushes the branch; returns the output for the pusher.
    #[track_caller]
    fn push(&self, branch: &str, page: &str) -> String {
        self.write("page.html", page);
        self.sh(&format!("cd work; git add -A; git commit -qm 'The {page} page'; git push production HEAD:{branch}"))
            .stderr
    }

    async fn visit(&self, host: &str) -> String {
        let answer = self.edge.client(true).get(self.edge.url(host, "/")).send().await.unwrap();
        answer.text().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_the_branch_goes_live_and_one_to_another_gets_a_preview() {
    let repository = Repository::new();
    let seen = repository.push("main", "first");
    for line in ["remote: build     ./build", "remote: 0", "remote:   switch    prod"] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    assert_eq!(repository.visit("shop.localhost").await, "first");
    let history = repository.edge.json("shop", &["history"]);
    let commit = repository.sh("git -C work rev-parse HEAD").stdout;
    let source = &history["deploys"][0]["source"];
    assert_eq!(
        (source["commit"].as_str(), source["branch"].as_str()),
        (Some(commit.trim()), Some("main")),
        "{history}"
    );
    assert!(history.to_string().contains("The first page"), "{history}");

    repository.push("feature-x", "branch");
    assert_eq!(repository.visit("feature-x--shop.localhost").await, "branch");
    assert_eq!(repository.visit("shop.localhost").await, "first");

    let seen = repository.sh("cd work; git tag v1; git push production v1; git push production :feature-x").stderr;
    assert!(seen.contains("refs/tags/v1 is no branch") && seen.contains("feature-x is deleted"), "{seen}");
    repository.sh("git -C shop.git config devanture.previews false");
    let seen = repository.push("other", "other");
    assert!(seen.contains("other is not main: nothing is deployed"), "{seen}");
    assert_eq!(repository.visit("shop.localhost").await, "first");

    repository.write("page.html", "dashed");
    repository.sh("cd work; git commit -qa --message=--help; git push production HEAD:main");
    assert_eq!(repository.visit("shop.localhost").await, "dashed");
    let history = repository.edge.json("shop", &["history"]);
    assert!(history["deploys"][0].to_string().contains("--help"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_its_branch_has_left_behind_while_it_was_built_is_not_deployed() {
    let repository = Repository::new();
    repository.push("main", "newer");
    // The branch moves during the build of the commit, as after a concurrent push.
    repository.sh(
        "git -C shop.git config devanture.build \"./build; git -C $PWD/shop.git update-ref refs/heads/main main~1\"",
    );
    let seen = repository.push("main", "older");
    let moved = seen.contains("remote: main has moved on meanwhile");
    assert!(moved && !seen.contains("exit code") && !seen.contains("switch"), "{seen}");
    assert_eq!(repository.visit("shop.localhost").await, "newer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_leaves_what_is_live_and_is_tried_again_by_hand() {
    let repository = Repository::new();
    repository.push("main", "first");
    repository
        .sh("git -C shop.git config devanture.build 'mkdir -p dist; cp page.html dist/index.html; test -e \"$OK\"'");
    let seen = repository.push("main", "second");
    assert!(seen.contains("remote: main is not deployed (exit code 1)"), "{seen}");
    assert_eq!(repository.visit("shop.localhost").await, "first");
    let again = repository.run("cd shop.git; hooks/post-receive main");
    assert_eq!(again.code, Some(1), "{again:#?}");
    repository.sh("cd shop.git; OK=$PWD hooks/post-receive main");
    assert_eq!(repository.visit("shop.localhost").await, "second");
    let unknown = repository.run("cd shop.git; hooks/post-receive nothing");
    assert!(unknown.code == Some(2) && unknown.stderr.contains("there is no branch nothing"), "{unknown:#?}");
    // No checkout is left over, and without settings, the hook reports the missing settings.
    repository.sh("git -C shop.git config --unset devanture.url");
    let without =
        repository.run("cd shop.git; TMPDIR=$PWD/../tmp; export TMPDIR; mkdir $TMPDIR; hooks/post-receive main");
    assert!(without.code == Some(2) && without.stderr.contains("devanture.url is not set"), "{without:#?}");
    repository.sh("git -C shop.git config devanture.url https://127.0.0.1:9");
    let unreachable = repository.run("cd shop.git; OK=$PWD TMPDIR=$PWD/../tmp hooks/post-receive main");
    assert_eq!(unreachable.code, Some(3), "{unreachable:#?}");
    assert_eq!(std::fs::read_dir(repository.folder.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_checkout_whose_pusher_has_gone() {
    let repository = Repository::new();
    repository.push("main", "first");
    // The line before the build has no reader.
    repository.sh("cd shop.git; mkdir ../tmp; TMPDIR=$PWD/../tmp hooks/post-receive main | :");
    assert_eq!(std::fs::read_dir(repository.folder.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(repository.visit("shop.localhost").await, "first");
}
