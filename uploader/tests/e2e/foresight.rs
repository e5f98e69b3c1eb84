//! `--dry-run` with predictions by the edge, from the code of the change itself: reports the later result, and changes
//! nothing.

use serde_json::Value;

use crate::support::edge::{Edge, edge};

/// Pushes versions of one app, each live in turn.
fn pushed(edge: &Edge, texts: &[&str]) -> Vec<String> {
    let www = tempfile::tempdir().unwrap();
    let push = |text: &&str| {
        std::fs::write(www.path().join("index.html"), text).unwrap();
        edge.push("shop", www.path())["version"].as_str().unwrap().to_owned()
    };
    texts.iter().map(push).collect()
}

fn live(edge: &Edge) -> Value {
    edge.json("shop", &["status"])["version"].clone()
}

fn with_dry_run<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(["--dry-run"]).collect()
}

#[test]
fn a_dry_run_reports_what_the_command_then_does() {
    let edge = edge().start();
    let ids = pushed(&edge, &["one", "two", "three", "four"]);
    let staging = ["push", "--env", "staging"];
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "five").unwrap();
    edge.json("shop", &[&staging[..], &[www.path().to_str().unwrap()]].concat());
    for arguments in [
        &["rollback"][..],
        &["rollback"],
        &["switch", &ids[3][..8]],
        &["rollback"],
        &["rollback", &ids[2]],
        &["rollback"],
        &["promote", "--from", "staging", "--to", "prod"],
        &["rollback"],
        &["switch", &ids[0], "--if-live", &ids[1][..6]],
        &["switch", &ids[0]],
    ] {
        let before = live(&edge);
        let entries = edge.json("shop", &["history"])["deploys"].as_array().unwrap().len();
        let foreseen = edge.json("shop", &with_dry_run(arguments));
        assert_eq!(foreseen["dry_run"], true);
        assert_eq!(live(&edge), before, "{arguments:?}");
        assert_eq!(edge.json("shop", &["history"])["deploys"].as_array().unwrap().len(), entries, "{arguments:?}");
        let done = edge.json("shop", arguments);
        for member in ["app", "environment", "version", "previous"] {
            assert_eq!(foreseen[member], done[member], "{arguments:?}: {member}");
        }
        assert_eq!(foreseen["would_switch"], done["switched"], "{arguments:?}");
    }
}

#[test]
fn a_dry_run_fails_as_the_command_would() {
    let edge = edge().start();
    let ids = pushed(&edge, &["one"]);
    edge.json("shop", &["alias", "set", "feature-x", &ids[0]]);
    for arguments in [
        &["rollback"][..],
        &["switch", "abcdef"],
        &["switch", &ids[0], "--if-live", "abcdef"],
        &["promote", "--from", "staging", "--to", "prod"],
        &["alias", "set", "prod", &ids[0]],
        &["alias", "set", "feature-y", "abcdef"],
        &["alias", "delete", "feature-y"],
        &["switch", &ids[0], "--app", "other"],
    ] {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let (foreseen, done) = (edge.run("shop", &with_dry_run(&arguments)), edge.run("shop", &arguments));
        assert_eq!((foreseen.problem(), foreseen.code), (done.problem(), done.code), "{arguments:?}");
    }
}

#[test]
fn a_dry_run_of_an_alias_changes_no_alias() {
    let edge = edge().start();
    let ids = pushed(&edge, &["one", "two"]);
    let set = edge.json("shop", &["alias", "set", "feature-x", &ids[0][..7], "--dry-run"]);
    assert_eq!((&set["version"], &set["previous"]), (&Value::from(ids[0].as_str()), &Value::Null));
    assert_eq!(edge.json("shop", &["alias", "list"])["aliases"], Value::Array(Vec::new()));
    edge.json("shop", &["alias", "set", "feature-x", &ids[0]]);
    let moved = edge.json("shop", &["alias", "set", "feature-x", &ids[1], "--dry-run"]);
    assert_eq!((moved["previous"].as_str(), &moved["would_change"]), (Some(ids[0].as_str()), &Value::Bool(true)));
    assert_eq!((&moved["alias"], moved.get("environment")), (&Value::from("feature-x"), None));
    assert_eq!(edge.json("shop", &["alias", "set", "feature-x", &ids[0], "--dry-run"])["would_change"], false);
    let text = edge.run("shop", &["alias", "set", "feature-x", &ids[1], "--dry-run"]).stdout;
    assert!(text.contains(&format!("would     feature-x: {} → {}", &ids[0][..12], &ids[1][..12])), "{text}");
    let deleted = edge.json("shop", &["alias", "delete", "feature-x", "--dry-run"]);
    assert_eq!((&deleted["version"], deleted["previous"].as_str()), (&Value::Null, Some(ids[0].as_str())));
    assert_eq!(edge.json("shop", &["alias", "list"])["aliases"][0]["version"].as_str(), Some(ids[0].as_str()));
}

