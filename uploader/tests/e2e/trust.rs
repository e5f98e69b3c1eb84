//! `devanture push` in CI without a stored secret: an identity token of GitHub Actions, or from a variable, is
//! exchanged for a token, against an issuer on loopback with a key made at run time.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::edge::{Edge, Ran, edge};
use crate::support::issuer::{AUDIENCE, Issuer, OPENS};

/// Starts an edge that trusts an issuer.
fn trusting(issuer: &Issuer) -> Edge {
    let table = format!(
        "[[trust]]\nname = \"ci-main\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\napp = \"shop\"\n\
         environments = [\"prod\"]\n[trust.claims]\nrepository = \"acme/shop\"\nref = \"refs/heads/main\"\n",
        issuer.name()
    );
    edge().with_table(&table).start()
}

/// The claims of a job on a branch.
fn on(branch: &str) -> Value {
    json!({ "repository": "acme/shop", "ref": branch })
}

/// A command of a CI job, in a separate folder, without a token.
fn command(edge: &Edge, home: &Path, arguments: &[&str]) -> Command {
    let mut command = edge.command(home, "shop", arguments);
    command.env_remove("DEVANTURE_TOKEN").env("HOME", home).env("DEVANTURE_AUDIENCE", AUDIENCE);
    command
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("dist")).unwrap();
    std::fs::write(home.path().join("dist/index.html"), "<title>from CI</title>").unwrap();
    home
}

fn ran(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}

/// A variable of a command.
pub(super) fn variable(command: &Command, name: &str) -> String {
    let value = command.get_envs().find(|(own, _)| *own == name).unwrap().1.unwrap();
    value.to_str().unwrap().trim_end_matches('/').to_owned()
}

/// Writes the CAs of two edges into one file.
pub(super) fn both_cas(home: &Path, one: &Command, other: &Command) -> PathBuf {
    let path = home.join("both.pem");
    let cas = [one, other].map(|command| std::fs::read_to_string(variable(command, "DEVANTURE_CA")).unwrap());
    std::fs::write(&path, cas.concat()).unwrap();
    path
}

