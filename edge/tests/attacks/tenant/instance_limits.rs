//! Instances that exceed their disk limits.

#![allow(clippy::disallowed_methods, reason = "what a test removes is not durable")]

use std::collections::BTreeSet;
use std::fs;

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::backends::Backend;
use crate::support::{RunningEdge, Setup, edge, eventually, got};

const PROD: &str = "shop.localhost";
const MIB: u64 = 1024 * 1024;

/// Edge with a limit of 1 MiB and 64 files per environment.
fn small() -> Setup {
    edge().with_runner().with_limit("persist_bytes_max", MIB).with_limit("persist_files_max", 64)
}

/// State and detail of the one instance of an environment or alias of `shop`.
async fn instance(edge: &RunningEdge, environment: &str) -> (String, String) {
    let path = format!("/v1/apps/shop/environments/{environment}/instances");
    let list: Value = got(edge.api(Method::GET, &path)).await.json();
    let text = |key: &str| list["instances"][0][key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("detail"))
}

async fn is_held_back(edge: &RunningEdge, environment: &str) -> bool {
    let (state, detail) = instance(edge, environment).await;
    state == "waiting" && detail.contains("persist_bytes_max")
}

/// Schedules a script in a backend, to run after the response.
async fn later(edge: &RunningEdge, host: &str, script: &str) -> Value {
    edge.evaluate(host, &format!("setTimeout(() => {{ {script} }}, 10), process.env.DEVANTURE_DATA")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_keeps_too_much_has_no_instances_until_it_keeps_less() {
    let edge = small().start().await;
    for environment in ["prod", "staging"] {
        edge.push_backend(edge.admin_token(), ("shop", environment), &Backend::new("one")).await.unwrap();
    }
    // Each file alone is below the limit.
    let fill = "for (const name of 'abc') fs.writeFileSync('data/' + name, Buffer.alloc(512 * 1024, 1))";
    let data = later(&edge, PROD, fill).await;
    eventually("no instance runs", async || is_held_back(&edge, "prod").await).await;
    // Pages of the app and all other apps remain available.
    assert_eq!(edge.get(PROD, "/").await.status, StatusCode::OK);
    assert_eq!(edge.evaluate("staging--shop.localhost", "fs.readdirSync('data')").await, json!([]));
    let refused = edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("two")).await.unwrap_err();
    assert_eq!(refused.code, Code::PersistFull, "{refused:?}");
    assert_eq!(refused.status, 507);
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let full = metrics.lines().find(|line| line.starts_with("devanture_persist_full") && line.contains("prod"));
    assert!(full.is_some_and(|line| line.ends_with(" 1")), "{full:?}");
    let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?source=instances")).await.text();
    assert!(log.contains("persist_bytes_max"), "{log}");
    fs::remove_file(format!("{}/a", data.as_str().unwrap())).unwrap();
    fs::remove_file(format!("{}/b", data.as_str().unwrap())).unwrap();
    eventually("it runs again", async || instance(&edge, "prod").await.0 == "healthy").await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("two")).await.unwrap();
    assert_eq!(edge.evaluate(PROD, "fs.readdirSync('data')").await, json!(["c"]));
    edge.stop().await;
}

