//! Around a takeover: the check before, keys applied by a running edge, sockets of the service manager.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::support::edge::{Edge, Ran, edge, program};
use crate::support::managed::eventually;

fn site(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), text).unwrap();
    folder
}

/// Tries a program on the configuration of an edge.
fn check(edge: &Edge, program: &str, config: &str) -> Ran {
    Ran::of(edge.beside(&["upgrade", "--check", "--program", program, "--config", config]).wait_with_output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_upgrade_reads_everything_and_touches_nothing() {
    let mut edge = edge().with_runner().start();
    for text in ["one", "two"] {
        edge.push("shop", site(text).path());
    }
    let new = program("devanture-edge");
    let new = new.to_str().unwrap();
    let ran = check(&edge, new, "edge.toml");
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("2 versions") && ran.stdout.contains(&format!("process {}", edge.pid())), "{ran:#?}");
    assert!(!edge.log().contains("a new edge"), "{}", edge.log());
    // A silent program has checked nothing.
    let silent = check(&edge, "/bin/true", "edge.toml");
    assert!(silent.code == Some(2) && silent.stderr.contains("did not say what it checked"), "{silent:#?}");
    edge.push("shop", site("three").path());

    // A configuration unsuitable for the instances, and a mistake, are reasons.
    let config = std::fs::read_to_string(edge.folder.path().join("edge.toml")).unwrap();
    let bad = config.replace("enabled = true", "enabled = true\ncgroup = \"off\"");
    std::fs::write(edge.folder.path().join("bad.toml"), bad).unwrap();
    let ran = check(&edge, new, "bad.toml");
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("[runner] cgroup changed"), "{ran:#?}");
    let ran = check(&edge, "/bin/false", "edge.toml");
    assert_eq!(ran.code, Some(2), "{ran:#?}");

    // Damage that no running edge repairs is only reported.
    assert!(edge.terminate().success());
    let ran = check(&edge, new, "edge.toml");
    assert!(ran.code == Some(0) && ran.stdout.contains("no edge runs"), "{ran:#?}");
    let manifests = edge.data_dir.join("manifests");
    let folder = std::fs::read_dir(&manifests).unwrap().next().unwrap().unwrap().path();
    let manifest = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&manifest, "{}").unwrap();
    let ran = check(&edge, new, "edge.toml");
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let expected = "cannot be loaded (the bytes of its manifest are damaged)";
    assert!(ran.stderr.starts_with("note: ") && ran.stderr.contains(expected), "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_the_keys_that_it_applied_and_those_that_wait() {
    let edge = edge().start();
    let path = edge.folder.path().join("edge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let changed = config.replace("[limits]", "[retention]\nkeep_days = 9\n[limits]\npath_bytes_max = 900\n");
    std::fs::write(&path, format!("drain_timeout_ms = 4000\n{changed}")).unwrap();
    edge.hang_up();
    eventually("the keys in the log", async || {
        let log = edge.log();
        let is_said = log.contains("\"applied\":\"drain_timeout_ms, retention.keep_days\"")
            && log.contains("\"waiting\":\"limits.path_bytes_max\"");
        is_said.then_some(())
    })
    .await;
    // Only later changes are applied again; pending keys stay pending.
    std::fs::write(&path, format!("drain_timeout_ms = 5000\n{changed}")).unwrap();
    edge.hang_up();
    eventually("the second reload", async || {
        let log = edge.log();
        let waits = log.matches("\"waiting\":\"limits.path_bytes_max\"").count();
        (waits == 2 && log.contains("\"applied\":\"drain_timeout_ms\"")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_the_service_manager_are_served_and_connections_wait_in_them_while_no_edge_runs() {
    let mut edge = edge().start();
    edge.push("shop", site("page").path());
    assert!(edge.terminate().success());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = edge.folder.path().join("edge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("https = \"127.0.0.1:0\"", &format!("https = \"{address}\""))).unwrap();
    let url = format!("https://shop.localhost:{}/", address.port());
    for _ in 0..2 {
        // The connection waits in the queue of the socket, without an edge; not on a connection to an ended edge.
        let (client, url) = (edge.client(true), url.clone());
        let early = tokio::spawn(async move { client.get(url).send().await.unwrap().text().await.unwrap() });
        let mut activated = Command::new("/bin/sh")
            .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --config edge.toml"])
            .arg(program("devanture-edge"))
            .current_dir(edge.folder.path())
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(early.await.unwrap(), "page");
        activated.kill().unwrap();
        activated.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_limits_and_proxies_for_what_comes_then() {
    let edge = edge().with_table("[access_log]\nformat = \"json\"\nto = \"access.log\"\n").start();
    edge.push("shop", site("one").path());
    let (client, url) = (edge.client(false), edge.url("shop.localhost", "/"));
    let visit = async |client: &reqwest::Client| {
        let answer = client.get(&url).header("x-forwarded-for", "203.0.113.7").send().await.unwrap();
        (answer.status().as_u16(), answer.headers().get("connection").is_some())
    };
    assert_eq!(visit(&client).await, (200, false));
    let path = edge.folder.path().join("edge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let limits = "[limits]\nbundle_files_max = 1\nrequests_per_connection_max = 1\n";
    let config = config.replace("[limits]\n", limits);
    std::fs::write(&path, config.replace("[listen]", "[listen]\ntrusted_proxies = [\"127.0.0.1\"]")).unwrap();
    edge.hang_up();
    eventually("the reload", async || {
        let keys = "limits.bundle_files_max, limits.requests_per_connection_max, listen.trusted_proxies";
        edge.log().contains(&format!("\"applied\":\"{keys}\"")).then_some(())
    })
    .await;
    assert!(!edge.log().contains("\"waiting\""), "{}", edge.log());
    // An existing connection keeps its initial limits.
    assert_eq!(visit(&client).await, (200, false));
    assert_eq!(visit(&edge.client(false)).await, (200, true));
    let two = site("two");
    std::fs::write(two.path().join("another.html"), "two").unwrap();
    let ran = edge.run("shop", &["push", two.path().to_str().unwrap(), "--json"]);
    assert_eq!(ran.problem(), "bundle_too_large");
    eventually("the client of the proxy", async || {
        let log = std::fs::read_to_string(edge.folder.path().join("access.log")).unwrap();
        (log.matches("\"client\":\"203.0.113.").count() == 2).then_some(())
    })
    .await;
}

/// Replaces the configuration by `config`, and triggers a reload.
async fn reload(edge: &Edge, config: &str, applied: &str) {
    std::fs::write(edge.folder.path().join("edge.toml"), config).unwrap();
    edge.hang_up();
    eventually(applied, async || edge.log().contains(&format!("\"applied\":\"{applied}\"")).then_some(())).await;
    assert!(!edge.log().contains("\"waiting\""), "{}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_limits_of_visitors_and_of_single_apps_that_are_live() {
    let edge = edge().start();
    edge.push("shop", site(&"a page ".repeat(1_000)).path());
    edge.push("blog", site("a page").path());
    let (client, config) = (edge.client(true), std::fs::read_to_string(edge.folder.path().join("edge.toml")).unwrap());
    let visit = async |app: &str| {
        let answer = client.get(edge.url(&format!("{app}.localhost"), "/")).send().await.unwrap();
        answer.status().as_u16()
    };
    let of_shop =
        "[limits.apps.shop]\nrequests_per_app_max = 1\nsent_bytes_per_second_per_app_max = 1\nversions_max = 1\n";
    let [requests, bytes, versions] = ["requests_per_app_max", "sent_bytes_per_second_per_app_max", "versions_max"]
        .map(|name| format!("limits.apps.shop.{name}"));
    reload(&edge, &format!("{config}{of_shop}"), &format!("{requests}, {bytes}, {versions}")).await;
    // The body takes two hours: meanwhile, no second request of the app is admitted.
    let answer = client.get(edge.url("shop.localhost", "/")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), visit("shop").await, visit("blog").await), (200, 503, 200));
    let ran = edge.run("shop", &["push", site("two").path().to_str().unwrap(), "--json"]);
    assert_eq!(ran.problem(), "too_many");
    let usage = edge.run("shop", &["usage"]).stdout;
    assert!(usage.contains("1  of 1 (100 %)") && usage.contains("requests_per_app_max, for this app"), "{usage}");
    reload(
        &edge,
        &config.replace("[limits]\n", "[limits]\nrequests_per_app_max = 9\n"),
        &format!("{requests}, {bytes}, {versions}, limits.requests_per_app_max"),
    )
    .await;
    assert_eq!(answer.text().await.unwrap().len(), 7_000);
    assert_eq!((visit("shop").await, visit("blog").await), (200, 200));
    edge.push("shop", site("two").path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_turns_the_background_pass_on_makes_what_is_live_better() {
    let edge = edge().start();
    edge.push("shop", site(&"a page of many words, some of them twice ".repeat(500)).path());
    assert!(!edge.log().contains("best level"), "{}", edge.log());
    let config = std::fs::read_to_string(edge.folder.path().join("edge.toml")).unwrap();
    let config = config.replace("background = false", "background = true\ndictionary_days = 7");
    reload(&edge, &config, "compress.background, compress.dictionary_days").await;
    eventually("the better variants", async || {
        edge.log().contains("variants were remade at the best level").then_some(())
    })
    .await;
}
