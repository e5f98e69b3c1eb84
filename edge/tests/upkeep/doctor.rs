//! `devanture-edge doctor` and `support-bundle`, as called by an operator.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::Method;
use serde_json::{Value, json};

use crate::support::{RunningEdge, edge, eventually, got};
use crate::trust::issuer::{Issuer, SigningKey};
use crate::trust::world::{MAIN, trust};

/// Calls the program in the folder of an `edge.toml`, with a secret in the environment.
fn call(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.args(arguments).args(["--config", "edge.toml"]).current_dir(folder);
    command.env("AWS_SECRET_ACCESS_KEY", "planted-secret-of-a-variable").output().unwrap()
}

/// Findings, and the exit code.
fn examine(folder: &Path) -> (Vec<Value>, Option<i32>) {
    let output = call(folder, &["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (found["findings"].as_array().unwrap().clone(), output.status.code())
}

fn of<'f>(findings: &'f [Value], check: &str) -> Vec<&'f Value> {
    findings.iter().filter(|finding| finding["check"] == check).collect()
}

/// Blocking call from a test of an edge in another process.
async fn in_the_folder<T: Send + 'static>(edge: &RunningEdge, call: impl FnOnce(&Path) -> T + Send + 'static) -> T {
    let folder = edge.data_dir().parent().unwrap().to_owned();
    tokio::task::spawn_blocking(move || call(&folder)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_well_has_no_failure_and_every_check_says_something() {
    let edge = edge().in_a_process().with_app("shop", &[("index.html", b"hi")]).start().await;
    let (findings, code) = in_the_folder(&edge, examine).await;
    let failed: Vec<_> = findings.iter().filter(|finding| finding["level"] == "fail").collect();
    assert_eq!((failed, code), (vec![], Some(0)));
    for check in [
        "certificates",
        "clock",
        "configuration",
        "disk",
        "dns",
        "edge",
        "file handles",
        "health",
        "kernel",
        "permissions",
        "ports",
        "versions",
    ] {
        assert!(!of(&findings, check).is_empty(), "{check}: {findings:#?}");
    }
    assert_eq!(of(&findings, "health")[0]["found"], "ready");
    let lines = in_the_folder(&edge, |folder| call(folder, &["doctor"])).await;
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert!(lines.lines().all(|line| ["ok    ", "warn  ", "fail  "].iter().any(|level| line.starts_with(level))));
    assert_eq!(lines.lines().count(), findings.len(), "{lines}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_is_open_to_others_fails_with_the_command_that_closes_it_and_a_start_warns() {
    let edge = edge().in_a_process().start().await;
    let (findings, _) = in_the_folder(&edge, examine).await;
    assert_eq!(of(&findings, "permissions")[0]["level"], "ok", "{findings:#?}");
    for (name, mode) in [(".", 0o777), ("tls", 0o777), ("tls/ca.key", 0o666), ("catalog.redb", 0o666)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(edge.data_dir().join(name), permissions).unwrap();
    }
    let edge = edge.restart().await;
    let log = edge.data_dir().parent().unwrap().join("edge.log");
    eventually("a start warns once", async || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.matches("other users of this machine may read or change the data folder").count() == 1
            && log.contains("chmod go-rw")
    })
    .await;
    let (findings, code) = in_the_folder(&edge, examine).await;
    let found = of(&findings, "permissions")[0].clone();
    assert_eq!((code, &found["level"]), (Some(1), &json!("fail")), "{findings:#?}");
    let text = found["found"].as_str().unwrap();
    assert!(
        text.contains("data/tls/ca.key has the mode 0666") && text.contains("data/tls has the mode 0777"),
        "{text}"
    );
    let command = found["advice"].as_str().unwrap().split('`').nth(1).unwrap().to_owned();
    let closed = in_the_folder(&edge, move |folder| {
        let ran = Command::new("sh").args(["-c", &command]).current_dir(folder).status().unwrap();
        assert!(ran.success(), "{command}");
        examine(folder)
    });
    let (findings, code) = closed.await;
    assert_eq!((code, &of(&findings, "permissions")[0]["level"]), (Some(0), &json!("ok")), "{findings:#?}");
    edge.stop().await;
}

/// Writes a minimal configuration, with replaced lines.
pub(super) fn written(folder: &Path, https: &str, domain: &str, more: &str) {
    let text = format!(
        "data_dir = \"data\"\ndomain = \"{domain}\"\npreview_domain = \"{domain}\"\n[listen]\nhttps = \"{https}\"\n\
         admin = \"127.0.0.1:0\"\n{more}"
    );
    std::fs::write(folder.join("edge.toml"), text).unwrap();
}

#[test]
fn a_port_that_another_program_has_fails_and_an_edge_that_does_not_run_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    written(folder.path(), &taken.local_addr().unwrap().to_string(), "localhost", "[tls]\nmode = \"self-signed\"\n");
    let (findings, code) = examine(folder.path());
    assert_eq!(code, Some(1));
    assert!(of(&findings, "ports")[0]["found"].as_str().unwrap().contains("another program has it"), "{findings:#?}");
    assert_eq!(of(&findings, "edge")[0]["level"], "warn");
    assert!(!folder.path().join("data").exists(), "nothing is made");
    drop(taken);
    assert_eq!(examine(folder.path()).1, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_whose_keys_cannot_be_fetched_are_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&[("k1", &SigningKey::new("EdDSA"))]).await;
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let provider = format!("http://{}", silent.local_addr().unwrap());
    let oidc = format!("[oidc]\nissuer = \"{provider}\"\nclient_id = \"cli\"\n");
    let group = "[[oidc.groups]]\ngroup = \"web\"\nrole = \"viewer\"\napps = \"shop\"\n";
    let limits = "[tls]\nmode = \"self-signed\"\n[limits]\nidentity_fetch_ms_max = 300\n";
    let more = format!("{limits}{}{oidc}{group}", trust(&issuer, "ci-main", MAIN));
    written(folder.path(), "127.0.0.1:0", "localhost", &more);
    let path = folder.path().to_owned();
    let (findings, code) = tokio::task::spawn_blocking(move || examine(&path)).await.unwrap();
    assert_eq!(code, Some(0), "{findings:#?}");
    let found = of(&findings, "issuers");
    let about = |name: &str| found.iter().find(|one| one["found"].as_str().unwrap().starts_with(name)).unwrap();
    let good = about(&issuer.name());
    assert_eq!((good["level"].as_str(), found.len()), (Some("ok"), 2), "{findings:#?}");
    assert!(good["found"].as_str().unwrap().ends_with("its document and 1 key were fetched"), "{good}");
    let late = about(&provider);
    assert_eq!(late["level"], "warn");
    assert!(late["found"].as_str().unwrap().contains("longer than 300 ms"), "{late}");
    assert!(late["advice"].as_str().unwrap().contains("identity tokens"), "{late}");
}

#[test]
fn a_mistake_of_the_configuration_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let tls = "[tls]\nmode = \"files\"\ncertificate = \"none.pem\"\nkey = \"none.key\"\n";
    written(folder.path(), "127.0.0.1:0", "localhost", tls);
    let (findings, code) = examine(folder.path());
    assert_eq!(code, Some(2));
    assert!(of(&findings, "configuration")[0]["found"].as_str().unwrap().contains("none.pem"), "{findings:#?}");
}

