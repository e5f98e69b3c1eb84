//! Separate configuration of environments, from the command line: overlays, settings, secrets, and rollbacks.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::edge::{Edge, Ran, edge, files, program};
use crate::support::managed::eventually;

const TOML: &str = "app = \"shop\"\nwww = \"dist\"\nnot_found = \"none\"\n\n[[redirects]]\nfrom = \"/old\"\n\
    to = \"/for-all\"\n\n[env.staging]\nhtml_handling = \"as-is\"\n";
const OVERLAY: &str = "# staging\nnot_found = \"single-page-application\"\n\n[[redirects]]\nfrom = \"/old\"\n\
    to = \"/for-staging\"\n";

/// A project with a page, a `devanture.toml` and an overlay for `staging`.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("dist")).unwrap();
    for (path, text) in [("dist/index.html", "home"), ("devanture.toml", TOML), ("devanture.staging.toml", OVERLAY)] {
        std::fs::write(folder.path().join(path), text).unwrap();
    }
    folder
}

fn run(edge: &Edge, folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(edge.command(folder, "shop", arguments).output().unwrap())
}

#[track_caller]
fn json_of(edge: &Edge, folder: &Path, arguments: &[&str]) -> Value {
    let ran = run(edge, folder, &[arguments, &["--json"]].concat());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
    ran.json()
}

/// Runs the command line with `text` by stdin.
fn fed(edge: &Edge, folder: &Path, arguments: &[&str], text: &str) -> Ran {
    let mut command = edge.command(folder, "shop", arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

/// Returns every file of the edge's data with its bytes; the socket is unreadable.
fn data(edge: &Edge) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![edge.data_dir.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match (path.is_dir(), path.is_file()) {
                (true, _) => folders.push(path),
                (_, true) => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
                _ => {}
            }
        }
    }
    assert!(found.iter().any(|(path, _)| path.ends_with("catalog.redb")), "{found:?}");
    found
}

async fn location(edge: &Edge, host: &str, path: &str) -> String {
    let answer = edge.client(true).get(edge.url(host, path)).send().await.unwrap();
    answer.headers().get("location").map_or_else(String::new, |to| to.to_str().unwrap().to_owned())
}

