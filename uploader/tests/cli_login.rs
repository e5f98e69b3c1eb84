//! Logins stored between two commands, even with an unwritable file.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::cli_support::fake_edge::{FakeEdge, Reply};
use crate::cli_support::{Project, Ran};

/// Starts an edge whose first login expires at once, unlike later logins. Each token contains its number.
fn edge_with_logins() -> FakeEdge {
    let count = AtomicU64::new(0);
    FakeEdge::start_with(move |request, _| {
        let is_due = ["/v1/login", "/v1/refresh"].contains(&request.target.as_str());
        is_due.then(|| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let pair = json!({
                "account": "ada", "app": null, "environment": null, "scope": "push",
                "access_token": format!("dva_{number}"), "expires_in_s": number * 900,
                "refresh_token": format!("dvr_{number}"), "refresh_expires_in_s": 86_400,
            });
            Reply::json(200, &pair)
        })
    })
}

fn project(edge: &FakeEdge, state: &Path, password: Option<&str>) -> Project {
    let project = Project::new(&[("devanture.toml", "app = \"shop\"\n")])
        .variable("DEVANTURE_URL", &edge.url())
        .variable("DEVANTURE_LOGIN", "ada")
        .variable("XDG_STATE_HOME", state.to_str().unwrap());
    match password {
        Some(password) => project.variable("DEVANTURE_PASSWORD", password),
        None => project,
    }
}

/// Runs a command that cannot write any file, even under root.
fn run_without_writing(project: &Project, arguments: &[&str]) -> Ran {
    let command = project.command(arguments);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args()).current_dir(project.path("")).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.output().unwrap().into()
}

fn count(edge: &FakeEdge, line: &str) -> usize {
    edge.seen().iter().filter(|seen| *seen == line).count()
}

#[test]
fn a_login_is_not_refreshed_where_its_successor_cannot_be_stored() {
    let (edge, state) = (edge_with_logins(), tempfile::tempdir().unwrap());
    let with_password = project(&edge, state.path(), Some("secret"));
    assert_eq!(with_password.run(&["login", "--json"]).json()["kept"], true);
    let ran = run_without_writing(&with_password, &["status", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("logging in for this command alone"), "{ran:#?}");
    assert_eq!((count(&edge, "POST /v1/login"), count(&edge, "POST /v1/refresh")), (2, 0));

    let without = project(&edge, state.path(), None);
    let ran = run_without_writing(&without, &["status", "--json"]);
    let error = ran.failed("unauthenticated", 4);
    assert!(error["message"].as_str().unwrap().contains("cannot be written"), "{error}");
    assert_eq!(count(&edge, "POST /v1/refresh"), 0);

    // The login is as good as before.
    let ran = without.run(&["status", "--json"]);
    assert_eq!((ran.code, count(&edge, "POST /v1/refresh")), (Some(0), 1), "{ran:#?}");
    let state = edge.state.lock().unwrap();
    let refresh = state.requests.iter().find(|request| request.target == "/v1/refresh").unwrap();
    assert!(String::from_utf8_lossy(&refresh.body).contains("dvr_0"));
}

/// Starts an edge where a person logs in at a provider through the edge. Each login has its number as its id.
fn edge_with_provider() -> FakeEdge {
    let count = AtomicU64::new(1);
    FakeEdge::start_with(move |request, _| {
        let challenge = "application/problem+json\r\nwww-authenticate: Bearer oidc_issuer=\"https://id.example.org\", \
                         oidc_client_id=\"cli\", oidc_scopes=\"openid\", oidc_device=\"edge\"";
        match (request.method.as_str(), request.target.as_str()) {
            ("GET", "/v1/session") => Some(Reply::Whole(401, challenge, b"{}".to_vec())),
            ("POST", "/v1/device") => Some(Reply::json(
                200,
                &json!({
                    "device_code": "d", "user_code": "ABCD", "verification_uri": "https://id.example.org/device",
                    "expires_in_s": 60, "interval_s": 1,
                }),
            )),
            ("POST", "/v1/device/token") => {
                let number = count.fetch_add(1, Ordering::Relaxed);
                Some(Reply::json(
                    200,
                    &json!({
                        "id": number.to_string(), "token": format!("dvt_{number}"), "person": "ada", "app": "shop",
                        "scope": "push", "expires_ms": 4_000_000_000_000_u64, "expires_in_s": 3_600,
                    }),
                ))
            }
            ("DELETE", target) if target.starts_with("/v1/tokens/") => {
                Some(Reply::Whole(204, "text/plain", Vec::new()))
            }
            _ => None,
        }
    })
}

#[test]
fn a_login_of_a_person_that_cannot_be_stored_leaves_the_one_that_is() {
    let (edge, state) = (edge_with_provider(), tempfile::tempdir().unwrap());
    let project = Project::new(&[("devanture.toml", "app = \"shop\"\n")])
        .variable("DEVANTURE_URL", &edge.url())
        .variable("XDG_STATE_HOME", state.path().to_str().unwrap());
    assert_eq!(project.run(&["login", "--oidc", "--json"]).json()["kept"], true);
    let error = run_without_writing(&project, &["login", "--oidc", "--json"]).failed("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("cannot be stored"), "{error}");
    let revoked = |number: u64| count(&edge, &format!("DELETE /v1/tokens/{number}"));
    assert_eq!((revoked(1), revoked(2)), (0, 1), "{:?}", edge.seen());
    assert_eq!(project.run(&["login", "--oidc", "--json"]).json()["kept"], true);
    assert_eq!((revoked(1), revoked(3)), (1, 0), "{:?}", edge.seen());
}
