//! Webhooks by the command line, and the receiver of `docs/webhooks.md`, whose story is in [`stories`](super::stories).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::edge::{Ran, edge};
use crate::support::page::block;

/// The receiver of the page, started with a secret; ended on drop.
struct Receiver {
    process: Child,
    port: u16,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Receiver {
    fn start(secret: &str) -> Self {
        let mut process = Command::new("python3")
            .args(["-c", &block("webhooks.md", "file: receiver.py")])
            .env("WEBHOOK_SECRET", secret)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { process, port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_another_secret_refuses_what_is_sent() {
    let (edge, site) = (edge().start(), tempfile::tempdir().unwrap());
    std::fs::write(site.path().join("index.html"), "<title>one</title>").unwrap();
    edge.push("shop", site.path());
    let receiver = Receiver::start("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    let added = edge.json("shop", &["webhooks", "add", "ci", &url]);
    assert!(added["secret"].as_str().unwrap().starts_with("whsec_"), "{added}");
    let refused = edge.run("shop", &["webhooks", "test", "ci"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("[webhook_failed]") && refused.stderr.contains("it answers 401"), "{refused:#?}");
    let dry = edge.run("shop", &["webhooks", "remove", "ci", "--dry-run"]);
    assert!(format!("{}{}", dry.stdout, dry.stderr).contains("remove ci"), "{dry:#?}");
    assert_eq!(edge.json("shop", &["webhooks"])["webhooks"][0]["name"], "ci");
    edge.json("shop", &["webhooks", "remove", "ci"]);
    assert_eq!(edge.json("shop", &["webhooks"])["webhooks"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_read_from_stdin_and_mistakes_are_named() {
    let (edge, project) = (edge().start(), tempfile::tempdir().unwrap());
    let folder = project.path();
    std::fs::create_dir(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/index.html"), "<title>one</title>").unwrap();
    edge.push("shop", &folder.join("www"));
    let mut add = edge.command(folder, "shop", &["webhooks", "add", "chat", "-", "--format", "slack", "--json"]);
    let added = Ran::fed(&mut add, "https://1.1.1.1/services/T0/secret\n");
    assert_eq!(added.code, Some(0), "{added:#?}");
    assert_eq!(added.json()["webhook"]["address"], "https://1.1.1.1");
    assert!(!added.stdout.contains("services"), "{added:#?}");
    let mut add = edge.command(folder, "shop", &["webhooks", "add", "chat", "-"]);
    assert_eq!(Ran::fed(&mut add, "").code, Some(2));
    let seen = |arguments: &[&str]| {
        let set = edge.json("shop", &[&["webhooks", "add", "chat"], arguments].concat());
        serde_json::json!([set["webhook"]["format"], set["webhook"]["events"], set["webhook"]["environments"]])
    };
    assert_eq!(
        seen(&["--event", "deploy.live", "--from", "prod"]),
        serde_json::json!(["slack", ["deploy.live"], ["prod"]])
    );
    assert_eq!(seen(&[]), serde_json::json!(["slack", ["deploy.live"], ["prod"]]));
    assert_eq!(seen(&["--every-event", "--from-all"]), serde_json::json!(["slack", [], []]));
    let run = |arguments: &[&str]| Ran::of(edge.command(folder, "shop", arguments).output().unwrap());
    let code = |arguments: &[&str]| run(&[arguments, &["--json"]].concat()).problem();
    let unknown = run(&["webhooks", "add", "ci", "https://1.1.1.1/", "--event", "deploy"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
    assert!(unknown.stderr.contains("deploy.started"), "{unknown:#?}");
    assert_eq!(code(&["webhooks", "test", "none"]), "not_found");
    assert_eq!(code(&["webhooks", "add", "ci", "http://169.254.169.254/"]), "webhook_forbidden");
    assert_eq!(code(&["webhooks", "redeliver", "chat", "msg_1"]), "not_found");
    let listed = run(&["webhooks"]);
    assert!(listed.stdout.contains("chat  https://1.1.1.1  active"), "{listed:#?}");
}