#[test]
fn each_mistake_of_a_broken_configuration_is_a_finding_beside_what_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), "127.0.0.1:0", "localhost", "[tls]\nmode = \"wrong\"\n[limits]\nnone = 1\n");
    let (findings, code) = examine(folder.path());
    assert_eq!(code, Some(2));
    let mistakes = of(&findings, "configuration");
    assert!(mistakes.len() == 2 && mistakes.iter().all(|mistake| mistake["level"] == "fail"), "{findings:#?}");
    assert!(mistakes[0]["found"].as_str().unwrap().starts_with("edge.toml:"), "{findings:#?}");
    for check in ["clock", "disk", "edge", "file handles", "kernel", "versions"] {
        assert!(!of(&findings, check).is_empty(), "{check}: {findings:#?}");
    }
    // The data folder is known, and is not created.
    let disk = of(&findings, "disk").iter().any(|found| found["found"].as_str().unwrap().contains("first start"));
    assert!(disk && !folder.path().join("data").exists(), "{findings:#?}");

    // Invalid TOML names no data folder; a missing file is an error, too.
    for spoil in [|path: &Path| std::fs::write(path, "data_dir = \n"), |path: &Path| std::fs::remove_file(path)] {
        spoil(&folder.path().join("edge.toml")).unwrap();
        let (findings, code) = examine(folder.path());
        assert_eq!((code, of(&findings, "configuration").len()), (Some(2), 1), "{findings:#?}");
        assert!(of(&findings, "edge").is_empty() && of(&findings, "disk").len() == 3, "{findings:#?}");
    }
}

