//! Instances that reach for other environments, or try to outlive their end.

use devanture_config::api::Scope;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::backends::{Backend, is_root};
use crate::support::{RunningEdge, edge, got};

const PROD: &str = "shop.localhost";
const STAGING: &str = "staging--shop.localhost";

/// What an instance of another environment tries of the instance `PID`, whose folders are `DATA` and `CODE`. Each member
/// is what came of it.
const REACH: &str = "
  const open = (file) => tried(() => { fs.readFileSync(file); return 'read'; });
  const list = (folder) => tried(() => { fs.readdirSync(folder); return 'listed'; });
  const write = (file) => tried(() => { fs.writeFileSync(file, 'changed'); return 'written'; });
  const parents = (folder) => folder === '/' ? [] : [folder, ...parents(path.dirname(folder))];
  const below = (folder) => folder.slice(0, folder.indexOf('/data-run/') + '/data-run'.length);
  ({
    environ: open('/proc/PID/environ'), memory: open('/proc/PID/mem'), cwd: list('/proc/PID/cwd'),
    descriptors: list('/proc/PID/fd'), data: list('DATA'), file: open('DATA/secret'), write: write('DATA/secret'),
    make: write('DATA/new'), mode: tried(() => { fs.chmodSync('DATA', 0o777); return 'changed'; }),
    code: open('CODE/server.js'), code_list: list('CODE'),
    parents: parents(path.dirname('DATA')).concat(parents(path.dirname('CODE')))
      .filter((folder) => folder.startsWith(below('DATA'))).map(list).filter((one) => one !== 'EACCES'),
    planted: parents(path.dirname('DATA')).concat(parents(path.dirname('CODE')))
      .filter((folder) => folder.startsWith(below('DATA'))).map((one) => write(one + '/planted'))
      .filter((one) => one !== 'EACCES'),
    signal: tried(() => process.kill(PID, 'SIGKILL')),
  })";

/// What comes of it where nothing may.
fn nothing() -> Value {
    json!({
        "environ": "EACCES", "memory": "EACCES", "cwd": "EACCES", "descriptors": "EACCES", "data": "EACCES",
        "file": "EACCES", "write": "EACCES", "make": "EACCES", "mode": "EPERM", "code": "EACCES",
        "code_list": "EACCES", "parents": [], "planted": [], "signal": "EPERM",
    })
}

/// Tries from the backend at `from` what it can do to the one at `at`.
async fn reach(edge: &RunningEdge, from: &str, at: &str) -> Value {
    let its = edge.evaluate(at, "[process.pid, process.env.DEVANTURE_DATA, process.cwd()]").await;
    let script = REACH.replace("PID", &its[0].to_string());
    let script = script.replace("DATA", its[1].as_str().unwrap()).replace("CODE", its[2].as_str().unwrap());
    edge.evaluate(from, &script).await
}

