//! Pushes of one half: the result for each half, two concurrent pipelines, and forbidden effects of a half.

use std::process::Command;

use devanture_config::Digest;
use serde_json::{Value, json};

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::Project;
use crate::support::rounds;

/// Rounds of two pipelines at once.
const ROUNDS: usize = 30;
/// A cheap backend.
const WORKER: &str = "[server]\ndir = \"out\"\nkind = \"worker\"\ncommand = [\"sleep\", \"1000000\"]\nwarm_ms = 0\nstop_ms = 0\ndrain_ms = 0\n";
const DEPLOYS: &str = "/v1/apps/game/environments/prod/deploys";

/// A project whose backend gets no traffic.
pub(super) fn worker(name: &str) -> Project {
    let project = Project::new("game", name, "");
    project.toml(WORKER);
    project.write("out/server.js", "");
    project
}

/// Returns the id of the whole version, without an edge.
fn whole_id(edge: &Edge, project: &Project) -> String {
    let ran = project.run(edge, &["push", "--dry-run", "--allow-warnings", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.json()["version"].as_str().unwrap().to_owned()
}

#[track_caller]
fn pushed(edge: &Edge, project: &Project, arguments: &[&str]) -> Value {
    let ran = project.run(edge, &[&["push", "--json"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}\n{}", edge.log());
    ran.json()
}

async fn live(edge: &Edge) -> String {
    edge.api("GET", "/v1/apps/game/environments/prod", None).await.1["version"].as_str().unwrap().to_owned()
}

async fn get(edge: &Edge, path: &str) -> (u16, String) {
    let response = edge.client(true).get(edge.url("game.localhost", path)).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Begins a push by the API, without sending files.
async fn begun(edge: &Edge, manifest: &Value, only: &str) -> Value {
    let body = json!({ "manifest": manifest, "options": { "only": only } });
    let (status, begun) = edge.api("POST", DEPLOYS, Some(body)).await;
    assert_eq!(status, 201, "{begun}");
    begun
}

async fn finished(edge: &Edge, begun: &Value) -> (u16, Value) {
    let deploy = begun["deploy"].as_str().unwrap();
    edge.api("POST", &format!("/v1/apps/game/deploys/{deploy}/finish"), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_is_joined_with_the_half_that_is_live_and_its_id_is_that_of_the_whole() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "blue", "");
    let first = project.push(&edge);
    project.front("green");
    let report = pushed(&edge, &project, &["--only", "front"]);
    assert_eq!((report["only"].as_str(), report["with"].as_str()), (Some("front"), Some(first.as_str())));
    assert_eq!(report["bytes"]["sent"].as_u64(), Some("<title>green</title>".len() as u64), "{report}");
    assert_eq!(report["version"].as_str(), Some(whole_id(&edge, &project).as_str()));
    assert!(get(&edge, "/").await.1.contains("green") && get(&edge, "/api/who").await.1.starts_with("blue"));
    project.backend("red");
    pushed(&edge, &project, &["--only", "backend"]);
    assert!(get(&edge, "/").await.1.contains("green") && get(&edge, "/api/who").await.1.starts_with("red"));
    assert_eq!(live(&edge).await, whole_id(&edge, &project));
    let history = project.run(&edge, &["history", "--json"]).json();
    let halves: Vec<&str> =
        history["deploys"].as_array().unwrap().iter().map(|one| one["halves"].as_str().unwrap()).collect();
    assert_eq!(halves, ["backend", "front", "both"]);
    let shown = project.run(&edge, &["history"]).stdout;
    assert!(shown.contains("push backend") && shown.contains("push front") && shown.contains("push both"), "{shown}");
    // The second half from an older version, by id, without a switch.
    let report = pushed(&edge, &project, &["--only", "front", "--with", &first[..12], "--no-switch"]);
    assert_eq!(report["with"].as_str(), Some(first.as_str()));
    assert_eq!(live(&edge).await, whole_id(&edge, &project));
    // The previous version is the joined version.
    let ran = project.run(&edge, &["rollback"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    assert!(get(&edge, "/").await.1.contains("green") && get(&edge, "/api/who").await.1.starts_with("blue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_push_may_bring_either_half() {
    let edge = edge().with_runner().start();
    let project = worker("one");
    let ran = project.run(&edge, &["push", "--only", "backend", "--dry-run", "--json"]);
    assert_eq!((ran.code, ran.json()["version"].is_string()), (Some(0), true), "{ran:#?}");
    let report = pushed(&edge, &project, &["--only", "front"]);
    assert!(report["with"].is_null() && get(&edge, "/").await.0 == 200);
    pushed(&edge, &project, &["--only", "backend"]);
    assert_eq!(live(&edge).await, whole_id(&edge, &project));
    // A route of the front to a backend never pushed.
    let lonely = tempfile::tempdir().unwrap();
    std::fs::create_dir(lonely.path().join("www")).unwrap();
    std::fs::write(lonely.path().join("www/index.html"), "hi").unwrap();
    let toml = "app = \"lonely\"\n[[routes]]\npath = \"/api/*\"\nto = \"server\"\n[upstreams.server]\nto = []\n";
    std::fs::write(lonely.path().join("devanture.toml"), toml).unwrap();
    let run = |arguments: &[&str]| Ran::of(edge.command(lonely.path(), "lonely", arguments).output().unwrap());
    let ran = run(&["push", "--only", "front", "--json"]);
    assert_eq!(ran.code, Some(0), "the pool is declared: {ran:#?}");
    let ran = run(&["push", "--only", "backend", "--json"]);
    assert_eq!(ran.problem(), "usage", "{ran:#?}");
    let ran = run(&["push", "--only", "front", "--with", "4f2a91", "--json"]);
    assert_eq!(ran.problem(), "not_found", "a version of another app is none: {ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_that_push_two_halves_at_once_end_with_both() {
    let edge = edge().with_runner().start();
    let project = worker("begin");
    project.push(&edge);
    for round in 0..rounds(ROUNDS) {
        project.front(&format!("front {round}"));
        project.write("out/name.txt", &format!("backend {round}"));
        let start = |half: &str| {
            let mut command = edge.command(project.path(), "game", &["push", "--json", "--only", half]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let ended = [start("front"), start("backend")].map(|push| Ran::of(push.wait_with_output().unwrap()));
        for ran in &ended {
            assert_eq!(ran.code, Some(0), "round {round}: {ran:#?}\n{}", edge.log());
        }
        assert_eq!(live(&edge).await, whole_id(&edge, &project), "round {round}: {ended:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_later_push_of_the_same_half_supersedes() {
    let edge = edge().with_runner().start();
    let project = worker("one");
    project.push(&edge);
    let page = b"<title>one</title>";
    let file = json!({ "hash": Digest::of(page), "size": page.len() });
    let manifest = json!({ "files": { "index.html": file }, "format": 1 });
    let without = |key: &str, value: Value| {
        let mut other = manifest.clone();
        other["base"] = json!({ key: value });
        other
    };
    let early = begun(&edge, &without("not_found", json!("none")), "front").await;
    // The second half goes live meanwhile: both are live in the end.
    project.write("out/name.txt", "two");
    pushed(&edge, &project, &["--only", "backend"]);
    let (status, report) = finished(&edge, &early).await;
    assert_eq!((status, report["switched"].as_bool()), (200, Some(true)), "{report}");
    assert_ne!(report["version"], early["version"], "it was joined again");
    project.toml(&format!("not_found = \"none\"\n{WORKER}"));
    assert_eq!(live(&edge).await, whole_id(&edge, &project));
    // The same half goes live meanwhile: that half stays.
    let early = begun(&edge, &without("not_found", json!("404-page")), "front").await;
    project.front("later");
    pushed(&edge, &project, &["--only", "front"]);
    let (status, problem) = finished(&edge, &early).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("superseded")), "{problem}");
    assert_eq!(live(&edge).await, whole_id(&edge, &project));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_backend_keeps_links_and_run_bits_and_one_that_leads_out_is_refused() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "blue", "");
    project.push(&edge);
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("server/node_modules/.bin")).unwrap();
    std::fs::copy(project.path().join("devanture.toml"), at("devanture.toml")).unwrap();
    std::fs::copy(project.path().join("out/server.js"), at("server/node_modules/real.js")).unwrap();
    std::fs::write(at("server/name.txt"), "green").unwrap();
    std::fs::write(at("server/node_modules/name.txt"), "green").unwrap();
    let send = async |query: &str| {
        let tar = Command::new("tar").args(["cz", "-C"]).arg(folder.path()).arg(".").output().unwrap();
        let url = format!("https://{}{DEPLOYS}{query}", edge.admin());
        let request = edge.client(true).post(url).bearer_auth(&edge.token).header("content-type", "application/gzip");
        let answer = request.body(tar.stdout).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let (status, whole) = send("").await;
    assert_eq!((status, whole["code"].as_str()), (422, Some("bad_config")), "{whole}");
    std::os::unix::fs::symlink("node_modules/real.js", at("server/server.js")).unwrap();
    let (status, report) = send("?only=backend").await;
    assert_eq!((status, report["only"].as_str()), (200, Some("backend")), "{report}\n{}", edge.log());
    assert!(get(&edge, "/api/who").await.1.starts_with("green") && get(&edge, "/").await.1.contains("blue"));
    assert_eq!(send("?only=backend&with=zzz").await.1["code"], "bad_request");
    assert_eq!(send("?with=4f2a91").await.1["code"], "bad_request");
    assert_eq!(send("?only=both").await.1["code"], "bad_request");
    // The front of the same archive: no visitor reads the backend.
    std::fs::write(at("index.html"), "front").unwrap();
    let (status, report) = send("?only=front&allow_warnings=1").await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(get(&edge, "/server/name.txt").await.0, 404);
    assert!(get(&edge, "/api/who").await.1.starts_with("green"));
    for target in ["/etc/passwd", "../../x"] {
        std::fs::remove_file(at("server/server.js")).unwrap();
        std::os::unix::fs::symlink(target, at("server/server.js")).unwrap();
        let (status, problem) = send("?only=backend").await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("bad_manifest")), "{target}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_path_stays_withdrawn_when_a_backend_is_pushed() {
    let edge = edge().with_runner().start();
    let project = worker("one");
    project.write("www/secret.html", "secret");
    project.push(&edge);
    let ran = project.run(&edge, &["delete", "/secret.html", "--yes"]);
    assert_eq!((ran.code, get(&edge, "/secret.html").await.0), (Some(0), 404), "{ran:#?}");
    project.write("out/name.txt", "two");
    let report = pushed(&edge, &project, &["--only", "backend"]);
    assert!(report["switched"].as_bool().unwrap());
    assert_eq!(get(&edge, "/secret.html").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_of_one_half_takes_the_other_from_its_alias_and_at_first_from_prod() {
    let edge = edge().with_runner().start();
    let project = worker("one");
    let version = project.push(&edge);
    project.front("two");
    let report = pushed(&edge, &project, &["--only", "front", "--alias", "feature-x"]);
    assert_eq!(report["with"].as_str(), Some(version.as_str()));
    project.write("out/name.txt", "two");
    let next = pushed(&edge, &project, &["--only", "backend", "--alias", "feature-x"]);
    assert_eq!(next["with"], report["version"]);
    assert_eq!(next["version"].as_str(), Some(whole_id(&edge, &project).as_str()));
    assert_eq!(live(&edge).await, version);
}

/// An admin vouches for an admin's half only.
#[tokio::test(flavor = "multi_thread")]
async fn an_admins_push_of_the_backend_does_not_vouch_for_the_front_of_somebody_else() {
    let edge = edge().with_runner().start();
    let project = worker("one");
    project.push(&edge);
    let token = edge.new_token(&["--name", "front", "--scope", "push", "--app", "game"]);
    let as_pusher = |arguments: &[&str]| {
        let mut command = edge.command(project.path(), "game", arguments);
        Ran::of(command.env("DEVANTURE_TOKEN", &token).output().unwrap())
    };
    // The backend is the admin's, and keeps running.
    project.front("two");
    let ran = as_pusher(&["push", "--json", "--only", "front"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    // Addresses forbidden to the front stay forbidden by way of the backend.
    project.toml(&format!("[[routes]]\npath = \"/inside/*\"\nto = \"http://127.0.0.1:9\"\n{WORKER}"));
    let ran = as_pusher(&["push", "--json", "--only", "front"]);
    assert_eq!(ran.problem(), "upstream_forbidden", "{ran:#?}");
    let ran = project.run(&edge, &["push", "--json", "--only", "backend"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(get(&edge, "/inside/x").await.0, 404);
}
