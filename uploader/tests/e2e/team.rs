//! A team, with the real programs in a real git repository: a preview per branch, locks, differences, and promotion of
//! a tested version.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::edge::{Edge, Ran, edge};

/// Variables of GitHub Actions for a pull request from `feature/checkout-with-cards`.
const PULL_REQUEST: [(&str, &str); 8] = [
    ("CI", "true"),
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_SHA", "1111111111111111111111111111111111111111"),
    ("GITHUB_HEAD_REF", "feature/checkout-with-cards"),
    ("GITHUB_REF_NAME", "12/merge"),
    ("GITHUB_SERVER_URL", "https://github.com"),
    ("GITHUB_REPOSITORY", "me/shop"),
    ("GITHUB_RUN_ID", "7"),
];

/// A repository with a folder `www`.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "-b", "main"]);
        std::fs::create_dir(repository.path().join("www")).unwrap();
        std::fs::write(repository.path().join("devanture.toml"), "app = \"shop\"\n").unwrap();
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    #[track_caller]
    fn git(&self, arguments: &[&str]) {
        let ran = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }

    /// Writes the page and commits the file.
    fn commit(&self, text: &str) {
        std::fs::write(self.path().join("www/index.html"), text).unwrap();
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", text]);
    }

    fn run(&self, edge: &Edge, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = edge.command(self.path(), "shop", arguments);
        Ran::of(command.envs(variables.iter().copied()).output().unwrap())
    }

    #[track_caller]
    fn json(&self, edge: &Edge, variables: &[(&str, &str)], arguments: &[&str]) -> Value {
        let ran = self.run(edge, variables, &[arguments, &["--json"]].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
        ran.json()
    }
}

