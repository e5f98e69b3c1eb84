//! What `docs/webhooks.md` shows, as it stands there: a receiver that checks signatures by itself, and each command.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::page::block;

/// The receiver of the page; it ends with this value.
struct Receiver {
    process: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Receiver {
    fn start(folder: &Path, secret: &str, port: u16) -> Self {
        let mut process = Command::new("python3")
            .arg("receiver.py")
            .current_dir(folder)
            .env("WEBHOOK_SECRET", secret)
            .env("PORT", port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut receiver = Self { lines: BufReader::new(process.stdout.take().unwrap()), process, port: 0 };
        receiver.port = receiver.line().strip_prefix("listening on ").unwrap().parse().unwrap();
        receiver
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

#[track_caller]
fn run(edge: &Edge, folder: &Path, line: &str) -> Ran {
    let line = line.split('#').next().unwrap().trim();
    let arguments: Vec<&str> = line.strip_prefix("devanture ").unwrap().split(' ').collect();
    Ran::of(edge.command(folder, "shop", &arguments).output().unwrap())
}

#[track_caller]
fn succeeds(edge: &Edge, folder: &Path, line: &str) -> Ran {
    let ran = run(edge, folder, line);
    assert_eq!(ran.code, Some(0), "{line}: {ran:#?}\n{}", edge.log());
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_checks_signatures_hears_of_a_push() {
    let (edge, project) = (edge().start(), tempfile::tempdir().unwrap());
    let folder = project.path();
    std::fs::write(folder.join("receiver.py"), block("webhooks.md", "file: receiver.py")).unwrap();
    std::fs::write(folder.join("devanture.toml"), "app = \"shop\"\nwww = \"www\"\n").unwrap();
    std::fs::create_dir(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/index.html"), "<title>one</title>").unwrap();
    succeeds(&edge, folder, "devanture push");

    let commands = block("webhooks.md", "run");
    let lines: Vec<&str> = commands.lines().collect();
    let [add, test, push, show, rotate, remove] = lines[..] else { panic!("{commands}") };
    // Its port is free, and nothing listens there until the secret is known.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let added = succeeds(&edge, folder, &add.replace("PORT", &port.to_string())).json();
    let secret = added["secret"].as_str().unwrap().to_owned();
    let refused = run(&edge, folder, &format!("{} --json", test.split('#').next().unwrap().trim()));
    assert_eq!(refused.problem(), "webhook_failed", "{refused:#?}");
    let refused = run(&edge, folder, test);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("[webhook_failed]"), "{refused:#?}");

    let mut receiver = Receiver::start(folder, &secret, port);
    assert_eq!(receiver.port, port);
    let tested = succeeds(&edge, folder, test);
    assert!(tested.stdout.contains("webhook.test") && tested.stdout.contains("delivered"), "{tested:#?}");
    assert_eq!(receiver.line(), "webhook.test");
    std::fs::write(folder.join("www/index.html"), "<title>two</title>").unwrap();
    succeeds(&edge, folder, push);
    let mut events = [receiver.line(), receiver.line()];
    events.sort();
    assert!(events[0].starts_with("deploy.live https://shop.localhost"), "{events:?}");
    assert_eq!(events[1], "deploy.started");
    let shown = succeeds(&edge, folder, show);
    assert!(shown.stdout.contains("http://127.0.0.1:") && shown.stdout.contains("deploy.live prod"), "{shown:#?}");

    // The receiver still has the old secret, and takes the message.
    let rotated = succeeds(&edge, folder, rotate);
    assert!(rotated.stdout.trim().starts_with("whsec_") && rotated.stdout.trim() != secret, "{rotated:#?}");
    succeeds(&edge, folder, test);
    assert_eq!(receiver.line(), "webhook.test");
    // One with another secret refuses it.
    drop(receiver);
    let receiver = Receiver::start(folder, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", port);
    let refused = run(&edge, folder, test);
    assert!(refused.stderr.contains("it answers 401"), "{refused:#?}");
    drop(receiver);
    let dry = succeeds(&edge, folder, &format!("{} --dry-run", remove.split('#').next().unwrap().trim()));
    assert!(format!("{}{}", dry.stdout, dry.stderr).contains("remove ci"), "{dry:#?}");
    succeeds(&edge, folder, remove);
    let list: Value = edge.json("shop", &["webhooks"]);
    assert_eq!(list["webhooks"], serde_json::json!([]));
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