/// Rights and locks are the edge's to decide, for a prediction as for the change.
#[test]
fn a_dry_run_is_refused_by_rights_and_locks_as_the_command_is() {
    let mut edge = edge().start();
    let ids = pushed(&edge, &["one", "two"]);
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "three").unwrap();
    let staging = edge.json("shop", &["push", "--env", "staging", www.path().to_str().unwrap()]);
    let token = |more: &[&str]| edge.new_token(&[&["--name", "ci", "--app", "shop"], more].concat());
    let reader = token(&["--scope", "read"]);
    let of_staging = token(&["--scope", "promote", "--env", "staging"]);
    let of_prod = token(&["--scope", "promote", "--env", "prod"]);
    let switch = ["switch", ids[0].as_str()];
    let promote = ["promote", "--from", "staging", "--to", "prod"];
    let commands: [&[&str]; 7] = [&switch, &["rollback"], &promote, &["lock"], &["unlock"], &["pause"], &["resume"]];
    let admin = edge.token.clone();
    for (token, code) in [(&reader, "forbidden"), (&of_staging, "forbidden")] {
        edge.token.clone_from(token);
        for arguments in commands {
            let arguments = [arguments, &["--json"]].concat();
            let (foreseen, done) = (edge.run("shop", &with_dry_run(&arguments)), edge.run("shop", &arguments));
            assert_eq!((foreseen.problem().as_str(), foreseen.code), (code, Some(4)), "{arguments:?}");
            assert_eq!((done.problem(), done.code), (foreseen.problem(), foreseen.code), "{arguments:?}");
        }
    }
    // The token may promote from any environment into its own, without the right to read other environments.
    edge.token.clone_from(&of_prod);
    let foreseen = edge.json("shop", &with_dry_run(&promote));
    assert_eq!((&foreseen["version"], &foreseen["would_switch"]), (&staging["version"], &Value::Bool(true)));
    // For a lock of a different owner.
    edge.token.clone_from(&admin);
    edge.json("shop", &["lock", "--reason", "Sale"]);
    let paused = edge.json("shop", &["pause", "--dry-run"]);
    assert_eq!((&paused["would_change"], &paused["paused"]), (&Value::Bool(true), &Value::Null));
    edge.token.clone_from(&of_prod);
    for arguments in [&switch[..], &["rollback"], &promote, &["unlock"], &["lock", "--reason", "mine"]] {
        let arguments = [arguments, &["--json"]].concat();
        let (foreseen, done) = (edge.run("shop", &with_dry_run(&arguments)), edge.run("shop", &arguments));
        assert_eq!((foreseen.problem().as_str(), foreseen.code), ("locked", done.code), "{arguments:?}");
        assert_eq!(done.problem(), "locked", "{arguments:?}");
    }
    edge.token.clone_from(&admin);
    assert_eq!(edge.json("shop", &["switch", &ids[0], "--force", "--dry-run"])["would_switch"], true);
    assert_eq!(edge.json("shop", &["unlock", "--dry-run"])["would_change"], true);
    assert_eq!(edge.json("shop", &["status"])["locked"]["reason"], "Sale");
    assert_eq!(live(&edge), ids[1].as_str());
}

#[test]
fn a_dry_run_of_a_push_is_refused_as_the_push_is() {
    let mut edge = edge().start();
    let ids = pushed(&edge, &["one", "two"]);
    edge.json("shop", &["alias", "set", "feature-x", &ids[0]]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "three").unwrap();
    let www = folder.path().display().to_string();
    let admin = edge.token.clone();
    let token = |more: &[&str]| edge.new_token(&[&["--name", "ci", "--app", "shop"], more].concat());
    let (reader, of_staging) = (token(&["--scope", "read"]), token(&["--scope", "push", "--env", "staging"]));
    let missing = format!("dvt_{}_{}", "0".repeat(12), "0".repeat(64));
    let commands: [(&str, &[&str], &str); 6] = [
        (&reader, &[], "forbidden"),
        (&of_staging, &[], "forbidden"),
        (&missing, &[], "bad_token"),
        (&admin, &["--alias", "prod"], "alias_taken"),
        (&admin, &["--if-live", &ids[0]], "live_moved"),
        (&admin, &["--alias", "feature-x", "--if-live", &ids[1]], "live_moved"),
    ];
    for (token, more, code) in commands {
        edge.token = token.to_owned();
        let arguments = [&["push", &www, "--json"], more].concat();
        let (foreseen, done) = (edge.run("shop", &with_dry_run(&arguments)), edge.run("shop", &arguments));
        assert_eq!((foreseen.problem().as_str(), foreseen.code), (code, done.code), "{arguments:?}: {foreseen:?}");
        assert_eq!(done.problem(), code, "{arguments:?}");
    }
    edge.token = admin;
    let last = |edge: &Edge| edge.json("shop", &["audit", "--limit", "1"])["entries"][0]["number"].clone();
    let before = last(&edge);
    let foreseen = edge.json("shop", &["push", &www, "--dry-run", "--if-live", &ids[1]]);
    assert_eq!((&foreseen["checked_by_edge"], live(&edge)), (&true.into(), Value::from(ids[1].as_str())));
    assert_eq!(last(&edge), before, "nothing was changed");
}