async fn visit(edge: &Edge, host: &str) -> (u16, String) {
    let answer = edge.client(true).get(edge.url(host, "/")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A host's name out of a URL.
fn host(url: &Value) -> String {
    let rest = url.as_str().unwrap().strip_prefix("https://").unwrap();
    rest.split([':', '/']).next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_has_a_preview_of_its_own_until_it_ends() {
    let (edge, repository) = (edge().start(), Repository::new());
    repository.commit("main");
    repository.json(&edge, &[], &["push"]);
    repository.git(&["checkout", "-q", "-b", "feature/checkout-with-cards"]);
    repository.commit("one");
    let one = repository.json(&edge, &[], &["push", "--alias", "--expires", "14d"]);
    let name = one["alias"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("feature-check-") && name.len() == 20, "{name}");
    assert_eq!((&one["switched"], &one["environment"]), (&json!(false), &json!("preview")));
    for member in ["app", "version", "previous", "files", "bytes", "deploy", "steps"] {
        assert!(one.get(member).is_some(), "{member}");
    }
    let alias = host(&one["urls"]["alias"]);
    assert_eq!(visit(&edge, &alias).await, (200, "one".to_owned()));
    repository.commit("two");
    let two = repository.run(&edge, &[], &["push", "--alias"]);
    assert!(two.stdout.contains(&format!("  alias     https://{alias}")), "{two:#?}");
    assert!(two.stdout.contains("  ends      20"), "what was said of its end stays: {two:#?}");
    assert_eq!(visit(&edge, &alias).await, (200, "two".to_owned()));
    assert_eq!(visit(&edge, "shop.localhost").await, (200, "main".to_owned()));
    // The same from CI, where the head is detached, under the same name.
    repository.commit("three");
    repository.git(&["checkout", "-q", "--detach"]);
    let three = repository.json(&edge, &PULL_REQUEST, &["push", "--alias"]);
    assert_eq!(three["alias"]["name"], name.as_str());
    let listed = repository.json(&edge, &[], &["alias", "list"]);
    assert_eq!(listed["aliases"].as_array().unwrap().len(), 1);
    assert_eq!(listed["aliases"][0]["version"], three["version"]);
    let output = repository.run(&edge, &[], &["alias", "list"]).stdout;
    assert!(output.contains(" s ago") && output.contains("ends in 14 d"), "{output}");
    // A branch is needed, or a name.
    let nameless = repository.run(&edge, &[], &["push", "--alias", "--json"]);
    assert_eq!((nameless.problem().as_str(), nameless.code), ("usage", Some(2)));
    assert!(nameless.stderr.trim_end().ends_with("The previous version is still running."), "{nameless:#?}");
    // The alias expires: at once for visitors.
    repository.json(&edge, &[], &["alias", "set", &name, three["version"].as_str().unwrap(), "--expires", "1s"]);
    let client = edge.client(true);
    for _ in 0..500 {
        let answer = client.get(edge.url(&alias, "/")).send().await;
        if answer.is_err() || answer.unwrap().status() == 404 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(repository.json(&edge, &[], &["alias", "list"])["aliases"], json!([]));
    assert_eq!(repository.run(&edge, &[], &["diff", &name, "--json"]).problem(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_shows_who_pushed_what_from_where() {
    let (edge, repository) = (edge().start(), Repository::new());
    repository.commit("First");
    repository.json(&edge, &[], &["push"]);
    repository.commit("Second");
    repository.git(&["checkout", "-q", "--detach"]);
    std::fs::write(repository.path().join("www/more.html"), "more").unwrap();
    let pushed = repository.json(&edge, &PULL_REQUEST, &["push"]);
    repository.json(
        &edge,
        &PULL_REQUEST,
        &["push", "--env", "staging", "-m", "Said", "--commit", "abc123", "--branch", "b"],
    );
    let history = repository.json(&edge, &[], &["history"]);
    let newest = &history["deploys"][0];
    assert_eq!((&newest["who"], &newest["outcome"]), (&json!("test"), &json!("live")));
    assert_eq!(
        newest["source"],
        json!({
            "commit": "1111111111111111111111111111111111111111",
            "branch": "feature/checkout-with-cards",
            "message": "Second",
            "dirty": true,
            "ci": "github",
            "url": "https://github.com/me/shop/actions/runs/7",
        })
    );
    let first = &history["deploys"][1]["source"];
    assert_eq!((&first["branch"], &first["message"], first.get("dirty")), (&json!("main"), &json!("First"), None));
    let staging = repository.json(&edge, &[], &["history", "--env", "staging"]);
    let printed = &staging["deploys"][0]["source"];
    assert_eq!(
        (&printed["commit"], &printed["branch"], &printed["message"]),
        (&json!("abc123"), &json!("b"), &json!("Said"))
    );
    // For a person: columns, and one deploy in full. Without a terminal, without colours.
    let output = repository.run(&edge, &[], &["history"]).stdout;
    let lines: Vec<&str> = output.lines().collect();
    let column = |line: &str, text: &str| line.find(text).map(|at| line[..at].chars().count());
    assert!(
        column(lines[0], "Second").is_some() && column(lines[0], "Second") == column(lines[1], "First"),
        "{output}"
    );
    assert!(lines[0].contains("11111111*") && !output.contains('\u{1b}'), "{output}");
    let version = pushed["version"].as_str().unwrap();
    for id in [&version[..8], newest["id"].as_str().unwrap()] {
        let whole = repository.run(&edge, &[], &["history", id]).stdout;
        for expected in ["push in prod: live", "https://github.com/me/shop/actions/runs/7", "steps", " ms  ", "switch"]
        {
            assert!(whole.contains(expected), "{expected}: {whole}");
        }
        assert_eq!(&repository.json(&edge, &[], &["history", id]), newest);
    }
    assert_eq!(repository.run(&edge, &[], &["history", "ffffff", "--json"]).problem(), "not_found");
    let one = repository.json(&edge, &[], &["history", "-n", "1"]);
    assert_eq!(one["deploys"].as_array().unwrap().len(), 1);
    let rest = repository.json(&edge, &[], &["history", "--before", one["next"].as_str().unwrap()]);
    assert_eq!((&rest["deploys"][0], rest.get("next")), (&history["deploys"][1], None));
    assert_eq!(repository.json(&edge, &[], &["history", "--all"]), history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_environment_takes_pushes_and_keeps_what_is_live() {
    let (edge, repository) = (edge().start(), Repository::new());
    repository.commit("one");
    assert_eq!(
        repository.run(&edge, &[], &["lock", "--dry-run", "--json"]).problem(),
        "not_found",
        "there is no app yet"
    );
    repository.json(&edge, &[], &["push"]);
    assert_eq!(repository.json(&edge, &[], &["lock", "--dry-run"])["locked"], Value::Null);
    let locked = repository.json(&edge, &[], &["lock", "--reason", "Sale until Monday"]);
    assert_eq!((&locked["changed"], &locked["locked"]["reason"]), (&json!(true), &json!("Sale until Monday")));
    repository.commit("two");
    let pushed = repository.run(&edge, &[], &["push"]);
    assert_eq!(pushed.code, Some(0), "{pushed:#?}");
    for expected in
        ["  locked    since ", "\u{201c}Sale until Monday\u{201d}", "what is live stays", "devanture unlock"]
    {
        assert!(pushed.stdout.contains(expected), "{expected}: {pushed:#?}");
    }
    repository.commit("three");
    let pushed = repository.json(&edge, &[], &["push"]);
    assert_eq!((&pushed["switched"], &pushed["locked"]["who"]), (&json!(false), &json!("test")));
    assert_eq!(visit(&edge, "shop.localhost").await, (200, "one".to_owned()));
    assert_eq!(visit(&edge, &host(&pushed["urls"]["preview"])).await, (200, "three".to_owned()));
    let version = pushed["version"].as_str().unwrap();
    let refused = repository.run(&edge, &[], &["switch", version, "--json"]);
    assert_eq!((refused.problem().as_str(), refused.code), ("locked", Some(1)));
    assert!(repository.run(&edge, &[], &["status"]).stdout.contains("  locked    since "));
    assert_eq!(repository.json(&edge, &[], &["unlock", "--dry-run"])["locked"]["who"], "test");
    assert_eq!(repository.json(&edge, &[], &["unlock"])["changed"], true);
    let same = repository.run(&edge, &[], &["unlock"]);
    assert_eq!(same.stdout, "  same      prod was not locked; nothing has changed\n");
    assert_eq!(repository.json(&edge, &[], &["switch", version])["switched"], true);
    assert_eq!(visit(&edge, "shop.localhost").await, (200, "three".to_owned()));
    let output = repository.run(&edge, &[], &["history"]).stdout;
    assert!(output.contains("  lock      done") && output.contains("  unlock    done"), "{output}");
    assert!(output.contains("Sale until Monday"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tested_is_promoted_after_a_look_at_the_difference() {
    let (edge, repository) = (edge().start(), Repository::new());
    repository.commit("one");
    repository.json(&edge, &[], &["push"]);
    std::fs::write(repository.path().join("www/about.html"), "about us").unwrap();
    repository.commit("two, with more");
    // The token of CI may only make previews.
    let previews = edge.new_token(&["--name", "ci", "--app", "shop", "--env", "preview", "--scope", "push"]);
    let as_ci = |arguments: &[&str]| {
        let mut command = edge.command(repository.path(), "shop", arguments);
        Ran::of(command.env("DEVANTURE_TOKEN", &previews).output().unwrap())
    };
    let pushed = as_ci(&["push", "--alias", "tested", "--json"]);
    assert_eq!(pushed.code, Some(0), "{pushed:#?}");
    let version = pushed.json()["version"].as_str().unwrap().to_owned();
    assert_eq!(as_ci(&["push", "--json"]).problem(), "forbidden");
    assert_eq!(as_ci(&["switch", &version, "--json"]).problem(), "forbidden");
    let diff = repository.json(&edge, &[], &["diff", "tested"]);
    assert_eq!((&diff["from"]["named"], &diff["to"]["version"]), (&json!("live"), &json!(version)));
    assert_eq!(diff["files"]["added"], json!({ "files": 1, "bytes": 8 }));
    assert_eq!(diff["visitors"]["load"], json!({ "files": 2, "bytes": 22 }));
    let output = repository.run(&edge, &[], &["diff", "tested"]).stdout;
    for expected in ["  + about.html  8 B", "  ~ index.html  3 B → 14 B", "returning ones load 22 B"] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    repository.json(&edge, &[], &["switch", &version, "--env", "staging"]);
    let before = edge.log().len();
    let promoted = repository.json(&edge, &[], &["promote", "--from", "staging", "--to", "prod"]);
    assert_eq!((&promoted["version"], &promoted["switched"]), (&json!(version), &json!(true)), "{before}");
    assert_eq!(visit(&edge, "shop.localhost").await, (200, "two, with more".to_owned()));
    let same = repository.run(&edge, &[], &["diff", "staging", "prod"]).stdout;
    assert!(same.contains("  same      nothing differs in 2 files"), "{same}");
    let entry = &repository.json(&edge, &[], &["history"])["deploys"][0];
    assert_eq!((&entry["kind"], &entry["source"]["message"]), (&json!("promote"), &json!("two, with more")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_programs_that_push_at_once_each_is_decided() {
    let edge = edge().with_limit("pushes_max", 50).start();
    let folders: Vec<Repository> = (0..4).map(|_| Repository::new()).collect();
    for (number, repository) in folders.iter().enumerate() {
        repository.commit(&format!("page {number}"));
    }
    for flags in [&["push"][..], &["push", "--alias", "same"]] {
        let started: Vec<_> = folders
            .iter()
            .map(|repository| {
                let arguments = [flags, &["--json"]].concat();
                let mut command = edge.command(repository.path(), "shop", &arguments);
                command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let ended: Vec<Ran> = started.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect();
        for ran in &ended {
            let is_fine = ran.code == Some(0) || (ran.code == Some(1) && ran.problem() == "superseded");
            assert!(is_fine, "{ran:#?}");
        }
        assert!(ended.iter().any(|ran| ran.code == Some(0)));
        let place = if flags.len() > 1 { "same--shop.localhost" } else { "shop.localhost" };
        let (status, text) = visit(&edge, place).await;
        assert!(status == 200 && text.starts_with("page "), "{status} {text}");
    }
}