/// An edge with a backend live in `prod`, which keeps a secret, and a token that may push to `staging` alone.
async fn with_prod() -> (RunningEdge, String) {
    let edge = edge().with_runner().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod")).await.unwrap();
    edge.evaluate(PROD, "fs.writeFileSync('data/secret', 'of prod', { mode: 0o666 })").await;
    let token = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    (edge, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_environment_reaches_nothing_of_another_one_by_its_backend() {
    if !is_root() {
        return;
    }
    let (edge, token) = with_prod().await;
    let settings = "/v1/apps/shop/environments/prod/settings";
    assert_eq!(got(edge.ask(Method::GET, settings, &token)).await.status, StatusCode::FORBIDDEN);
    edge.push_backend(&token, ("shop", "staging"), &Backend::new("staging")).await.unwrap();
    let pid = edge.evaluate(PROD, "process.pid").await;
    assert_eq!(reach(&edge, STAGING, PROD).await, nothing());
    assert_eq!(
        edge.evaluate(PROD, "[process.pid, fs.readFileSync('data/secret', 'utf8')]").await,
        json!([pid, "of prod"])
    );
    // Nor the other way round.
    assert_eq!(reach(&edge, PROD, STAGING).await, nothing());
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_reaches_nothing_of_an_environment() {
    if !is_root() {
        return;
    }
    let (edge, token) = with_prod().await;
    let pushed = edge.push_preview(&token, ("shop", "staging"), &Backend::new("preview")).await.unwrap();
    let preview = format!("{}--shop.localhost", pushed.version.short());
    assert_eq!(reach(&edge, &preview, PROD).await, nothing());
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_code_of_two_environments_is_changed_by_neither() {
    if !is_root() {
        return;
    }
    let (edge, token) = with_prod().await;
    // The very same bundle, whose files may be one on the disk.
    edge.push_backend(&token, ("shop", "staging"), &Backend::new("prod")).await.unwrap();
    let change = "[
      tried(() => fs.chmodSync('server.js', 0o777)), tried(() => fs.writeFileSync('server.js', '')),
      tried(() => fs.unlinkSync('server.js')), tried(() => fs.chmodSync('.', 0o777)),
      fs.statSync('server.js').uid, (fs.statSync('server.js').mode & 0o222),
    ]";
    for host in [PROD, STAGING] {
        assert_eq!(edge.evaluate(host, change).await, json!(["EPERM", "EACCES", "EACCES", "EPERM", 0, 0]), "{host}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_takes_the_name_of_an_alias_has_nothing_that_previews_kept() {
    if !is_root() {
        return;
    }
    let edge = edge().with_runner().start().await;
    let pushed = edge.push_preview(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    let alias = "/v1/apps/shop/aliases/next";
    let pointed = edge.api(Method::PUT, alias).json(&json!({ "version": pushed.version }));
    assert!(got(pointed).await.status.is_success());
    let host = "next--shop.localhost";
    let kept = edge.evaluate(host, "fs.writeFileSync('data/planted', ''), process.env.DEVANTURE_DATA").await;
    assert!(got(edge.api(Method::DELETE, alias)).await.status.is_success());
    edge.push_backend(edge.admin_token(), ("shop", "next"), &Backend::new("two")).await.unwrap();
    let found = edge.evaluate(host, "[fs.readdirSync('data'), process.env.DEVANTURE_DATA]").await;
    assert_eq!(found[0], json!([]));
    assert_ne!(found[1], kept);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_backends_share_a_user_only_an_admin_of_every_app_pushes_them() {
    if !is_root() {
        return;
    }
    let user = 1_000_000_000 + rand::random::<u32>() % 100_000_000;
    let edge = edge().run_by_user(user).with_toml("[runner]\nenabled = true").start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod")).await.unwrap();
    assert_eq!(edge.evaluate(PROD, "process.getuid()").await, json!(user));
    for (scope, environment) in [
        (Scope::Push, Some("staging")),
        (Scope::Admin, Some("staging")),
        // What runs as the edge's user reads what every app has.
        (Scope::Admin, None),
    ] {
        let token = edge.token_for(scope, Some("shop"), environment).await;
        let pushed = edge.push_backend(&token, ("shop", "staging"), &Backend::new("staging")).await;
        let refused = pushed.unwrap_err();
        assert_eq!(refused.code, Code::RunnerForbidden, "{refused:?}");
        assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("every app")), "{refused:?}");
        if scope == Scope::Admin {
            // A setting such as NODE_OPTIONS is as good as code.
            let settings = "/v1/apps/shop/environments/staging/settings";
            let change = json!({ "set": { "NODE_OPTIONS": { "value": "--require=/tmp/x.js", "public": true } } });
            let changed = got(edge.ask(Method::PATCH, settings, &token).json(&change)).await;
            assert_eq!(changed.code(), Code::RunnerForbidden);
        }
    }
    edge.push_backend(edge.admin_token(), ("shop", "staging"), &Backend::new("staging")).await.unwrap();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enough_user_ids_an_environment_gets_no_backend() {
    if !is_root() {
        return;
    }
    // One for `prod` and one for previews.
    let first = 1_000_000_000 + rand::random::<u32>() % 100_000_000;
    let runner = format!("[runner]\nenabled = true\nuids = \"{first}-{}\"", first + 1);
    let edge = edge().in_a_process().with_toml(&runner).start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod")).await.unwrap();
    let token = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    let refused = edge.push_backend(&token, ("shop", "staging"), &Backend::new("staging")).await.unwrap_err();
    assert_eq!(refused.code, Code::TooMany, "{refused:?}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("runner.uids")), "{refused:?}");
    // What has an id goes on.
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod again")).await.unwrap();
    edge.stop().await;
}
