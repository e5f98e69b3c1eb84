//! Instances that attack other environments or try to survive their end.

use devanture_config::api::Scope;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::attacks::tenant::routes::answers;
use crate::attacks::world::push;
use crate::support::backends::{Backend, is_root, processes_of};
use crate::support::{RunningEdge, edge, eventually, got};

const PROD: &str = "shop.localhost";
const STAGING: &str = "staging--shop.localhost";

/// Attempts of another environment's instance against the instance `PID` with the folders `DATA` and `CODE`. Each
/// member of the result is the outcome of one attempt.
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

/// Result with every attempt refused.
fn nothing() -> Value {
    json!({
        "environ": "EACCES", "memory": "EACCES", "cwd": "EACCES", "descriptors": "EACCES", "data": "EACCES",
        "file": "EACCES", "write": "EACCES", "make": "EACCES", "mode": "EPERM", "code": "EACCES",
        "code_list": "EACCES", "parents": [], "planted": [], "signal": "EPERM",
    })
}

/// Runs the attempts in the backend at `from` against the backend at `at`.
async fn reach(edge: &RunningEdge, from: &str, at: &str) -> Value {
    let its = edge.evaluate(at, "[process.pid, process.env.DEVANTURE_DATA, process.cwd()]").await;
    let script = REACH.replace("PID", &its[0].to_string());
    let script = script.replace("DATA", its[1].as_str().unwrap()).replace("CODE", its[2].as_str().unwrap());
    edge.evaluate(from, &script).await
}

/// An instance takes every client for the edge.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_the_port_of_an_instance_is_a_backend_of_nobody() {
    let edge = edge().with_runner().start().await;
    push(&edge, "shop", &[("index.html", b"home")], "[upstreams.api]\nto = []\n").await;
    let backend = Backend::new("game").with("listen", "port");
    edge.push_backend(edge.admin_token(), ("game", "prod"), &backend).await.unwrap();
    let port = edge.evaluate("game.localhost", "process.env.PORT").await;
    let port = port.as_str().unwrap();
    for host in ["127.0.0.1", "localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]"] {
        let to = format!("http://{host}:{port}");
        assert_eq!(answers(&edge, edge.admin_token(), &to).await, "upstream_forbidden", "{to}");
    }
    assert_eq!(answers(&edge, edge.admin_token(), "http://127.0.0.1:9").await, "taken", "nothing of the edge's");
    edge.stop().await;
}

/// Edge with a live backend in `prod` that stores a secret, and a token with the right to push to `staging` alone.
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
    // The reverse direction is refused, too.
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
    // The same bundle, whose files may be shared on the disk.
    edge.push_backend(&token, ("shop", "staging"), &Backend::new("prod")).await.unwrap();
    let change = "[
      tried(() => fs.chmodSync('server.js', 0o777)), tried(() => fs.writeFileSync('server.js', '')),
      tried(() => fs.unlinkSync('server.js')), tried(() => fs.chmodSync('.', 0o777)),
      fs.statSync('server.js').uid, (fs.statSync('server.js').mode & 0o022),
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
        // A process under the edge's user could read the data of every app.
        (Scope::Admin, None),
    ] {
        let token = edge.token_for(scope, Some("shop"), environment).await;
        let pushed = edge.push_backend(&token, ("shop", "staging"), &Backend::new("staging")).await;
        let refused = pushed.unwrap_err();
        assert_eq!(refused.code, Code::RunnerForbidden, "{refused:?}");
        assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("every app")), "{refused:?}");
        if scope == Scope::Admin {
            // A setting such as NODE_OPTIONS is equivalent to code.
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
    // One user id for `prod` and one for previews.
    let first = 1_000_000_000 + rand::random::<u32>() % 100_000_000;
    let runner = format!("[runner]\nenabled = true\nuids = \"{first}-{}\"", first + 1);
    let edge = edge().in_a_process().with_toml(&runner).start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod")).await.unwrap();
    let token = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    let refused = edge.push_backend(&token, ("shop", "staging"), &Backend::new("staging")).await.unwrap_err();
    assert_eq!(refused.code, Code::TooMany, "{refused:?}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("runner.uids")), "{refused:?}");
    // An environment with a user id continues.
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod again")).await.unwrap();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_edges_of_one_machine_share_no_user_id() {
    if !is_root() {
        return;
    }
    let (one, two) = (edge().with_runner().start().await, edge().with_runner().start().await);
    let mut users = Vec::new();
    for edge in [&one, &two] {
        edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("prod")).await.unwrap();
        users.push(edge.evaluate(PROD, "process.getuid()").await.as_u64().unwrap());
        // Ids outside the ranges of `useradd`, systemd and SSSD.
        assert!(*users.last().unwrap() > 2_000_200_000, "{users:?}");
    }
    assert!(users[0].abs_diff(users[1]) >= 65_536, "{users:?}");
    one.stop().await;
    two.stop().await;
}

