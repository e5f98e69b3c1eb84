//! `devanture data`: what a backend keeps, taken to this machine and back.

use std::fs;

use crate::support::edge::edge;
use crate::support::managed::{Project, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn data_is_downloaded_replaced_and_restored_by_its_commands() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "persist = \"data\"");
    project.push(&edge);
    let keep = async |text: &str| {
        let url = edge.url("game.localhost", "/api/keep");
        let answer = edge.client(true).post(url).body(text.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    };
    assert_eq!(keep("first").await, (200, "first".to_owned()));
    let run = |arguments: &[&str]| {
        let ran = project.run(&edge, &[&["data"], arguments].concat());
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
        ran
    };
    let listed = run(&["list", "--json"]).json();
    assert_eq!((&listed["entries"][0]["path"], &listed["bytes"]), (&"kept".into(), &5.into()));
    run(&["pull", "copy"]);
    run(&["pull", "copy.tar.zst"]);
    assert_eq!(fs::read_to_string(project.path().join("copy/kept")).unwrap(), "first");
    let again = project.run(&edge, &["data", "pull", "copy", "--json"]);
    assert_eq!((again.code, again.json()["error"]["code"].as_str()), (Some(2), Some("usage")), "{again:#?}");
    let dry = run(&["snapshot", "mine", "--dry-run", "--json"]).json();
    assert_eq!(dry["dry_run"], true);
    run(&["snapshot", "mine"]);
    // A folder in the place of what is there, which has to be meant.
    project.write("copy/kept", "of a folder, ");
    for arguments in [["push", "copy"].as_slice(), &["push", "copy", "--replace"]] {
        let ran = project.run(&edge, &[&["data"], arguments].concat());
        assert_ne!(ran.code, Some(0), "{ran:#?}");
    }
    // A dry run is refused as the push would be.
    let dry = project.run(&edge, &["data", "push", "copy", "--dry-run", "--json"]);
    assert_eq!(dry.json()["error"]["code"], "conflict", "{dry:#?}");
    let dry = run(&["push", "copy", "--replace", "--dry-run", "--json"]).json();
    assert_eq!((&dry["dry_run"], &dry["files"]), (&true.into(), &1.into()), "{dry}");
    let pushed = run(&["push", "copy", "--replace", "--yes", "--json"]).json();
    let before = pushed["snapshot"].as_str().unwrap().to_owned();
    let is_kept = async |text: &str| keep("").await == (200, text.to_owned());
    eventually("the backend has the folder", async || is_kept("of a folder, ").await.then_some(())).await;
    run(&["push", "copy.tar.zst", "--replace", "--yes"]);
    eventually("the backend has the archive", async || is_kept("first").await.then_some(())).await;
    keep(" and more").await;
    run(&["restore", "mine", "--yes"]);
    eventually("the backend has the snapshot", async || is_kept("first").await.then_some(())).await;
    let text = run(&["list"]).stdout;
    assert!(text.contains(&before) && text.contains("mine"), "{text}");
    assert_eq!(run(&["delete", "mine", "--dry-run", "--json"]).json()["dry_run"], true);
    run(&["delete", "mine", "--yes"]);
    let gone = project.run(&edge, &["data", "restore", "mine", "--yes", "--json"]);
    assert_eq!(gone.json()["error"]["code"], "not_found", "{gone:#?}");
}
