//! `gc`, `delete` and `undelete` from the command line: removed files, confirmations, and restoration.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::edge::{Edge, edge};

const KEEP_ONE: &str = "[retention]\nkeep_versions = 1\nkeep_days = 0\ncollect_every_s = 0\n";

fn push(edge: &Edge, environment: &str, text: &str) -> String {
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), text).unwrap();
    let report = edge.json("shop", &["push", www.path().to_str().unwrap(), "--env", environment]);
    report["version"].as_str().unwrap().to_owned()
}

/// Makes the stored files as old as can be.
fn age(edge: &Edge) {
    fn below(folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => below(&path),
                false => std::fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap(),
            }
        }
    }
    ["blobs", "manifests"].iter().for_each(|kind| below(&edge.data_dir.join(kind)));
}

/// Returns the answer to a visitor; `None` for an unassigned name, without a certificate.
async fn visit(edge: &Edge, host: &str) -> Option<(u16, String)> {
    let answer = edge.client(true).get(edge.url(host, "/")).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.unwrap()))
}

fn is_gone(answer: &Option<(u16, String)>) -> bool {
    answer.as_ref().is_none_or(|(status, _)| matches!(status, 404 | 421))
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_collected_and_the_command_says_which() {
    let edge = edge().with_limit("grace_ms_max", 0).with_table(KEEP_ONE).start();
    let one = push(&edge, "prod", "one");
    for text in ["two", "three"] {
        push(&edge, "prod", text);
    }
    age(&edge);
    let foreseen = edge.json("shop", &["gc", "--dry-run"]);
    assert_eq!((&foreseen["dry_run"], &foreseen["versions"][0]["version"]), (&json!(true), &json!(one)));
    assert_eq!((&foreseen["versions"][0]["why"], &foreseen["bytes"]), (&json!("retention"), &json!(3)));
    let output = edge.run("shop", &["gc", "--dry-run"]).stdout;
    assert!(
        output.contains(&format!("{} of shop", &one[..12]))
            && output.contains("would collect 3 B in 1 file; 1 version"),
        "{output}"
    );
    assert!(output.contains("--dry-run: nothing has changed"), "{output}");
    let done = edge.json("shop", &["gc"]);
    assert_eq!(
        (&done["dry_run"], &done["versions"], &done["bytes"]),
        (&json!(false), &foreseen["versions"], &json!(3))
    );
    assert!(edge.run("shop", &["history"]).stdout.lines().any(|line| line.ends_with("(collected)")));
    for command in [&["switch", &one[..10]][..], &["rollback", &one], &["switch", &one, "--dry-run"]] {
        let ran = edge.run("shop", &[command, &["--json"]].concat());
        assert_eq!((ran.problem().as_str(), ran.code), ("version_collected", Some(1)), "{command:?}");
    }
    assert_eq!(push(&edge, "prod", "one"), one);
    assert_eq!(visit(&edge, "shop.localhost").await, Some((200, "one".to_owned())));
}

/// A token of one app cannot collect on the whole edge.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_needs_an_admin_and_no_app() {
    let mut edge = edge().with_table(KEEP_ONE).start();
    let folder = tempfile::tempdir().unwrap();
    let mut command = edge.command(folder.path(), "shop", &["gc", "--json"]);
    let ran = command.env_remove("DEVANTURE_APP").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    edge.token = edge.new_token(&["--name", "shop", "--app", "shop", "--scope", "admin"]);
    let ran = edge.run("shop", &["gc", "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("forbidden", Some(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_and_an_app_are_deleted_and_had_back() {
    let mut edge = edge().start();
    push(&edge, "prod", "prod");
    push(&edge, "staging", "staging");
    // Without a terminal, no question is asked: nothing happens, and the hint names the flag to add.
    for what in [&["delete", "app"][..], &["delete", "environment", "staging"], &["delete", "env", "staging"]] {
        let ran = edge.run("shop", &[what, &["--json"]].concat());
        assert_eq!((ran.problem().as_str(), ran.code), ("usage", Some(2)), "{what:?}");
        assert!(ran.json()["error"]["hint"].as_str().unwrap().contains("--yes"), "{ran:#?}");
        let plain = edge.run("shop", what);
        assert_eq!((plain.code, plain.stdout.as_str()), (Some(2), ""), "{what:?}");
    }
    for wrong in [&["delete", "environment"][..], &["delete", "app", "other", "--yes"], &["undelete", "version"]] {
        assert_eq!(edge.run("shop", &[wrong, &["--json"]].concat()).problem(), "usage", "{wrong:?}");
    }
    let dry = edge.json("shop", &["delete", "environment", "staging", "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["environments"]), (&json!(true), &json!(["staging"])));
    assert_eq!(visit(&edge, "staging--shop.localhost").await, Some((200, "staging".to_owned())));
    let gone = edge.run("shop", &["delete", "environment", "staging", "--yes"]);
    assert!(gone.code == Some(0) && gone.stdout.contains("undo  devanture undelete environment staging"), "{gone:#?}");
    assert!(is_gone(&visit(&edge, "staging--shop.localhost").await));
    assert_eq!(visit(&edge, "shop.localhost").await, Some((200, "prod".to_owned())));
    assert_eq!(edge.run("shop", &["status", "--env", "staging", "--json"]).problem(), "deleted");
    let output = edge.run("shop", &["undelete"]).stdout;
    assert!(output.starts_with("environment staging ") && output.contains("by test"), "{output}");
    assert_eq!(edge.json("shop", &["undelete", "environment", "staging", "--dry-run"])["dry_run"], true);
    assert!(is_gone(&visit(&edge, "staging--shop.localhost").await));
    assert_eq!(edge.json("shop", &["undelete", "environment", "staging"])["environment"], "staging");
    assert_eq!(visit(&edge, "staging--shop.localhost").await, Some((200, "staging".to_owned())));
    let history = edge.run("shop", &["history", "--env", "staging"]).stdout;
    assert!(history.contains("  delete    done") && history.contains("  undelete  done"), "{history}");

    let report = edge.json("shop", &["delete", "app", "shop", "--yes"]);
    assert_eq!((&report["app"], &report["versions"]), (&json!("shop"), &json!(2)));
    // Also after a restart of the edge.
    for _ in 0..2 {
        for host in ["shop.localhost", "staging--shop.localhost"] {
            assert!(is_gone(&visit(&edge, host).await), "{host}");
        }
        let www = tempfile::tempdir().unwrap();
        std::fs::write(www.path().join("index.html"), "new").unwrap();
        let ran = edge.run("shop", &["push", www.path().to_str().unwrap(), "--json"]);
        assert_eq!((ran.problem().as_str(), ran.code), ("deleted", Some(1)));
        assert!(edge.terminate().success());
        edge.restart();
    }
    assert_eq!(edge.json("shop", &["delete", "app", "--undo"])["app"], "shop");
    assert_eq!(visit(&edge, "shop.localhost").await, Some((200, "prod".to_owned())));
    assert!(edge.log().contains("an app was deleted") && edge.log().contains("\"who\":\"test\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_deleted_by_its_id_or_by_word_and_had_back() {
    let edge = edge().start();
    let one = push(&edge, "prod", "one");
    push(&edge, "prod", "two");
    let preview = format!("{}--shop.localhost", &one[..12]);
    for (delete, undelete) in [
        (&["delete", "version", &one[..8], "--yes"][..], &["undelete", "version", &one[..8]][..]),
        (&["delete", &one[..8], "--now"], &["delete", &one[..8], "--undo"]),
    ] {
        let gone = edge.json("shop", delete);
        assert_eq!(gone["version"], one.as_str());
        assert!(gone["until_ms"].as_u64().is_some());
        assert!(is_gone(&visit(&edge, &preview).await), "{delete:?}");
        let output = edge.run("shop", &["switch", &one, "--json"]).json();
        assert!(output["error"]["hint"].as_str().unwrap().contains("devanture undelete version"), "{output}");
        assert_eq!(edge.json("shop", undelete)["version"], one.as_str());
        assert_eq!(visit(&edge, &preview).await, Some((200, "one".to_owned())), "{undelete:?}");
    }
    assert_eq!(edge.run("shop", &["undelete", "version", &one, "--json"]).problem(), "not_found");
    assert_eq!(edge.json("shop", &["undelete"])["deleted"], Value::Array(Vec::new()));
}

/// After a kill at any moment, every remaining version answers in full.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_killed_in_a_collection_has_every_version_whole() {
    let mut edge = edge().with_limit("grace_ms_max", 0).with_table(KEEP_ONE).start();
    for round in 0..4_u64 {
        let mut live = String::new();
        for number in 0..4 {
            live = format!("round {round} number {number}");
            push(&edge, "prod", &live);
        }
        age(&edge);
        let folder = tempfile::tempdir().unwrap();
        let mut collecting = edge.command(folder.path(), "shop", &["gc"]);
        let mut collecting =
            collecting.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // A little later in each round.
        tokio::time::sleep(std::time::Duration::from_millis(round * 8)).await;
        edge.kill();
        collecting.wait().unwrap();
        edge.restart();
        assert_eq!(visit(&edge, "shop.localhost").await, Some((200, live)));
        let history = edge.json("shop", &["history"]);
        let lists = ["deleted", "collected"].map(|list| history[list].as_array().cloned().unwrap_or_default());
        for deploy in history["deploys"].as_array().unwrap() {
            let version = &deploy["version"];
            if lists.iter().any(|list| list.contains(version)) {
                continue;
            }
            let host = format!("{}--shop.localhost", &version.as_str().unwrap()[..12]);
            assert_eq!(visit(&edge, &host).await.unwrap().0, 200, "{host}");
        }
        age(&edge);
        let report = edge.json("shop", &["gc"]);
        assert_eq!(report["unreadable"], Value::Null);
    }
}

#[test]
fn an_environment_that_nothing_is_live_in_is_deleted_for_good_and_the_command_says_so() {
    let edge = edge().start();
    push(&edge, "prod", "prod");
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "branch").unwrap();
    edge.json("shop", &["push", www.path().to_str().unwrap(), "--alias", "feature-x"]);
    let dry = edge.run("shop", &["delete", "environment", "preview", "--dry-run"]);
    assert!(dry.code == Some(0) && dry.stdout.contains("nothing is live, for good"), "{dry:#?}");
    let gone = edge.run("shop", &["delete", "environment", "preview", "--yes"]);
    assert!(gone.code == Some(0) && gone.stdout.contains("is gone for good: nothing was live in it."), "{gone:#?}");
    assert!(!gone.stdout.contains("undo"), "{gone:#?}");
    assert_eq!(edge.run("shop", &["delete", "environment", "preview", "--yes", "--json"]).problem(), "nothing_live");
}