async fn shown(edge: &Edge, host: &str) -> Value {
    let url = edge.url(host, "/.well-known/devanture/env.json");
    let answer = edge.client(true).get(url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].to_str().unwrap()), (200, "no-cache"));
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tested_in_staging_is_promoted_with_its_digest_and_each_environment_keeps_its_own() {
    let edge = edge().start();
    let folder = project();
    let checked = json_of(&edge, folder.path(), &["check", "--env", "staging", "--explain"]);
    assert_eq!(checked["explained"]["environment"], "staging");
    let values = checked["explained"]["values"].as_array().unwrap();
    let from = |key: &str| {
        values.iter().find(|one| one["key"] == key).map(|one| (&one["value"], one["from"].as_str().unwrap()))
    };
    for (key, value, expected) in [
        ("app", json!("shop"), "devanture.toml:1"),
        ("not_found", json!("single-page-application"), "devanture.staging.toml:2"),
        ("html_handling", json!("as-is"), "devanture.toml:10"),
        ("redirects[0]", json!({ "from": "/old", "to": "/for-staging" }), "devanture.staging.toml:4"),
    ] {
        assert_eq!(from(key), Some((&value, expected)), "{key}: {values:#?}");
    }
    let output = run(&edge, folder.path(), &["check", "--env", "prod", "--explain"]);
    let line = output.stdout.lines().find(|line| line.contains("html_handling")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["html_handling", "=", "\"auto-trailing-slash\"", "default"]
    );

    let pushed = json_of(&edge, folder.path(), &["push", "--env", "staging"]);
    // The same id without an edge, in any environment; the overlay is not among the files.
    assert_eq!(checked["version"], pushed["version"]);
    assert_eq!(pushed["files"]["total"], 1);
    assert_eq!(location(&edge, "staging--shop.localhost", "/old").await, "/for-staging");
    let stored = files(&edge.data_dir.join("blobs")).len();
    let promoted = json_of(&edge, folder.path(), &["promote", "--from", "staging", "--to", "prod"]);
    assert_eq!((&promoted["version"], &promoted["switched"]), (&pushed["version"], &json!(true)));
    assert_eq!(files(&edge.data_dir.join("blobs")).len(), stored);
    assert_eq!(location(&edge, "shop.localhost", "/old").await, "/for-all");
    // A push of the same content to prod sends no file.
    let again = json_of(&edge, folder.path(), &["push"]);
    assert_eq!((&again["version"], &again["bytes"]["sent"]), (&pushed["version"], &json!(0)));

    // Mistakes are reported with their file.
    std::fs::write(folder.path().join("devanture.staging.toml"), "\nwww = \"x\"\n").unwrap();
    std::fs::write(folder.path().join("devanture.nobodys_place.toml"), "").unwrap();
    let wrong = run(&edge, folder.path(), &["check", "--json"]);
    assert_eq!((wrong.code, wrong.problem().as_str()), (Some(2), "bad_config"));
    let mistakes = wrong.json()["error"]["mistakes"].clone();
    let places: Vec<(&str, u64)> = mistakes
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake| (mistake["file"].as_str().unwrap(), mistake["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [("devanture.nobodys_place.toml", 0), ("devanture.staging.toml", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_set_from_stdin_and_its_bytes_are_nowhere() {
    let edge = edge().start();
    let folder = project();
    json_of(&edge, folder.path(), &["push"]);
    let secret = "correct-horse-battery-staple";
    let mut warnings = Vec::new();
    for (arguments, text) in [
        (&["env", "set", "API_KEY", "--secret"][..], format!("{secret}\n")),
        (&["env", "set", "API_KEY=-", "--json"], secret.to_owned()),
        (&["env", "set", "--from", "-", "--secret", "--dry-run"], format!("OTHER=\"{secret}\"\n")),
        (&["env", "set", "--from", "-", "--secret", "--env", "staging"], format!("# said\nOTHER='{secret}'\n")),
    ] {
        let ran = fed(&edge, folder.path(), arguments, &text);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
        warnings.push(ran.stdout + &ran.stderr);
    }
    assert!(warnings[0].contains("revision  1 of prod holds now"), "{warnings:?}");
    assert!(
        warnings[1].contains("\"changed\":true,\"revision\":2"),
        "no answer tells that it is the same: {warnings:?}"
    );
    assert!(warnings[2].contains("--dry-run: nothing has changed"), "{warnings:?}");
    assert!(warnings[3].contains("will hold once something is live there"), "{warnings:?}");
    let set = run(&edge, folder.path(), &["env", "set", "API_URL=https://api.example.org", "LEVEL=info", "--public"]);
    assert_eq!(set.code, Some(0), "{set:#?}");
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "API_URL": "https://api.example.org", "LEVEL": "info" }));
    let list = run(&edge, folder.path(), &["env", "list"]);
    assert_eq!(
        list.stdout.lines().take(3).collect::<Vec<_>>(),
        ["  API_KEY  secret  (not shown)", "  API_URL  public  https://api.example.org", "  LEVEL    public  info",]
    );
    let unset = json_of(&edge, folder.path(), &["env", "unset", "LEVEL", "NONE"]);
    assert_eq!((&unset["unset"], &unset["revision"]), (&json!(["LEVEL"]), &json!(4)));
    json_of(&edge, folder.path(), &["push", "--env", "staging"]);

    // Refusals, none of which repeats the typed text.
    for arguments in [
        &["env", "set", "api-key=correct-horse-battery-staple"][..],
        &["env", "set", "PORT=correct-horse-battery-staple"],
        &["env", "set", "API_KEY=correct-horse-battery-staple", "--public"],
        &["env", "set", "A=correct-horse-battery-staple", "--public", "--secret"],
        &["env", "set", "API_KEY"],
        &["env", "set"],
    ] {
        let ran = run(&edge, folder.path(), arguments);
        assert!(matches!(ran.code, Some(1 | 2)), "{arguments:?}: {ran:#?}");
        warnings.push(ran.stdout + &ran.stderr);
    }
    for environment in ["prod", "staging", "preview"] {
        for operation in ["", "/history", "/settings", "/hostnames"] {
            let path = format!("/v1/apps/shop/environments/{environment}{operation}");
            warnings.push(edge.api("GET", &path, None).await.1.to_string());
        }
    }
    for path in ["/v1/apps/shop/aliases", "/metrics"] {
        warnings.push(edge.api("GET", path, None).await.1.to_string());
    }
    let staging = shown(&edge, "staging--shop.localhost").await;
    assert_eq!(staging, json!({}));
    warnings.extend([list.stdout, staging.to_string(), shown(&edge, "shop.localhost").await.to_string(), edge.log()]);
    for text in &warnings {
        assert!(!text.contains(secret), "{text}");
    }
    for (path, bytes) in data(&edge) {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{path}");
    }
    // The key is beside the data folder, and neither opens anything without the second.
    let key = std::fs::read_to_string(edge.data_dir.with_extension("key")).unwrap();
    let key = key.lines().last().unwrap().to_owned();
    for (path, bytes) in data(&edge) {
        assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_says_how_the_settings_differ_and_restores_them_on_request() {
    let edge = edge().start();
    let folder = project();
    let page = folder.path().join("dist/index.html");
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=one", "--public"]);
    std::fs::write(&page, "two").unwrap();
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=two", "MORE=1"]);
    let back = run(&edge, folder.path(), &["rollback"]);
    assert!(
        back.stdout.contains("revision 2 stays; the version was live with 1: since then changed TITLE; added MORE"),
        "{back:#?}"
    );
    assert!(back.stdout.contains("--with-settings"), "{back:#?}");
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "TITLE": "two" }));
    std::fs::write(&page, "three").unwrap();
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=three"]);
    let back = json_of(&edge, folder.path(), &["rollback", "--with-settings"]);
    assert_eq!((&back["settings"]["was"], &back["settings"]["restored"]), (&json!(2), &json!(true)));
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "TITLE": "two" }));
    let history = run(&edge, folder.path(), &["history"]);
    assert!(history.stdout.contains("settings  done"), "{history:#?}");
    assert!(history.stdout.contains("set MORE, TITLE"), "{history:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_a_rollback_names_restores_the_settings_afterwards() {
    let edge = edge().start();
    let folder = project();
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=one", "--public"]);
    let live = json_of(&edge, folder.path(), &["status"])["version"].as_str().unwrap().to_owned();
    let none = run(&edge, folder.path(), &["rollback", &live, "--with-settings", "--json"]);
    assert_eq!(none.problem(), "no_previous", "it was not live before");
    assert!(none.stderr.contains("there are no other settings of it"), "{none:#?}");
    std::fs::write(folder.path().join("dist/index.html"), "two").unwrap();
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=two"]);
    let back = run(&edge, folder.path(), &["rollback"]);
    let named = back.stdout.lines().find_map(|line| line.split_once("to restore these too: devanture ")).unwrap().1;
    let arguments: Vec<&str> = named.split(' ').collect();
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "TITLE": "two" }));
    let restored = run(&edge, folder.path(), &arguments);
    assert_eq!(restored.code, Some(0), "{restored:#?}");
    for expected in ["its settings change", "revision 1 holds again, in place of 2: since then changed TITLE"] {
        assert!(restored.stdout.contains(expected), "{restored:#?}");
    }
    assert!(!restored.stdout.contains("undo"), "{restored:#?}");
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "TITLE": "one" }));
    assert_eq!(json_of(&edge, folder.path(), &["status"])["version"], live.as_str());
    let again = run(&edge, folder.path(), &arguments);
    assert!(again.code == Some(0) && again.stdout.contains("nothing has changed"), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_a_rollback_with_settings_restores_the_version_and_its_settings() {
    let edge = edge().start();
    let folder = project();
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=one", "--public"]);
    std::fs::write(folder.path().join("dist/index.html"), "two").unwrap();
    json_of(&edge, folder.path(), &["push"]);
    json_of(&edge, folder.path(), &["env", "set", "TITLE=two", "MORE=2"]);
    let live = || json_of(&edge, folder.path(), &["status"])["version"].clone();
    let (before, shown_before) = (live(), shown(&edge, "shop.localhost").await);
    let back = run(&edge, folder.path(), &["rollback", "--with-settings"]);
    assert_eq!(back.code, Some(0), "{back:#?}");
    assert_ne!(live(), before);
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "TITLE": "one" }));

    let undo = back.stdout.lines().find_map(|line| line.trim().strip_prefix("undo ")).unwrap().trim();
    let arguments: Vec<&str> = undo.strip_prefix("devanture ").unwrap().split(' ').collect();
    let undone = run(&edge, folder.path(), &arguments);
    assert_eq!(undone.code, Some(0), "{undone:#?}");
    assert_eq!((live(), shown(&edge, "shop.localhost").await), (before, shown_before));

    // A rollback that keeps the settings is undone by a switch, which keeps the settings too.
    let back = run(&edge, folder.path(), &["rollback"]);
    assert!(back.stdout.contains("undo      devanture switch "), "{back:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_without_their_key_are_seen_wherever_an_operator_looks() {
    let edge = edge().start();
    let folder = project();
    json_of(&edge, folder.path(), &["push"]);
    assert_eq!(fed(&edge, folder.path(), &["env", "set", "API_KEY", "--secret"], "hidden\n").code, Some(0));
    let ready = async || {
        let url = format!("https://{}/health/ready", edge.admin());
        edge.client(true).get(url).send().await.unwrap().text().await.unwrap()
    };
    let check = || {
        let mut command = std::process::Command::new(program("devanture-edge"));
        let of_edge = edge.data_dir.parent().unwrap();
        let ran = command.args(["check", "--config", "edge.toml"]).current_dir(of_edge).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    assert_eq!((ready().await.as_str(), check()), ("ready\n", (Some(0), String::new())));

    // As after a restore of the data folder alone.
    let key = edge.data_dir.with_extension("key");
    let aside = edge.data_dir.with_extension("aside");
    std::fs::rename(&key, &aside).unwrap();
    let sentence = "1 secret of shop in prod lacks its key, so that no instance starts there: restore the key file";
    eventually("readiness that names the environment", async || {
        ready().await.contains(&format!("secrets: {sentence}")).then_some(())
    })
    .await;
    assert!(ready().await.starts_with("ready\n") && !ready().await.contains("API_KEY"), "anybody may read this");
    let status = run(&edge, folder.path(), &["status"]).stdout;
    assert!(status.contains("API_KEY lacks its key") && status.contains("devanture env set"), "{status}");
    assert_eq!(json_of(&edge, folder.path(), &["status"])["lost_secrets"], json!(["API_KEY"]));
    let metrics = edge.api("GET", "/metrics", None).await.1.to_string();
    assert!(metrics.contains("devanture_lost_secrets{") && metrics.contains("environment"), "{metrics}");
    let (code, output) = check();
    assert!(code == Some(0) && output.contains(sentence), "{output}");

    // The edge recovers on its own.
    std::fs::rename(&aside, &key).unwrap();
    eventually("readiness without it", async || (ready().await == "ready\n").then_some(())).await;
    assert_eq!(json_of(&edge, folder.path(), &["status"]).get("lost_secrets"), None);
    assert!(!edge.api("GET", "/metrics", None).await.1.to_string().contains("devanture_lost_secrets{"));
}
