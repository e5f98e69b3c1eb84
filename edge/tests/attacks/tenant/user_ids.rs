//! User ids reassigned to another app, and apps created again after deletion.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use crate::support::backends::{Backend, is_root, processes_of};
use crate::support::{RunningEdge, edge, eventually, got};

/// Deletes an app and collects until the name is free.
async fn end_app(edge: &RunningEdge, app: &str) {
    assert!(got(edge.api(Method::DELETE, &format!("/v1/apps/{app}"))).await.status.is_success());
    eventually("the app has ended", async || {
        let report: Value = got(edge.api(Method::POST, "/v1/gc")).await.json();
        report["apps"].as_array().unwrap().contains(&json!(app))
    })
    .await;
}

/// Creates a folder and a file below `/tmp`, owned by a user.
fn leave_files(user: u32) -> PathBuf {
    let left = Path::new("/tmp").join(format!("{user}-left"));
    fs::create_dir_all(left.join("deep")).unwrap();
    fs::write(left.join("deep/secret"), "of one").unwrap();
    for path in [left.join("deep/secret"), left.join("deep"), left.clone()] {
        chown(path, Some(user), Some(user)).unwrap();
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_id_that_another_app_had_comes_without_its_files_and_processes() {
    if !is_root() {
        return;
    }
    // Two ids: for `prod` and for previews of one app.
    let first = 1_000_000_000 + rand::random::<u32>() % 100_000_000;
    let toml = format!(
        "[runner]\nenabled = true\nuids = \"{first}-{}\"\n[retention]\nundelete_hours = 0\ncollect_every_s = 0",
        first + 1
    );
    let edge = edge().in_a_process().with_toml(&toml).start().await;
    edge.push_backend(edge.admin_token(), ("one", "prod"), &Backend::new("one")).await.unwrap();
    let leave = "fs.writeFileSync('/tmp/secret', 'of one'); fs.writeFileSync('data/secret', 'of one');
        child.spawn('setsid', ['sleep', '100000'], { detached: true, stdio: 'ignore' }).unref(); process.getuid()";
    let user = edge.evaluate("one.localhost", leave).await;
    // As on systems where instances have no private `/tmp`.
    let left = leave_files(u32::try_from(user.as_u64().unwrap()).unwrap());
    let refused = edge.push_backend(edge.admin_token(), ("two", "prod"), &Backend::new("two")).await.unwrap_err();
    assert_eq!(refused.code, devanture_config::problem::Code::TooMany, "{refused:?}");
    end_app(&edge, "one").await;
    assert_eq!((processes_of(&user).len(), left.exists()), (0, false));
    edge.push_backend(edge.admin_token(), ("two", "prod"), &Backend::new("two")).await.unwrap();
    let ids = [json!(first), json!(first + 1)];
    let found = edge
        .evaluate("two.localhost", "[process.getuid(), fs.readdirSync('data'), fs.existsSync('/tmp/secret')]")
        .await;
    assert!(ids.contains(&user) && ids.contains(&found[0]), "{user} {found}");
    assert_eq!((&found[1], &found[2]), (&json!([]), &json!(false)));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_comes_back_has_its_users_and_what_it_kept() {
    if !is_root() {
        return;
    }
    let edge = edge().with_runner().start().await;
    let mut users = Vec::new();
    for (environment, host) in [("prod", "one.localhost"), ("staging", "staging--one.localhost")] {
        edge.push_backend(edge.admin_token(), ("one", environment), &Backend::new("one")).await.unwrap();
        users.push(edge.evaluate(host, "fs.writeFileSync('data/kept', ''), process.getuid()").await);
    }
    for (path, undelete) in [("/environments/staging", json!({ "environment": "staging" })), ("", json!({}))] {
        assert!(got(edge.api(Method::DELETE, &format!("/v1/apps/one{path}"))).await.status.is_success());
        // Another app created in between gets none of the ids.
        edge.push_backend(edge.admin_token(), ("two", "prod"), &Backend::new("two")).await.unwrap();
        let other = edge.evaluate("two.localhost", "process.getuid()").await;
        assert!(!users.contains(&other));
        let back = edge.api(Method::POST, "/v1/apps/one/undelete").json(&undelete);
        assert!(got(back).await.status.is_success());
    }
    for (host, user) in ["one.localhost", "staging--one.localhost"].into_iter().zip(&users) {
        eventually("it answers again", async || {
            got(edge.visit(Method::POST, host, "/api/evaluate").body("1")).await.status == http::StatusCode::OK
        })
        .await;
        assert_eq!(edge.evaluate(host, "[process.getuid(), fs.readdirSync('data')]").await, json!([user, ["kept"]]));
    }
    edge.stop().await;
}