/// Edge without other users' rights, as of Debian's package; the caller is a user with access to the edge's folder.
#[test]
fn another_user_than_the_edges_reads_what_could_not_be_looked_at_and_no_failure() {
    const STRANGER: u32 = 2_100_000_103;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(folder.path(), 0o755);
    let tls = "[tls]\nmode = \"files\"\ncertificate = \"site.pem\"\nkey = \"site.key\"\n";
    written(folder.path(), "127.0.0.1:0", "localhost", tls);
    let made = rcgen::generate_simple_self_signed(vec!["*.localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("site.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("site.key"), made.signing_key.serialize_pem()).unwrap();
    set_mode(&folder.path().join("site.key"), 0o600);
    std::fs::create_dir(folder.path().join("data")).unwrap();
    set_mode(&folder.path().join("data"), 0o700);
    let examine_as_stranger = || {
        let mut command = Command::new(readable_program(folder.path()));
        let command = command.args(["doctor", "--json", "--config", "edge.toml"]).current_dir(folder.path());
        let output = command.uid(STRANGER).gid(STRANGER).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (found["findings"].as_array().unwrap().clone(), output.status.code())
    };
    let (findings, code) = examine_as_stranger();
    let failed: Vec<_> = findings.iter().filter(|finding| finding["level"] == "fail").collect();
    assert_eq!((failed, code), (vec![], Some(0)));
    let unread = of(&findings, "configuration");
    assert!(unread[0]["level"] == "warn" && unread[0]["found"].as_str().unwrap().contains("site.key"), "{findings:#?}");
    assert!(unread[0]["advice"].as_str().unwrap().contains("uid 0"), "{findings:#?}");
    assert!(of(&findings, "edge")[0]["found"].as_str().unwrap().contains("may not be opened"), "{findings:#?}");
    // Reading the expiry of a certificate needs no key.
    assert!(
        of(&findings, "certificates")[0]["found"].as_str().unwrap().contains("1 certificate known"),
        "{findings:#?}"
    );

    set_mode(&folder.path().join("edge.toml"), 0o600);
    let (findings, code) = examine_as_stranger();
    assert_eq!((code, &of(&findings, "configuration")[0]["level"]), (Some(0), &json!("warn")), "{findings:#?}");
    assert!(!of(&findings, "kernel").is_empty());
}

/// World-executable copy of the program, wherever the program was built.
pub(super) fn readable_program(folder: &Path) -> PathBuf {
    let copy = folder.join("devanture-edge");
    if !copy.exists() {
        std::fs::hard_link(env!("CARGO_BIN_EXE_devanture-edge"), &copy)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_devanture-edge"), &copy).map(drop))
            .unwrap();
    }
    copy
}

#[test]
fn dns_that_never_answers_is_a_warning_and_holds_up_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let more = format!("[tls]\nmode = \"self-signed\"\n[dns]\nservers = [\"{}\"]\n", silent.local_addr().unwrap());
    written(folder.path(), "127.0.0.1:0", "example.test", &more);
    let (findings, code) = examine(folder.path());
    let dns = of(&findings, "dns");
    assert!(dns.iter().all(|finding| finding["level"] == "warn") && !dns.is_empty(), "{findings:#?}");
    assert_eq!(code, Some(0));
    assert!(!of(&findings, "kernel").is_empty());
}

/// Content of a bundle, as one text.
fn unpacked(path: &Path) -> String {
    let packed = std::fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut text = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        text.push_str(&format!("== {}\n", entry.path().unwrap().display()));
        entry.read_to_string(&mut text).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_support_bundle_holds_none_of_the_secrets_that_were_planted() {
    let edge = edge().in_a_process().with_app("shop-of-ada", &[("index.html", b"hi")]).start().await;
    let token = edge.token(devanture_config::api::Scope::Push).await;
    let settings = json!({ "set": { "API_KEY": { "value": "planted-secret-of-a-setting", "secret": true },
        "MODE": { "value": "planted-value-of-a-setting" } } });
    let changed = edge.api(Method::PATCH, "/v1/apps/shop-of-ada/environments/prod/settings").json(&settings);
    let changed = got(changed).await;
    assert!(changed.status.is_success(), "{changed:?}");
    let account = json!({ "name": "ada", "scope": "read", "password": "planted-password-of-ada" });
    let made = got(edge.api(Method::POST, "/v1/accounts").json(&account)).await;
    assert!(made.status.is_success(), "{made:?}");

    let folder = edge.data_dir().parent().unwrap().to_owned();
    let key = std::fs::read_to_string(folder.join("data.key")).unwrap();
    let key = key.lines().find(|line| !line.starts_with('#')).unwrap().to_owned();
    let log =
        format!("started with {token}\nAuthorization: Bearer {key}\nGET /?code=planted-query HTTP/1.1\nlast line\n");
    std::fs::write(folder.join("own.log"), log).unwrap();
    let arguments = ["support-bundle", "--output", "bundle.tar.gz", "--log", "own.log"];
    let output = in_the_folder(&edge, move |folder| call(folder, &arguments)).await;
    assert!(output.status.success(), "{output:?}");
    let text = unpacked(&folder.join("bundle.tar.gz"));
    for secret in ["planted", &token, &key, "shop-of-ada", edge.admin_token()] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    for part in ["edge.json", "doctor.txt", "doctor.json", "versions.json", "health.txt", "metrics.txt", "apps.json"] {
        assert!(text.contains(&format!("== devanture-support/{part}\n")), "{part}: {text}");
    }
    assert!(text.contains("last line") && text.contains("devanture_apps 1"), "{text}");
    let mode = std::fs::metadata(folder.join("bundle.tar.gz")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Names are included on request, secrets never.
    let arguments = ["support-bundle", "--output", "named.tar.gz", "--with-names"];
    let output = in_the_folder(&edge, move |folder| call(folder, &arguments)).await;
    assert!(output.status.success(), "{output:?}");
    let text = unpacked(&folder.join("named.tar.gz"));
    assert!(text.contains("app=\"shop-of-ada\"") && text.contains("== devanture-support/nodes.json\n"), "{text}");
    assert!(!text.contains("planted") && !text.contains(&key), "{text}");
    edge.stop().await;
}
