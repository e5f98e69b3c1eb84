//! A push that would remove a whole part of the site is refused, from any client.

use std::path::Path;
use std::process::Command;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::Project;

const ROUTES: &str = "[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:9\"\n[[smoke]]\npath = \"/\"\n";

async fn status(edge: &Edge, host: &str, path: &str) -> u16 {
    edge.client(true).get(edge.url(host, path)).send().await.unwrap().status().as_u16()
}

/// A shop with a page, a route and a smoke check.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("www")).unwrap();
    std::fs::write(folder.path().join("www/index.html"), "<h1>Hi</h1>").unwrap();
    std::fs::write(folder.path().join("devanture.toml"), format!("app = \"shop\"\nwww = \"www\"\n{ROUTES}")).unwrap();
    folder
}

/// Sends a folder's files as a tar, as curl would.
async fn send_tar(edge: &Edge, folder: &Path, query: &str) -> (u16, serde_json::Value) {
    let tar = Command::new("tar").args(["cf", "-", "-C"]).arg(folder).arg(".").output().unwrap();
    assert!(tar.status.success(), "{tar:?}");
    let url = format!("https://{}/v1/apps/shop/environments/prod/deploys{query}", edge.admin());
    let request = edge.client(true).post(url).bearer_auth(&edge.token).header("content-type", "application/x-tar");
    let answer = request.body(tar.stdout).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_the_backend_alone_does_not_take_the_pages_away() {
    let edge = edge().with_runner().start();
    let project = Project::new(
        "game",
        "one",
        "[server.processes.worker]\ncommand = [\"node\", \"-e\", \"setInterval(() => {}, 9e6)\"]",
    );
    project.push(&edge);
    // The front was not built.
    std::fs::remove_dir_all(project.path().join("www")).unwrap();
    let toml = std::fs::read_to_string(project.path().join("devanture.toml")).unwrap();
    std::fs::write(project.path().join("devanture.toml"), toml.replace("www = \"www\"\n", "")).unwrap();
    for command in [&["check"][..], &["push", "--dry-run"], &["push"]] {
        let ran = project.run(&edge, &[command, &["--json"]].concat());
        assert_eq!((ran.problem().as_str(), ran.code), ("warnings", Some(1)), "{command:?}: {ran:#?}");
        assert!(ran.stderr.contains("What is live in prod has pages (1 file)"), "{command:?}: {ran:#?}");
        assert!(ran.stderr.contains("--allow-warnings"), "{command:?}: {ran:#?}");
    }
    for more in ["--allow-warnings", "--no-switch"] {
        let ran = project.run(&edge, &["push", "--dry-run", more, "--json"]);
        assert_eq!((ran.code, &ran.json()["checked_by_edge"]), (Some(0), &true.into()), "{more}: {ran:#?}");
    }
    assert_eq!(status(&edge, "game.localhost", "/").await, 200);
    let ran = project.run(&edge, &["push", "--allow-warnings", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(status(&edge, "game.localhost", "/").await, 404);
    // A process is a part, too.
    std::fs::write(project.path().join("devanture.toml"), toml.replace("processes.worker]", "processes.other]"))
        .unwrap();
    project.front("two");
    let ran = project.fails(&edge, "warnings");
    assert!(ran.stderr.contains("has processes (worker)"), "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_devanture_toml_does_not_take_routes_away() {
    let (edge, shop) = (edge().start(), shop());
    let run = |arguments: &[&str]| Ran::of(edge.command(shop.path(), "shop", arguments).output().unwrap());
    let check = run(&["check", "--json"]);
    assert_eq!(check.code, Some(0), "nothing is live yet: {check:#?}");
    assert_eq!(run(&["push", "--json"]).code, Some(0));
    assert_eq!(status(&edge, "shop.localhost", "/api/x").await, 502, "it is the backend's, which is not there");
    std::fs::write(shop.path().join("www/index.html"), "<h1>Other</h1>").unwrap();
    let (refused, problem) = send_tar(&edge, &shop.path().join("www"), "").await;
    assert_eq!((refused, problem["code"].as_str()), (422, Some("warnings")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("has routes (/api/*) and 1 smoke check"), "{detail}");
    assert!(problem["hint"].as_str().unwrap().contains("allow_warnings=1"), "{problem}");
    assert_eq!(status(&edge, "shop.localhost", "/api/x").await, 502);
    // A preview removes nothing, and the flag allows the push.
    assert_eq!(send_tar(&edge, &shop.path().join("www"), "?no_switch=1").await.0, 200);
    std::fs::write(shop.path().join("devanture.toml"), "app = \"shop\"\nwww = \"www\"\n").unwrap();
    assert_eq!(run(&["check", "--json"]).problem(), "warnings");
    let allowed = run(&["check", "--allow-warnings"]);
    assert!(allowed.code == Some(0) && allowed.stderr.contains("has routes (/api/*)"), "{allowed:#?}");
    let (sent, report) = send_tar(&edge, &shop.path().join("www"), "?allow_warnings=1").await;
    assert_eq!(sent, 200, "{report}");
    assert_eq!(status(&edge, "shop.localhost", "/api/x").await, 404);
    assert_eq!(run(&["check", "--json"]).code, Some(0), "there is nothing to lose any more");
}