/// The message was "keeps 528384 bytes in 129 files, and 10 GB in 1000000 files may be kept".
#[tokio::test(flavor = "multi_thread")]
async fn the_reason_is_said_where_folders_are_too_deep_to_be_counted() {
    let edge = edge().with_runner().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    later(&edge, PROD, "fs.mkdirSync('data/' + 'd/'.repeat(140), { recursive: true })").await;
    eventually("no instance runs", async || is_held_back(&edge, "prod").await).await;
    let (_, detail) = instance(&edge, "prod").await;
    assert!(detail.contains("keeps folders deeper than 128, which cannot be counted"), "{detail}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_a_socket_and_what_a_version_before_has_kept_counts_too() {
    let edge = small().start().await;
    let fill = |folder: &str| {
        format!("for (const name of 'abc') fs.writeFileSync({folder} + '/' + name, Buffer.alloc(512 * 1024, 1))")
    };
    let is_ended = async |times: usize| {
        let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?source=instances")).await.text();
        log.lines().filter(|line| line.contains("persist_bytes_max")).count() >= times
    };
    let socket = Backend::new("one").with("listen", "socket");
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &socket).await.unwrap();
    let data = later(&edge, PROD, &fill("process.env.SOCKET.slice(0, -2)")).await;
    eventually("it is ended", async || is_ended(1).await).await;
    eventually("it runs again", async || instance(&edge, "prod").await.0 == "healthy").await;
    // The folder still exists, and so does the environment's user.
    let without = Backend::new("two").with("persist", Value::Null);
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &without).await.unwrap();
    later(&edge, PROD, &fill(&data.to_string().replace('"', "'"))).await;
    eventually("no instance runs", async || is_held_back(&edge, "prod").await).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_hold_nothing_and_files_without_a_name_count_too() {
    let edge = small().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    later(&edge, PROD, "for (let i = 0; i < 100; i++) fs.writeFileSync('data/' + i, '')").await;
    eventually("no instance runs", async || is_held_back(&edge, "prod").await).await;
    edge.push_backend(edge.admin_token(), ("shop", "staging"), &Backend::new("one")).await.unwrap();
    let unlinked = "const file = fs.openSync('data/file', 'w'); fs.unlinkSync('data/file');
        for (let i = 0; i < 4; i++) fs.writeSync(file, Buffer.alloc(512 * 1024, 1)); globalThis.kept = file";
    let before = edge.evaluate("staging--shop.localhost", "process.pid").await;
    later(&edge, "staging--shop.localhost", unlinked).await;
    // The files disappear with the process that has them open, and another process starts.
    eventually("it was ended", async || {
        let path = "/v1/apps/shop/environments/staging/instances";
        let list: Value = got(edge.api(Method::GET, path)).await.json();
        let one = &list["instances"][0];
        one["state"] == "healthy" && one["pid"] != before
    })
    .await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_previews_of_an_app_keep_as_much_as_one_environment() {
    let edge = small().start().await;
    let pushed = edge.push_preview(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    // An alias has a separate folder; two versions with equal backends share an instance.
    let alias = edge.api(Method::PUT, "/v1/apps/shop/aliases/feature").json(&json!({ "version": pushed.version }));
    assert_eq!(got(alias).await.status, StatusCode::OK);
    let hosts = [format!("{}--shop.localhost", pushed.version.short()), "feature--shop.localhost".to_owned()];
    let mut folders = BTreeSet::new();
    for host in &hosts {
        let folder = later(&edge, host, "fs.writeFileSync('data/file', Buffer.alloc(768 * 1024, 1))").await;
        folders.insert(folder.as_str().unwrap().to_owned());
    }
    assert_eq!(folders.len(), 2);
    eventually("no preview runs", async || {
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        let full = metrics.lines().find(|line| line.starts_with("devanture_persist_full") && line.contains("preview"));
        full.is_some_and(|line| line.ends_with(" 1"))
    })
    .await;
    for host in &hosts {
        eventually("none answers", async || {
            let request = got(edge.visit(Method::POST, host, "/api/evaluate").body("1")).await;
            request.status.is_server_error()
        })
        .await;
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_makes_no_user_namespace() {
    let edge = small().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    let run = |command: &str| {
        format!("(() => {{ const ran = child.spawnSync({command}); return [ran.status, String(ran.stderr)] }})()")
    };
    // Programs and threads start as usual.
    assert_eq!(edge.evaluate(PROD, &run("'true'")).await[0], 0);
    for flags in ["-U", "-Urm"] {
        let ran = edge.evaluate(PROD, &run(&format!("'unshare', ['{flags}', 'true']"))).await;
        assert!(ran[0] != 0 && ran[1].as_str().unwrap().contains("Operation not permitted"), "{flags}: {ran}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_no_keys_of_the_kernel() {
    let edge = small().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    // The session's keyring, inherited from the edge; a key in the process keyring; a key that does not exist.
    let calls = [
        (nix::libc::SYS_keyctl, "0, -3, 0"),
        (nix::libc::SYS_add_key, "b'user', b'name', b'key', 3, -2"),
        (nix::libc::SYS_request_key, "b'user', b'nowhere', None, 0"),
    ];
    are_refused(&edge, &calls).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_neither_io_uring_nor_page_faults_of_its_own() {
    let edge = small().start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    // Arguments that the kernel accepts or rejects with another error; exit code 1 means a fault of the test program.
    let calls = [
        (nix::libc::SYS_io_uring_setup, "1, ctypes.create_string_buffer(512)"),
        (nix::libc::SYS_io_uring_enter, "-1, 0, 0, 0, None, 0"),
        (nix::libc::SYS_io_uring_register, "-1, 0, None, 0"),
        (nix::libc::SYS_userfaultfd, "1"),
    ];
    are_refused(&edge, &calls).await;
    // Node.js falls back to other calls if told to use io_uring.
    let code = json!("require('fs').promises.readFile('/proc/self/comm', 'utf8').then(() => console.log('read'))");
    let environment = "{ env: { ...process.env, UV_USE_IO_URING: '1' } }";
    let run = format!("String(child.spawnSync(process.execPath, ['-e', {code}], {environment}).stdout)");
    assert_eq!(edge.evaluate(PROD, &run).await, "read\n");
    edge.stop().await;
}

/// Makes system calls with arguments in a backend: all must be refused.
async fn are_refused(edge: &RunningEdge, calls: &[(nix::libc::c_long, &str)]) {
    for (call, arguments) in calls {
        let code = format!(
            "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.syscall({call}, {arguments}), ctypes.get_errno())"
        );
        let run = format!("String(child.spawnSync('python3', ['-c', {}]).stdout)", serde_json::json!(code));
        let printed = edge.evaluate(PROD, &run).await;
        assert_eq!(printed.as_str().unwrap().trim(), format!("-1 {}", nix::libc::EPERM), "{call}");
    }
}