#[test]
fn a_dry_run_of_aliases_deletions_and_tokens_needs_the_rights_of_the_command() {
    let mut edge = edge().start();
    let ids = pushed(&edge, &["one", "two"]);
    let token = |more: &[&str]| edge.new_token(&[&["--name", "ci", "--app", "shop"], more].concat());
    let (reader, pusher) = (token(&["--scope", "read"]), token(&["--scope", "push"]));
    let of_preview = token(&["--scope", "push", "--env", "preview"]);
    let reader_id = reader.split('_').nth(1).unwrap().to_owned();
    let admin = edge.token.clone();
    let set = ["alias", "set", "zz", ids[0].as_str()];
    let create = ["token", "create", "--name", "q", "--scope"];
    let delete = ["delete", ids[0].as_str(), "--yes"];
    let commands: [(&str, &[&str], &str); 11] = [
        (&reader, &set, "forbidden"),
        (&reader, &["alias", "delete", "zz"], "forbidden"),
        (&reader, &delete, "forbidden"),
        (&reader, &[&delete[..], &["--purge"]].concat(), "forbidden"),
        (&reader, &["delete", "/index.html", "--yes"], "forbidden"),
        (&reader, &["delete", "/index.html", "--undo"], "forbidden"),
        (&reader, &[&create[..], &["read"]].concat(), "forbidden"),
        (&pusher, &[&create[..], &["admin"]].concat(), "forbidden"),
        (&pusher, &["token", "revoke", "000000000000"], "not_found"),
        (&pusher, &["token", "revoke", &reader_id], "forbidden"),
        (&of_preview, &delete, "forbidden"),
    ];
    for (token, arguments, code) in commands {
        edge.token = token.to_owned();
        let arguments = [arguments, &["--json"]].concat();
        let (foreseen, done) = (edge.run("shop", &with_dry_run(&arguments)), edge.run("shop", &arguments));
        assert_eq!((foreseen.problem().as_str(), foreseen.code), (code, done.code), "{arguments:?}");
        assert_eq!(done.problem(), code, "{arguments:?}");
    }
    // The token cannot read prod, yet the promotion is allowed.
    edge.token = of_preview;
    assert_eq!(edge.json("shop", &with_dry_run(&set))["would_change"], true);
    edge.json("shop", &set);
    assert_eq!(edge.json("shop", &["alias", "delete", "zz", "--dry-run"])["would_change"], true);
    edge.json("shop", &["alias", "delete", "zz"]);
    edge.token = admin;
    let last = |edge: &Edge| edge.json("shop", &["audit", "--limit", "1"])["entries"][0]["number"].clone();
    let before = last(&edge);
    for (arguments, member) in [
        (&["delete", ids[0].as_str()][..], "would_delete"),
        (&["delete", &ids[0], "--purge"], "would_delete"),
        (&["delete", "/index.html"], "would_withdraw"),
        (&["token", "create", "--name", "q", "--scope", "admin"], "would_create"),
        (&["token", "revoke", &reader_id], "would_revoke"),
    ] {
        let foreseen = edge.json("shop", &with_dry_run(arguments));
        assert_eq!((&foreseen["dry_run"], &foreseen[member]), (&true.into(), &true.into()), "{arguments:?}");
        assert_eq!(foreseen.get("token"), None, "{arguments:?}");
    }
    assert_eq!(last(&edge), before, "nothing was changed");
    let text = edge.run("shop", &["token", "create", "--name", "q", "--scope", "push", "--dry-run"]).stdout;
    assert!(text.contains("make a token `q`, push for shop") && !text.contains("dvt_"), "{text}");
}
