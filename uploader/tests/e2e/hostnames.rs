//! `hostnames` on the command line, with the effect for visitors.

use std::net::UdpSocket;

use reqwest::StatusCode;

use crate::support::edge::{Edge, Ran, edge};

/// A silent DNS server, so that an edge does not use the machine's resolver.
fn silent_dns() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let table = format!("[dns]\nservers = [\"{}\"]", socket.local_addr().unwrap());
    (socket, table)
}

fn pushed(table: &str) -> Edge {
    let edge = edge().with_table(table).with_limit("dns_time_ms_max", 100).start();
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "home").unwrap();
    let toml = "app = \"shop\"\nwww = \".\"\n[env.prod]\nhostnames = [\"example.org\", \"Bücher.example\"]\n";
    std::fs::write(www.path().join("devanture.toml"), toml).unwrap();
    let ran = Ran::of(edge.command(www.path(), "shop", &["push"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    edge
}

#[test]
fn a_push_of_what_is_live_reports_the_hostnames_that_it_takes_again() {
    let (_dns, table) = silent_dns();
    let edge = edge().with_table(&table).with_limit("dns_time_ms_max", 100).start();
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("index.html"), "home").unwrap();
    let toml = "app = \"shop\"\nwww = \".\"\n[env.prod]\nhostnames = [\"example.org\", \"www.example.org\"]\n";
    std::fs::write(www.path().join("devanture.toml"), toml).unwrap();
    let push = |more: &[&str]| {
        let ran = Ran::of(edge.command(www.path(), "shop", &[&["push"], more].concat()).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran
    };
    assert_eq!(push(&["--json"]).json()["hostnames"], serde_json::json!(["example.org", "www.example.org"]));
    assert!(push(&["--json"]).json().get("hostnames").is_none());
    for is_json in [true, false] {
        edge.json("shop", &["hostnames", "remove", "www.example.org"]);
        if is_json {
            let report = push(&["--json"]).json();
            assert_eq!((&report["switched"], &report["hostnames"][0]), (&false.into(), &"www.example.org".into()));
        } else {
            let output = push(&[]).stdout;
            assert!(output.contains("its hostnames change") && output.contains("www.example.org of prod"), "{output}");
            assert!(!output.contains("nothing has changed"), "{output}");
        }
        let audit = edge.json("shop", &["audit"]);
        let what = audit["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "push").unwrap();
        assert!(what["what"].as_str().unwrap().ends_with("is live already; new hostnames: www.example.org"), "{what}");
    }
    assert!(push(&[]).stdout.contains("nothing was sent, nothing has changed"));
}

/// Returns the target of a visitor's redirect, or the page.
async fn visit(edge: &Edge, host: &str) -> String {
    let answer = edge.client(true).get(edge.url(host, "/")).send().await.unwrap();
    match answer.status() {
        StatusCode::PERMANENT_REDIRECT => answer.headers()["location"].to_str().unwrap().to_owned(),
        _ => answer.text().await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_added_listed_and_removed_without_a_push_or_a_restart() {
    let (_dns, table) = silent_dns();
    let edge = pushed(&table);
    assert_eq!(visit(&edge, "xn--bcher-kva.example").await, edge.url("example.org", "/"));
    let foreseen = edge.json("shop", &["hostnames", "add", "www.example.org", "--canonical", "--dry-run"]);
    assert_eq!((&foreseen["dry_run"], &foreseen["changed"]), (&true.into(), &true.into()));
    assert_eq!(visit(&edge, "example.org").await, "home");
    let added = edge.json("shop", &["hostnames", "add", "www.example.org", "--canonical"]);
    assert_eq!((&added["hostname"]["canonical"], added.get("dry_run")), (&true.into(), None));
    assert_eq!(visit(&edge, "example.org").await, edge.url("www.example.org", "/"));
    assert_eq!(visit(&edge, "www.example.org").await, "home");
    let again = edge.run("shop", &["hostnames", "add", "WWW.example.org"]);
    assert!(again.stdout.contains("is prod's already; nothing has changed"), "{again:#?}");
    edge.json("shop", &["hostnames", "add", "*.example.org"]);
    assert_eq!(visit(&edge, "any.example.org").await, "home");

    let list = edge.run("shop", &["hostnames", "list"]);
    assert_eq!(
        list.stdout,
        "  *.example.org                           serves\n  \
           example.org                             leads to www.example.org  in devanture.toml\n  \
           www.example.org                         canonical\n  \
           bücher.example (xn--bcher-kva.example)  leads to www.example.org  in devanture.toml\n"
    );
    let staging = edge.json("shop", &["hostnames", "list", "--env", "staging"]);
    assert_eq!(staging["hostnames"], serde_json::json!([]));

    edge.json("shop", &["hostnames", "add", "www.example.org", "--canonical=false"]);
    assert_eq!(visit(&edge, "www.example.org").await, edge.url("example.org", "/"));
    let foreseen = edge.json("shop", &["hostnames", "remove", "www.example.org", "--dry-run"]);
    assert_eq!((&foreseen["dry_run"], foreseen.get("hint")), (&true.into(), None));
    edge.json("shop", &["hostnames", "remove", "www.example.org"]);
    let removed = edge.run("shop", &["hostnames", "remove", "bücher.example"]);
    assert!(removed.stdout.contains("take it out of devanture.toml"), "{removed:#?}");
    let gone = edge.run("shop", &["hostnames", "remove", "bücher.example", "--json"]);
    assert_eq!((gone.code, gone.problem().as_str()), (Some(1), "not_found"));
    let list = edge.json("shop", &["hostnames", "list"]);
    let names: Vec<&str> = list["hostnames"].as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert_eq!((names, &list["canonical"]), (vec!["*.example.org", "example.org"], &"example.org".into()));
}

#[test]
fn a_name_that_nothing_proves_is_refused_with_the_record_to_create() {
    let (_dns, table) = silent_dns();
    let edge = pushed(&table);
    let token = edge.new_token(&["--name", "ci", "--app", "shop", "--scope", "push"]);
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        Ran::of(edge.command(folder.path(), "shop", arguments).env("DEVANTURE_TOKEN", &token).output().unwrap())
    };
    let refused = run(&["hostnames", "add", "www.example.org"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("[hostname_unproven]"), "{refused:#?}");
    let hint = refused.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap();
    assert!(hint.contains("_devanture.www.example.org. TXT \"devanture-app="), "{hint}");
    assert_eq!(run(&["hostnames", "add", "*.example.org", "--json"]).problem(), "forbidden");
    let wrong = run(&["hostnames", "add", "not a name", "--json"]);
    assert_eq!((wrong.code, wrong.problem().as_str()), (Some(2), "usage"));
    // Removing a name requires no proof.
    assert_eq!(run(&["hostnames", "remove", "example.org"]).code, Some(0));
}
