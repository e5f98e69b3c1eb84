//! Accounts, tokens and the audit log, with the real programs: commands of a person, and attempts of a thief.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::edge::{Edge, EdgeBuilder, Ran, edge, program};

const PASSWORD: &str = "correct horse battery";

/// An edge with fast password hashing.
pub(super) fn quick() -> EdgeBuilder {
    edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1)
}

/// Runs `devanture-edge` beside the edge, with standard input.
fn beside(edge: &Edge, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(program("devanture-edge"));
    Ran::fed(command.args(arguments).args(["--config", "edge.toml"]).current_dir(edge.folder.path()), input)
}

#[track_caller]
fn create_account(edge: &Edge, name: &str, scope: &str) {
    let ran = beside(edge, &["account", "create", "--name", name, "--scope", scope], &format!("{PASSWORD}\n"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:#?}");
}

/// A person with a project, a home, and no token.
struct Person {
    project: TempDir,
    home: TempDir,
}

impl Person {
    fn new() -> Self {
        Self { project: tempfile::tempdir().unwrap(), home: tempfile::tempdir().unwrap() }
    }

    /// A person whose project has a page and a complete `.env`.
    fn with_dotenv(edge: &Edge, login: &str, password: &str) -> Self {
        let person = Self::new();
        std::fs::create_dir(person.project.path().join("www")).unwrap();
        std::fs::write(person.project.path().join("www/index.html"), "hello").unwrap();
        person.write_dotenv(edge, login, password);
        person
    }

    fn write_dotenv(&self, edge: &Edge, login: &str, password: &str) {
        let text = format!(
            "DEVANTURE_URL=https://{}\nDEVANTURE_CA={}\nDEVANTURE_LOGIN={login}\nDEVANTURE_PASSWORD='{password}'\n",
            edge.admin(),
            edge.ca().display()
        );
        std::fs::write(self.project.path().join(".env"), text).unwrap();
    }

    fn command(&self, edge: &Edge, arguments: &[&str]) -> Command {
        let mut command = edge.command(self.project.path(), "shop", arguments);
        for name in ["DEVANTURE_URL", "DEVANTURE_CA", "DEVANTURE_TOKEN"] {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path());
        command
    }

    fn run(&self, edge: &Edge, arguments: &[&str]) -> Ran {
        Ran::of(self.command(edge, arguments).output().unwrap())
    }

    #[track_caller]
    fn json(&self, edge: &Edge, arguments: &[&str]) -> Value {
        let ran = self.run(edge, &[arguments, &["--json"]].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
        ran.json()
    }

    /// Returns the files of stored logins.
    fn kept(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.home.path().join(".local/state/devanture")) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }

    fn session(&self) -> Value {
        let kept = self.kept();
        assert_eq!(kept.len(), 1, "{kept:?}");
        serde_json::from_slice(&std::fs::read(&kept[0]).unwrap()).unwrap()
    }
}

/// Returns the number of logins in the audit log.
async fn logins(edge: &Edge) -> usize {
    let (_, log) = edge.api("GET", "/v1/audit?limit=1000", None).await;
    log["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "login").count()
}

async fn post(edge: &Edge, operation: &str, body: Value) -> (u16, Value) {
    let url = format!("https://{}/v1/{operation}", edge.admin());
    let answer = edge.client(true).post(url).json(&body).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// Returns the contents of all files below a folder, as one byte string.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else if path.is_file() {
            all.extend(std::fs::read(&path).unwrap());
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_made_while_the_edge_runs_or_not_pushes_from_its_dotenv() {
    let mut edge = quick().start();
    create_account(&edge, "ada", "push");
    assert!(edge.terminate().success());
    create_account(&edge, "bob", "push");
    let made = beside(&edge, &["account", "create", "--name", "eve", "--scope", "read", "--generate"], "");
    assert_eq!((made.code, made.stdout.trim_end().len()), (Some(0), 24), "{made:#?}");
    let twice = beside(&edge, &["account", "create", "--name", "Ada", "--scope", "read"], PASSWORD);
    assert!(twice.code == Some(1) && twice.stderr.contains("ada"), "{twice:#?}");
    let short = beside(&edge, &["account", "create", "--name", "dan", "--scope", "read"], "too short");
    assert!(short.code == Some(1) && short.stderr.contains("12"), "{short:#?}");
    let flag = beside(&edge, &["account", "create", "--name", "dan", "--scope", "read", "--password", PASSWORD], "");
    assert_eq!(flag.code, Some(2), "there is no such flag");
    edge.restart();
    for (name, password) in [("ada", PASSWORD), ("bob", PASSWORD)] {
        let person = Person::with_dotenv(&edge, name, password);
        let report = person.json(&edge, &["push"]);
        assert_eq!(report["app"], "shop");
        person.json(&edge, &["status"]);
    }
    let eve = Person::with_dotenv(&edge, "eve", made.stdout.trim_end());
    eve.json(&edge, &["status"]);
    assert_eq!(eve.run(&edge, &["push", "--json"]).problem(), "forbidden");
    assert_eq!(logins(&edge).await, 3, "each command after the first used what was kept");
    let list = beside(&edge, &["account", "list"], "");
    assert_eq!(list.stdout.lines().count(), 3, "{list:#?}");
    assert!(list.stdout.starts_with("ada  push  every app  1 login\n"), "{list:#?}");
    assert_eq!(beside(&edge, &["account", "delete", "--name", "eve"], "").code, Some(0));
    assert_eq!(eve.run(&edge, &["status", "--json"]).problem(), "bad_login");
    let history = edge.json("shop", &["history"]);
    assert_eq!(history["deploys"][0]["who"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_ended_is_replaced_without_a_word() {
    let edge = quick().with_limit("access_token_ms_max", 1_000).start();
    create_account(&edge, "ada", "push");
    let ada = Person::with_dotenv(&edge, "ada", PASSWORD);
    ada.json(&edge, &["push"]);
    let first = ada.session();
    // The remaining life is below the minimum for a request, so each command gets a new token.
    let ran = ada.run(&edge, &["status"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
    let second = ada.session();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(logins(&edge).await, 1);
    // The edge reports a token as expired that looks valid here, as with a wrong clock.
    let mut wrong = second.clone();
    wrong["access_expires_s"] = json!(u64::MAX);
    std::fs::write(&ada.kept()[0], wrong.to_string()).unwrap();
    let mut tries = 0;
    while post_status(&edge, second["access_token"].as_str().unwrap()).await != 401 {
        tries += 1;
        assert!(tries < 500, "the token does not end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let ran = ada.run(&edge, &["status"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
    assert_ne!(ada.session()["access_token"], second["access_token"]);
    assert_eq!(logins(&edge).await, 1);
}

/// The status of a request with a token.
async fn post_status(edge: &Edge, token: &str) -> u16 {
    let url = format!("https://{}/v1/apps/shop/aliases", edge.admin());
    edge.client(true).get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_at_once_share_one_login() {
    let edge = quick().with_limit("access_token_ms_max", 1_000).start();
    create_account(&edge, "ada", "push");
    let ada = Person::with_dotenv(&edge, "ada", PASSWORD);
    ada.json(&edge, &["push"]);
    for _ in 0..2 {
        let started: Vec<_> = (0..6)
            .map(|_| {
                let mut command = ada.command(&edge, &["status", "--json"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in started {
            let ran = Ran::of(child.wait_with_output().unwrap());
            assert_eq!(ran.code, Some(0), "{ran:#?}");
        }
    }
    assert_eq!(logins(&edge).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_refresh_token_that_was_stolen_ends_the_login_and_its_owner_logs_in_again() {
    let edge = quick().with_limit("access_token_ms_max", 1_000).with_limit("refresh_grace_ms_max", 0).start();
    create_account(&edge, "ada", "push");
    let ada = Person::with_dotenv(&edge, "ada", PASSWORD);
    ada.json(&edge, &["push"]);
    let stolen = ada.session();
    ada.json(&edge, &["status"]);
    let (status, problem) = post(&edge, "refresh", json!({ "refresh_token": stolen["refresh_token"] })).await;
    assert_eq!((status, &problem["code"]), (401, &json!("bad_token")));
    let hers = ada.session();
    assert_eq!(post_status(&edge, hers["access_token"].as_str().unwrap()).await, 401, "at once");
    let (status, _) = post(&edge, "refresh", json!({ "refresh_token": hers["refresh_token"] })).await;
    assert_eq!(status, 401);
    ada.json(&edge, &["status"]);
    assert_eq!(logins(&edge).await, 2);
    let log = edge.json("shop", &["audit", "--all-apps"]);
    let entries = log["entries"].as_array().unwrap();
    let reuse = entries.iter().find(|entry| entry["action"] == "reuse_refresh_token").unwrap();
    assert_eq!((&reuse["who"], &reuse["by"], &reuse["from"]), (&json!("ada"), &json!("account"), &json!("127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_limited_and_a_command_does_not_try_again_by_itself() {
    let edge = quick().with_limit("login_attempts_per_account_max", 2).start();
    create_account(&edge, "ada", "push");
    let thief = Person::with_dotenv(&edge, "ada", "a guess of twelve");
    for _ in 0..2 {
        let ran = thief.run(&edge, &["status", "--json"]);
        assert_eq!((ran.problem().as_str(), ran.code), ("bad_login", Some(4)));
    }
    let began = std::time::Instant::now();
    let ran = thief.run(&edge, &["status", "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("too_many_attempts", Some(3)));
    assert!(began.elapsed().as_secs() < 8, "it waited for another try");
    let (_, metrics) = edge.api("GET", "/metrics", None).await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("devanture_logins_total{outcome=\"refused\"} 2"), "{metrics}");
    assert!(metrics.contains("devanture_logins_total{outcome=\"limited\"} 1"), "{metrics}");
    assert_eq!(edge.log().matches("a login was refused").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_begun_and_ended_by_hand_and_works_without_a_home() {
    let edge = quick().start();
    create_account(&edge, "ada", "push");
    let ada = Person::with_dotenv(&edge, "ada", PASSWORD);
    assert_eq!(ada.json(&edge, &["login"])["kept"], true);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&ada.kept()[0]), mode(ada.kept()[0].parent().unwrap())), (0o600, 0o700));
    // The password is no longer needed.
    let dotenv = ada.project.path().join(".env");
    let text = std::fs::read_to_string(&dotenv).unwrap();
    let without: String =
        text.lines().filter(|line| !line.contains("PASSWORD")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&dotenv, &without).unwrap();
    ada.json(&edge, &["push"]);
    let token = ada.session()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(ada.json(&edge, &["logout"])["logged_out"], true);
    assert_eq!((ada.kept().len(), post_status(&edge, &token).await), (0, 401));
    assert_eq!(ada.json(&edge, &["logout"])["logged_out"], false);
    let ran = ada.run(&edge, &["status", "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("unauthenticated", Some(4)));
    // In a second project the stored login does not count, despite files with the same edge and account.
    ada.write_dotenv(&edge, "ada", PASSWORD);
    ada.json(&edge, &["status"]);
    let other = Person { project: tempfile::tempdir().unwrap(), home: ada.home };
    std::fs::write(other.project.path().join(".env"), &without).unwrap();
    assert_eq!(other.run(&edge, &["status", "--json"]).problem(), "unauthenticated");
    // CI may have no state folder, or an unwritable folder.
    other.write_dotenv(&edge, "ada", PASSWORD);
    for home in [None, Some("/proc/nowhere")] {
        let mut command = other.command(&edge, &["status", "--json"]);
        command.env_remove("HOME");
        command.envs(home.map(|home| ("HOME", home)));
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_the_person_is_not_sent_where_the_project_says() {
    let edge = quick().start();
    create_account(&edge, "ada", "push");
    let ada = Person::with_dotenv(&edge, "eve", "x");
    let before = logins(&edge).await;
    let mut command = ada.command(&edge, &["status", "--json"]);
    command.env("DEVANTURE_LOGIN", "ada").env("DEVANTURE_PASSWORD", PASSWORD);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.problem().as_str(), ran.code), ("untrusted_source", Some(2)));
    assert!(!ran.stdout.contains(PASSWORD) && !ran.stderr.contains(PASSWORD));
    assert_eq!(logins(&edge).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_and_revoked_and_each_change_is_reported() {
    let mut edge = quick().start();
    let site = tempfile::tempdir().unwrap();
    std::fs::write(site.path().join("index.html"), "hello").unwrap();
    let dry = edge.json("shop", &["token", "create", "--name", "ci", "--scope", "push", "--dry-run"]);
    assert_eq!(dry["dry_run"], true);
    let made = edge.json("shop", &["token", "create", "--name", "ci", "--scope", "push", "--expires", "90d"]);
    let (id, token) = (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned());
    let with = |edge: &Edge, arguments: &[&str]| {
        let mut command = edge.command(site.path(), "shop", arguments);
        command.env("DEVANTURE_TOKEN", &token);
        Ran::of(command.output().unwrap())
    };
    assert_eq!(with(&edge, &["push", "."]).code, Some(0));
    let list = edge.json("shop", &["token", "list"]);
    let tokens = list["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 1, "of the app alone: {list}");
    assert_eq!((&tokens[0]["name"], &tokens[0]["last_used_from"]), (&json!("ci"), &json!("127.0.0.1")));
    assert!(tokens[0]["last_used_ms"].as_u64().unwrap() > 0);
    assert_eq!(edge.json("shop", &["token", "list", "--all-apps"])["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(edge.run("shop", &["token", "revoke", &token]).code, Some(0));
    let ran = with(&edge, &["status", "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("bad_token", Some(4)), "the next call");

    // Also by the edge's own program, with a running edge and without.
    let other = edge.new_token(&["--name", "other", "--scope", "read", "--expires", "1d"]);
    let other_id = other.split('_').nth(1).unwrap().to_owned();
    let listed = beside(&edge, &["token", "list"], "");
    assert!(listed.stdout.contains(&format!("{other_id}  read  every app  ends ")), "{listed:#?}");
    assert!(edge.terminate().success());
    let offline = beside(&edge, &["token", "list", "--json"], "").json();
    let used = offline["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "test").unwrap();
    assert!(used["last_used_ms"].as_u64().is_some(), "the drain writes last uses: {offline}");
    assert_eq!(beside(&edge, &["token", "revoke", &other_id], "").code, Some(0));
    assert_eq!(beside(&edge, &["token", "revoke", &other_id], "").code, Some(1));
    edge.restart();
    assert_eq!(post_status(&edge, &other).await, 401);

    let log = edge.json("shop", &["audit", "--all-apps", "-n", "100"]);
    let entries: Vec<_> = log["entries"].as_array().unwrap().iter().rev().collect();
    let entries: Vec<(&str, &str, &str, &str)> = entries
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap();
            (text("action"), text("who"), text("by"), text("from"))
        })
        .collect();
    assert_eq!(
        entries,
        [
            ("create_token", "local", "local", "local"),
            ("create_token", "test", "token", "127.0.0.1"),
            ("store_version", "ci", "token", "127.0.0.1"),
            ("push", "ci", "token", "127.0.0.1"),
            ("revoke_token", "test", "token", "127.0.0.1"),
            ("create_token", "local", "local", "local"),
            ("revoke_token", "local", "local", "local"),
        ]
    );
    let push = log["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "push").unwrap();
    assert_eq!((&push["credential"], &push["app"]), (&json!(id), &json!("shop")));
    // The same lines are in the edge's log, for log shippers.
    let lines: Vec<Value> = edge
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["target"] == "audit")
        .collect();
    assert!(lines.iter().any(|line| line["action"] == "push" && line["who"] == "ci" && line["from"] == "127.0.0.1"));
    let text = edge.run("shop", &["audit"]);
    assert!(text.stdout.contains("by ci from 127.0.0.1"), "{text:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_and_no_token_is_in_a_log_or_in_the_data_folder() {
    let mut edge = quick().with_limit("access_token_ms_max", 1_000).start();
    create_account(&edge, "ada", "admin");
    let ada = Person::with_dotenv(&edge, "ada", PASSWORD);
    let mut secrets = vec![PASSWORD.to_owned(), edge.token.clone()];
    let mut screen = String::new();
    for arguments in
        [&["push"][..], &["status"], &["token", "list", "--all-apps"], &["audit", "--explain"], &["logout"]]
    {
        if let [path, ..] = ada.kept().as_slice() {
            let session: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            secrets.extend(["access_token", "refresh_token"].map(|name| session[name].as_str().unwrap().to_owned()));
        }
        let ran = ada.run(&edge, arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        screen.push_str(&ran.stdout);
        screen.push_str(&ran.stderr);
    }
    // A person types the password in place of the login, and a token with a wrong end.
    post(&edge, "login", json!({ "login": PASSWORD, "password": "x" })).await;
    post_status(&edge, &format!("{}0", edge.token)).await;
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() >= 6, "{}", secrets.len());
    assert!(edge.terminate().success());
    let (log, data) = (edge.log(), bytes_below(&edge.data_dir));
    assert!(log.contains("a login was refused") && log.contains("a token was refused"), "{log}");
    assert!(holds(&data, "accounts/ada") && holds(&data, "$argon2id$v=19$"));
    for secret in &secrets {
        let secret = secret.rsplit('_').next().unwrap();
        assert!(!log.contains(secret) && !screen.contains(secret), "{secret}");
        // Nor is either half of a refresh token.
        let (first, second) = secret.split_at(secret.len() / 2);
        for part in [secret, first, second] {
            assert!(!holds(&data, part), "{part}");
        }
    }
}