/// Program that starts itself again in a new session and exits, as long as the data folder exists: no process of the
/// chain lives longer than a moment.
const CHAIN: &str = "#!/bin/sh
[ -d \"$DEVANTURE_DATA\" ] || exit
echo > \"$DEVANTURE_DATA/chain\"
setsid ./chain < /dev/null > /dev/null 2>&1 &
";

/// Backend that starts the chain on request.
fn chained(page: &str) -> Backend {
    let worker = json!({ "mailer": { "command": ["sleep", "100000"] } });
    Backend::new(page).with_file("chain", CHAIN, true).with("processes", worker)
}

/// Starts the chain at a host; returns the user of the chain.
async fn begin_chain(edge: &RunningEdge, host: &str) -> Value {
    let begin = "child.spawn('./chain', { detached: true, stdio: 'ignore' }).unref(), process.getuid()";
    let user = edge.evaluate(host, begin).await;
    eventually("the chain has begun", async || {
        edge.evaluate(host, "tried(() => fs.unlinkSync('data/chain'))").await != json!("ENOENT")
    })
    .await;
    user
}

/// Process ids of the healthy instances of `prod`, by name.
async fn instances(edge: &RunningEdge) -> Vec<(String, u64)> {
    let list: Value = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/instances")).await.json();
    let healthy = list["instances"].as_array().unwrap().iter().filter(|one| one["state"] == "healthy");
    healthy.map(|one| (one["name"].as_str().unwrap().to_owned(), one["pid"].as_u64().unwrap())).collect()
}

/// Waits until no process of a user is left besides the healthy instances of `prod`.
async fn only_instances_are_left(edge: &RunningEdge, user: &Value) {
    eventually("nothing but the instances runs", async || {
        let pids = instances(edge).await.into_iter().map(|(_, pid)| u32::try_from(pid).unwrap()).collect();
        processes_of(user) == pids
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_processes_does_not_outlive_the_restart_of_its_instance() {
    if !is_root() {
        return;
    }
    let edge = edge().with_runner().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &chained("one")).await.unwrap();
    let user = begin_chain(&edge, PROD).await;
    let before = instances(&edge).await;
    let restart = "/v1/apps/shop/environments/prod/instances/restart";
    assert_eq!(got(edge.api(Method::POST, restart).json(&json!({ "process": "web" }))).await.status, StatusCode::OK);
    only_instances_are_left(&edge, &user).await;
    // The environment's other process, of the same user, keeps running.
    let after = instances(&edge).await;
    assert_eq!((before.len(), after.len()), (2, 2), "{before:?} {after:?}");
    assert_eq!((&before[0], before[1].1 == after[1].1), (&after[0], false), "{before:?} {after:?}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_processes_does_not_outlive_its_version_and_leaves_the_next_one_alone() {
    if !is_root() {
        return;
    }
    let edge = edge().with_runner().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &chained("one")).await.unwrap();
    let user = begin_chain(&edge, PROD).await;
    let two = chained("two").with_file("new", "", false);
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &two).await.unwrap();
    let new = edge.evaluate(PROD, "process.pid").await;
    only_instances_are_left(&edge, &user).await;
    assert_eq!(
        edge.evaluate(PROD, "[process.pid, process.getuid(), fs.existsSync('new')]").await,
        json!([new, user, true])
    );
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_processes_does_not_outlive_its_app_its_environment_or_its_edge() {
    if !is_root() {
        return;
    }
    let edge = edge().with_runner().start().await;
    for (end, environment, host) in [("/environments/staging", "staging", STAGING), ("", "prod", PROD)] {
        edge.push_backend(edge.admin_token(), ("shop", environment), &chained("one")).await.unwrap();
        let user = begin_chain(&edge, host).await;
        assert!(got(edge.api(Method::DELETE, &format!("/v1/apps/shop{end}"))).await.status.is_success());
        eventually("nothing of it runs", async || processes_of(&user).is_empty()).await;
    }
    edge.push_backend(edge.admin_token(), ("game", "prod"), &chained("one")).await.unwrap();
    let user = begin_chain(&edge, "game.localhost").await;
    // Killed.
    drop(edge);
    eventually("nothing of it runs", async || processes_of(&user).is_empty()).await;
}

/// Starts previews of `evil` in turn, each kept busy by a visitor until the handles are aborted.
async fn busy_previews(edge: &RunningEdge, names: &[&str]) -> Vec<AbortOnDropHandle<()>> {
    let mut busy = Vec::new();
    for name in names {
        let pushed = edge.push_preview(edge.admin_token(), ("evil", "prod"), &Backend::new(name)).await.unwrap();
        let host = format!("{}--evil.localhost", pushed.version.short());
        assert_eq!(edge.evaluate(&host, "1").await, 1);
        let script = format!("fs.writeFileSync('data/{name}', ''), new Promise(() => {{}})");
        let request = edge.visit(Method::POST, &host, "/api/evaluate").body(script);
        busy.push(AbortOnDropHandle::new(tokio::spawn(async { drop(request.send().await) })));
        let is_there = format!("fs.existsSync('data/{name}')");
        eventually("it is busy", async || edge.evaluate(&host, &is_there).await == true).await;
    }
    busy
}

/// Visits a preview of another app, which starts an instance.
async fn a_preview_of_shop_answers(edge: &RunningEdge) {
    let pushed = edge.push_preview(edge.admin_token(), ("shop", "prod"), &Backend::new("shop")).await.unwrap();
    let host = format!("{}--shop.localhost", pushed.version.short());
    assert_eq!(edge.evaluate(&host, "2").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_that_are_kept_busy_leave_room_for_other_apps() {
    let edge = edge().with_runner().with_limit("previews_running_max", 2).start().await;
    let busy = busy_previews(&edge, &["one", "two"]).await;
    a_preview_of_shop_answers(&edge).await;
    drop(busy);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_that_are_slow_to_end_leave_room_for_other_apps() {
    let edge = edge().with_runner().with_limit("previews_running_max", 2).start().await;
    // The first two previews end after their pending requests, while the last two run.
    let busy = busy_previews(&edge, &["one", "two", "three", "four"]).await;
    a_preview_of_shop_answers(&edge).await;
    drop(busy);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_one_app_leave_room_for_other_apps() {
    let edge = edge().with_runner().with_limit("instances_total_max", 8).start().await;
    let many = Backend::new("many").with("instances", 4);
    edge.push_backend(edge.admin_token(), ("evil", "prod"), &many).await.unwrap();
    let refused = edge.push_backend(edge.admin_token(), ("evil", "staging"), &many).await.unwrap_err();
    assert_eq!(refused.code, Code::TooMany, "{refused:?}");
    assert!(refused.detail.contains("its share of what other apps leave is 6"), "{refused:?}");
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("shop")).await.unwrap();
    assert_eq!(edge.evaluate(PROD, "3").await, 3);
    edge.stop().await;
}
