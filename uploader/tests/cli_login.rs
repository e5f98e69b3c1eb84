//! Logins that are stored between two commands, also where their file cannot be written.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::cli_support::fake_edge::{FakeEdge, Reply};
use crate::cli_support::{Project, Ran};

/// An edge whose first login is over at once, unlike what comes of it. Each token holds its number.
fn edge_with_logins() -> FakeEdge {
    let count = AtomicU64::new(0);
    FakeEdge::start_with(move |request, _| {
        let is_due = ["/v1/login", "/v1/refresh"].contains(&request.target.as_str());
        is_due.then(|| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let pair = json!({
                "account": "ada", "app": null, "environment": null, "scope": "deploy",
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

/// Runs a command that can write no file, also if root runs the test.
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
