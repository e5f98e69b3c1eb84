//! `pause`, `resume` and `delete` from the command line, with the effect for visitors.

use serde_json::{Value, json};

use crate::support::edge::{Edge, Ran, edge, files, program};

/// Pushes a folder of these files, and returns the version.
fn push(edge: &Edge, files: &[(&str, &str)]) -> String {
    let www = tempfile::tempdir().unwrap();
    for (path, text) in files {
        std::fs::write(www.path().join(path), text).unwrap();
    }
    edge.push("shop", www.path())["version"].as_str().unwrap().to_owned()
}

async fn visit(edge: &Edge, host: &str, path: &str) -> (u16, String) {
    let answer = edge.client(true).get(edge.url(host, path)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_paused_and_resumed() {
    let edge = edge().start();
    assert_eq!(edge.run("shop", &["pause", "--json"]).problem(), "not_found");
    push(&edge, &[("index.html", "home"), ("status.html", "fine")]);
    let dry = edge.json("shop", &["pause", "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["would_change"], &dry["paused"]), (&json!(true), &json!(true), &Value::Null));
    assert_eq!(visit(&edge, "shop.localhost", "/").await, (200, "home".to_owned()));
    let arguments =
        ["pause", "--message", "Back at ten.", "--allow", "/status", "--allow", "/api/*", "--retry-after", "9"];
    let paused = edge.json("shop", &arguments);
    assert_eq!((&paused["changed"], &paused["paused"]["allow"]), (&json!(true), &json!(["/status", "/api/*"])));
    let client = edge.client(true);
    let page = client.get(edge.url("shop.localhost", "/")).header("accept", "text/html").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.headers()["retry-after"].to_str().unwrap()), (503, "9"));
    assert!(page.text().await.unwrap().contains("<p>Back at ten.</p>"));
    assert_eq!(visit(&edge, "shop.localhost", "/status").await, (200, "fine".to_owned()));
    let output = edge.run("shop", &["status"]);
    assert!(output.stdout.contains("Back at ten.") && output.stdout.contains("/status, /api/*"), "{output:#?}");
    assert_eq!(edge.json("shop", &["status"])["paused"]["retry_after_s"], 9);
    push(&edge, &[("index.html", "new")]);
    assert_eq!(visit(&edge, "shop.localhost", "/").await.0, 503);
    assert_eq!(edge.json("shop", &["resume", "--dry-run"])["would_change"], true);
    assert_eq!(visit(&edge, "shop.localhost", "/").await.0, 503);
    let resumed = edge.run("shop", &["resume"]);
    assert_eq!((resumed.code, resumed.stdout.as_str()), (Some(0), "  resumed   prod answers again\n"));
    assert_eq!(visit(&edge, "shop.localhost", "/").await, (200, "new".to_owned()));
    assert_eq!(edge.json("shop", &["resume"])["changed"], false);
    let output = edge.run("shop", &["history"]).stdout;
    assert!(output.contains("  pause     done") && output.contains("  resume    done"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_a_path_are_deleted() {
    let edge = edge().start();
    let one = push(&edge, &[("index.html", "one"), ("salaries.pdf", "secret")]);
    let two = push(&edge, &[("index.html", "two"), ("salaries.pdf", "secret")]);
    let three = push(&edge, &[("index.html", "three"), ("salaries.pdf", "secret")]);
    for what in [&one[..12], "/salaries.pdf"] {
        let ran = edge.run("shop", &["delete", what, "--json"]);
        assert_eq!((ran.problem().as_str(), ran.code), ("usage", Some(2)));
        assert!(ran.json()["error"]["hint"].as_str().unwrap().contains("--now"), "{ran:#?}");
    }
    assert_eq!(edge.run("shop", &["delete", "salaries.pdf", "--now", "--json"]).problem(), "usage");
    for more in [&["--now"][..], &["--dry-run"]] {
        let arguments = [&["delete", &three, "--json"], more].concat();
        assert_eq!(edge.run("shop", &arguments).problem(), "version_in_use", "{more:?}");
    }
    let dry = edge.json("shop", &["delete", &two[..8], "--dry-run"]);
    assert_eq!((&dry["version"], &dry["would_delete"]), (&json!(two), &json!(true)));
    assert_eq!(edge.json("shop", &["delete", &two[..8], "--now"])["version"], two.as_str());
    assert_eq!(edge.run("shop", &["switch", &two, "--json"]).problem(), "not_found");
    assert_eq!(edge.run("shop", &["switch", &two, "--dry-run", "--json"]).problem(), "not_found");
    assert!(edge.run("shop", &["history"]).stdout.contains("(deleted)"));
    // A rollback skips the deleted version, and so does its dry run.
    let foreseen = edge.json("shop", &["rollback", "--dry-run"]);
    assert_eq!(foreseen["version"], one.as_str());
    assert_eq!(edge.json("shop", &["rollback"])["version"], one.as_str());
    edge.json("shop", &["switch", &three]);

    let preview = format!("{}--shop.localhost", &one[..12]);
    let dry = edge.json("shop", &["delete", "/salaries.pdf", "--dry-run"]);
    assert_eq!((&dry["is_withdrawn"], &dry["would_withdraw"]), (&json!(false), &json!(true)));
    for host in ["shop.localhost", &preview] {
        assert_eq!(visit(&edge, host, "/salaries.pdf").await, (200, "secret".to_owned()), "{host}");
    }
    let gone = edge.json("shop", &["delete", "/salaries.pdf", "--now"]);
    assert_eq!((&gone["path"], &gone["answered"]), (&json!("/salaries.pdf"), &json!(true)));
    for host in ["shop.localhost", &preview] {
        assert_eq!(visit(&edge, host, "/salaries.pdf").await.0, 404, "{host}");
    }
    assert_eq!(edge.json("shop", &["delete", "/salaries.pdf", "--dry-run"])["is_withdrawn"], true);
    let misspelt = edge.run("shop", &["delete", "/salary.pdf", "--now"]);
    assert!(misspelt.stderr.contains("no version at hand answered /salary.pdf"), "{misspelt:#?}");
    push(&edge, &[("index.html", "four"), ("salaries.pdf", "public")]);
    assert_eq!(visit(&edge, "shop.localhost", "/salaries.pdf").await, (200, "public".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_was_deleted_by_mistake_is_brought_back() {
    let edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "home").unwrap();
    edge.push("shop", www.path());
    let withdrawn = edge.run("shop", &["delete", "/index.html", "--now"]);
    assert!(withdrawn.stdout.contains("undo  devanture delete /index.html --undo"), "{withdrawn:#?}");
    assert_eq!(visit(&edge, "shop.localhost", "/").await.0, 404);
    // The same content makes the same version, already stored; the push reports this.
    let again = edge.run("shop", &["push", www.path().to_str().unwrap()]);
    assert!(again.stderr.contains("/index.html stays withdrawn"), "{again:#?}");
    assert_eq!(visit(&edge, "shop.localhost", "/").await.0, 404);
    let undo = ["delete", "/index.html", "--undo"];
    let dry = edge.json("shop", &[&undo[..], &["--dry-run"]].concat());
    assert_eq!((&dry["would_restore"], &dry["path"]), (&json!(true), &json!("/index.html")));
    assert_eq!(visit(&edge, "shop.localhost", "/").await.0, 404);
    let undone = edge.json("shop", &undo);
    assert_eq!((&undone["path"], &undone["answers"]), (&json!("/index.html"), &json!(true)));
    assert_eq!(visit(&edge, "shop.localhost", "/").await, (200, "home".to_owned()));
    for (arguments, code) in [
        (&undo[..], "not_found"),
        (&["delete", "/index.html", "--undo", "--dry-run"], "not_found"),
        (&["delete", "4f2a91", "--undo"], "not_found"),
        (&["delete", "/index.html", "--undo", "--now"], "usage"),
    ] {
        let ran = edge.run("shop", &[arguments, &["--json"]].concat());
        assert_eq!(ran.problem(), code, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_with_other_content_under_a_fingerprinted_name_is_held_back() {
    let edge = edge().start();
    let one = push(&edge, &[("app-4f2a91bc.js", "one")]);
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("app-4f2a91bc.js"), "two").unwrap();
    let folder = www.path().to_str().unwrap();
    let two = edge.json("shop", &["push", folder, "--env", "staging"])["version"].as_str().unwrap().to_owned();
    let promote = ["promote", "--from", "staging", "--to", "prod"];
    let ran = edge.run("shop", &[&promote[..], &["--json"]].concat());
    assert_eq!((ran.problem().as_str(), ran.code), ("fingerprint_reused", Some(1)));
    let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
    for word in ["`app-4f2a91bc.js`", &one[..12], &two[..12], "prod"] {
        assert!(message.contains(word), "{message}");
    }
    let done = edge.json("shop", &[&promote[..], &["--allow-refingerprint"]].concat());
    assert_eq!(done["version"], two.as_str());
    assert_eq!(visit(&edge, "shop.localhost", "/app-4f2a91bc.js").await, (200, "two".to_owned()));
}

#[test]
fn a_verification_gives_its_advice_after_what_it_found() {
    let edge = edge().start();
    push(&edge, &[("index.html", "home")]);
    let blobs = edge.data_dir.join("blobs");
    for path in files(&blobs).keys() {
        std::fs::write(blobs.join(path), "damaged").unwrap();
    }
    // Both outputs of the program share one pipe.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$0\" verify --config edge.toml 2>&1"]).arg(program("devanture-edge"));
    let ran = Ran::of(shell.current_dir(edge.folder.path()).output().unwrap());
    let at = |text: &str| ran.stdout.find(text).unwrap_or_else(|| panic!("{text}: {ran:#?}"));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(at("damaged: version") < at("a push of the same files"), "{ran:#?}");
}