/// Waits until the log of an edge contains the text.
pub(super) fn logs(edge: &Edge, text: &str) {
    for _ in 0..3_000 {
        if edge.log().contains(text) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{text}: {}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_github_actions_needs_no_stored_secret() {
    let (issuer, home) = (Issuer::start(), home());
    let edge = trusting(&issuer);
    let in_job = |arguments: &[&str]| {
        let mut command = command(&edge, home.path(), arguments);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/request?api-version=2.0", issuer.name()));
        command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", OPENS);
        command
    };
    let pushed = ran(&mut in_job(&["push", "dist", "--json"]));
    assert_eq!(pushed.code, Some(0), "{pushed:#?}\n{}", edge.log());
    let (_, history) = edge.api("GET", "/v1/apps/shop/environments/prod/history", None).await;
    assert_eq!(history["deploys"][0]["who"], "trust:ci-main", "{history}");
    // Each command has a new identity token.
    for _ in 0..2 {
        let status = ran(&mut in_job(&["status", "--json"]));
        assert_eq!(status.json()["version"], pushed.json()["version"], "{status:#?}");
    }
    let staging = ran(&mut in_job(&["push", "dist", "--env", "staging", "--json"]));
    assert_eq!((staging.code, staging.problem().as_str()), (Some(4), "bad_identity_token"), "{staging:#?}");
    let message = staging.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("GitHub Actions") && message.contains(AUDIENCE), "{message}");
    logs(&edge, "it is not for staging");
    let elsewhere = ran(in_job(&["status", "--json"]).env("DEVANTURE_AUDIENCE", "https://other.example.org"));
    assert_eq!(elsewhere.problem(), "bad_identity_token", "{elsewhere:#?}");
    let closed = ran(in_job(&["status", "--json"]).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "other"));
    assert!(closed.json()["error"]["hint"].as_str().unwrap().contains("id-token: write"), "{closed:#?}");
    for said in [&pushed, &staging, &elsewhere, &closed] {
        assert!(!format!("{said:?}").contains(OPENS), "{said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_command_of_a_job_finds_what_its_identity_token_was_exchanged_for() {
    let (issuer, home) = (Issuer::start(), home());
    let edge = trusting(&issuer);
    let identity_token = issuer.identity_token(AUDIENCE, &on("refs/heads/main"));
    let in_job = |folder: &Path, arguments: &[&str]| {
        let mut command = command(&edge, folder, arguments);
        command.env("DEVANTURE_ID_TOKEN", &identity_token);
        ran(&mut command)
    };
    for _ in 0..2 {
        let pushed = in_job(home.path(), &["push", "dist", "--json"]);
        assert_eq!(pushed.code, Some(0), "{pushed:#?}\n{}", edge.log());
    }
    let kept = home.path().join(".local/state/devanture");
    for entry in std::fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&identity_token), "{name} has the identity token");
    }
    // A second job with the stolen token is refused.
    let thief = tempfile::tempdir().unwrap();
    let stolen = in_job(thief.path(), &["status", "--json"]);
    assert_eq!((stolen.code, stolen.problem().as_str()), (Some(4), "bad_identity_token"), "{stolen:#?}");
    let message = stolen.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("exchanged before") && message.contains("DEVANTURE_ID_TOKEN"), "{message}");
    let branch = issuer.identity_token(AUDIENCE, &on("refs/heads/other"));
    let refused = ran(command(&edge, home.path(), &["push", "dist", "--json"]).env("DEVANTURE_ID_TOKEN", &branch));
    assert_eq!(refused.problem(), "bad_identity_token", "{refused:#?}");
    assert_eq!(refused.last_line(), "The previous version is still running.", "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_environments_a_job_gets_the_one_that_its_command_is_for() {
    let issuer = Issuer::start();
    let table = format!(
        "[[trust]]\nname = \"ci-main\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\napp = \"shop\"\n\
         environments = [\"staging\", \"preview\", \"prod\"]\n[trust.claims]\nrepository = \"acme/shop\"\n",
        issuer.name()
    );
    let edge = edge().with_table(&table).start();
    for (first, others, environment) in [
        (&["push", "dist"][..], &[&["push", "dist", "--env", "prod"][..], &["status"]][..], "prod"),
        (&["push", "dist", "--alias", "a"], &[&["push", "dist", "--alias", "a", "--env", "preview"]], "preview"),
        (&["push", "dist", "--env", "staging"], &[&["status", "--env", "staging"], &["whoami"]], "staging"),
    ] {
        let (home, identity_token) = (home(), issuer.identity_token(AUDIENCE, &on("refs/heads/main")));
        let in_job = |arguments: &[&str]| {
            let mut command = command(&edge, home.path(), arguments);
            ran(command.arg("--json").env("DEVANTURE_ID_TOKEN", &identity_token))
        };
        for arguments in std::iter::once(&first).chain(others) {
            let done = in_job(arguments);
            assert_eq!(done.code, Some(0), "{arguments:?}: {done:#?}\n{}", edge.log());
        }
        // The identity token is not wasted, and the message names the missing flag.
        let other = if environment == "prod" { "staging" } else { "prod" };
        let refused = in_job(&["push", "dist", "--env", other]);
        assert_eq!((refused.code, refused.problem().as_str()), (Some(4), "bad_identity_token"), "{refused:#?}");
        let hint = refused.json()["error"]["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains(&format!("say `--env {environment}`")), "{hint}");
        assert_eq!(in_job(first).code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_an_environment_that_is_not_trusted_leaves_the_identity_token_as_it_is() {
    let (issuer, home) = (Issuer::start(), home());
    let table = format!(
        "[[trust]]\nname = \"ci-main\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\napp = \"shop\"\n\
         environments = [\"staging\"]\n[trust.claims]\nrepository = \"acme/shop\"\n",
        issuer.name()
    );
    let edge = edge().with_table(&table).start();
    let identity_token = issuer.identity_token(AUDIENCE, &on("refs/heads/main"));
    let in_job = |arguments: &[&str]| {
        ran(command(&edge, home.path(), arguments).arg("--json").env("DEVANTURE_ID_TOKEN", &identity_token))
    };
    let refused = in_job(&["push", "dist"]);
    assert_eq!(refused.problem(), "bad_identity_token", "{refused:#?}");
    let hint = refused.json()["error"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("requested for prod") && hint.contains("say `--env NAME`"), "{hint}");
    let pushed = in_job(&["push", "dist", "--env", "staging"]);
    assert_eq!(pushed.code, Some(0), "{pushed:#?}\n{}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_an_authority_of_its_own_is_trusted_by_the_file_that_names_it() {
    let ((issuer, authority), home) = (Issuer::start_with_authority(), home());
    let file = home.path().join("company-ca.pem");
    std::fs::write(&file, authority).unwrap();
    for own in [false, true] {
        let ca = if own { format!("ca = \"{}\"\n", file.display()) } else { String::new() };
        let table = format!(
            "[[trust]]\nname = \"ci-main\"\nissuer = \"{}\"\n{ca}audience = \"{AUDIENCE}\"\napp = \"shop\"\n\
             environments = [\"prod\"]\n[trust.claims]\nrepository = \"acme/shop\"\n",
            issuer.name()
        );
        let edge = edge().with_table(&table).start();
        let identity_token = issuer.identity_token(AUDIENCE, &on("refs/heads/main"));
        let body = json!({ "identity_token": identity_token, "app": "shop", "environment": "prod" });
        let answer = edge.client(true).post(format!("https://{}/v1/exchange", edge.admin())).body(body.to_string());
        let answer = answer.header("content-type", "application/json").send().await.unwrap();
        if own {
            assert_eq!(answer.status(), 201, "{}", edge.log());
        } else {
            assert_eq!(answer.status(), 503);
            logs(&edge, "UnknownIssuer");
            logs(&edge, "names an authority of your own");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_curl_exchanges_is_a_token_as_any_other() {
    let issuer = Issuer::start();
    let edge = trusting(&issuer);
    let body = json!({ "identity_token": issuer.identity_token(AUDIENCE, &on("refs/heads/main")), "app": "shop" });
    let answer = edge.client(true).post(format!("https://{}/v1/exchange", edge.admin())).body(body.to_string());
    let answer = answer.header("content-type", "application/json").send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["trust"].as_str(), answer["environment"].as_str()), (Some("ci-main"), Some("prod")), "{answer}");
    let own = ran(edge
        .command(Path::new("/"), "shop", &["status", "--json"])
        .env("DEVANTURE_TOKEN", answer["token"].as_str().unwrap()));
    assert!(["not_found", "nothing_live"].contains(&own.problem().as_str()), "nothing is there yet: {own:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_buildkite_has_its_agent_request_an_identity_token() {
    let (issuer, home) = (Issuer::start(), home());
    let edge = trusting(&issuer);
    issuer.set_claims(on("refs/heads/main"));
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let agent = |script: &str| {
        let program = bin.join("buildkite-agent");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let in_job = |arguments: &[&str]| {
        let mut command = command(&edge, home.path(), arguments);
        command.env("BUILDKITE", "true").env("BUILDKITE_AGENT_ACCESS_TOKEN", OPENS).env("PATH", &path);
        ran(&mut command)
    };
    // The agent gets the audience, and an empty standard input.
    let token = home.path().join("token");
    let number = |text: &str| std::fs::write(&token, text).unwrap();
    agent(&format!(
        "[ \"$*\" = 'oidc request-token --audience {AUDIENCE}' ] || exit 3\ncat\ncat '{0}'; rm '{0}'",
        token.display()
    ));
    for arguments in [&["push", "dist", "--json"][..], &["status", "--json"]] {
        number(&format!("{}\n", issuer.identity_token(AUDIENCE, &on("refs/heads/main"))));
        let done = in_job(arguments);
        assert_eq!(done.code, Some(0), "{done:#?}\n{}", edge.log());
        assert!(!token.exists(), "the agent was called once, for each command");
    }
    let (_, history) = edge.api("GET", "/v1/apps/shop/environments/prod/history", None).await;
    assert_eq!(history["deploys"][0]["who"], "trust:ci-main", "{history}");
    number(&issuer.identity_token(AUDIENCE, &on("refs/heads/other")));
    let other = in_job(&["status", "--json"]);
    let message = other.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Buildkite") && message.contains(AUDIENCE), "{message}");
    for (script, why) in [
        ("exit 1", "it ends with"),
        ("echo", "what it prints is none"),
        ("echo two words", "what it prints is none"),
        ("while :; do echo aaaaaaaa; done", "what it prints does not end"),
    ] {
        agent(script);
        let failed = in_job(&["status", "--json"]);
        let message = failed.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why) && message.contains("buildkite-agent"), "{script}: {failed:#?}");
    }
    std::fs::remove_file(bin.join("buildkite-agent")).unwrap();
    // A program brought by a pull request is not run.
    std::fs::write(home.path().join("buildkite-agent"), "#!/bin/sh\ntouch ran\n").unwrap();
    std::fs::set_permissions(home.path().join("buildkite-agent"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let mut relative = command(&edge, home.path(), &["status", "--json"]);
    relative.env("BUILDKITE", "true").env("BUILDKITE_AGENT_ACCESS_TOKEN", OPENS).env("PATH", format!(".::{path}"));
    let failed = ran(&mut relative);
    assert!(!home.path().join("ran").exists());
    assert_eq!(failed.problem(), "unreachable", "{failed:#?}");
    assert!(failed.json()["error"]["message"].as_str().unwrap().contains("it is in no folder of PATH"), "{failed:#?}");
}

/// An edge with a CA of its own stands in for a GitHub Enterprise Server: its answer does not matter.
#[test]
fn the_address_of_github_may_have_a_certificate_of_a_ca_in_the_file_of_devanture_ca() {
    let (issuer, home) = (Issuer::start(), home());
    let (edge, other) = (trusting(&issuer), edge().start());
    let of_other = command(&other, home.path(), &[]);
    let url = format!("{}/request?api-version=2.0", variable(&of_other, "DEVANTURE_URL"));
    let in_job = |ca: Option<&Path>| {
        let mut command = command(&edge, home.path(), &["status", "--json"]);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", &url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", OPENS);
        let refused = ran(command.envs(ca.map(|ca| ("DEVANTURE_CA", ca))));
        assert_ne!(refused.code, Some(0), "{refused:#?}");
        let problem = refused.json();
        ["message", "hint"].map(|part| problem["error"][part].as_str().unwrap().to_owned())
    };
    let [message, hint] = in_job(None);
    assert!(message.starts_with("GitHub Actions makes no identity token: "), "{message}");
    assert!(hint.contains("the PEM file of DEVANTURE_CA may hold several CAs"), "{hint}");
    let both = both_cas(home.path(), &command(&edge, home.path(), &[]), &of_other);
    let [message, hint] = in_job(Some(&both));
    assert!(message.contains("it answers 4") && hint.contains("id-token: write"), "{message} {hint}");
}
