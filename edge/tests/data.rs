//! Data of environments: reading, replacing and snapshots while backends run.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use devanture_config::Digest;
use devanture_config::api::{DataKind, DataList, DataReport, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::backends::Backend;
use crate::support::{Got, RunningEdge, edge, eventually, got};

const PROD: &str = "shop.localhost";
const DATA: &str = "/v1/apps/shop/environments/prod/data";

/// Starts an edge with a backend that stores data.
async fn running() -> RunningEdge {
    let edge = edge().with_runner().with_limit("snapshots_max", 3).with_limit("persist_files_max", 64).start().await;
    edge.push_backend(edge.admin_token(), ("shop", "prod"), &Backend::new("one")).await.unwrap();
    edge
}

async fn archive(edge: &RunningEdge, query: &str) -> Got {
    got(edge.api(Method::GET, &format!("{DATA}/archive{query}"))).await
}

/// Files of an archive by path; a link maps to its target.
pub(crate) fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(archive).unwrap());
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            content = format!("-> {}", target.display()).into_bytes();
        }
        files.insert(path, content);
    }
    files
}

/// Archive of files. A content that begins with an arrow becomes a link.
fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        // Written directly, because the library refuses the name.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let content = match content.strip_prefix("-> ") {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(target).unwrap();
                ""
            }
            None => content,
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&tar.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}

async fn push(edge: &RunningEdge, query: &str, archive: Vec<u8>) -> Got {
    let request = edge.api(Method::PUT, &format!("{DATA}/archive{query}"));
    got(request.header("content-type", "application/zstd").body(archive)).await
}

async fn names(edge: &RunningEdge) -> Value {
    edge.evaluate(PROD, "fs.readdirSync('data').sort()").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_files_as_they_are_and_databases_as_they_were_at_one_moment() {
    let edge = running().await;
    let writer = "import sqlite3, sys, time
connection = sqlite3.connect('data/shop.db', isolation_level=None)
connection.execute('pragma journal_mode=wal')
connection.execute('create table orders (id integer)')
connection.execute('insert into orders values (1)')
connection.execute('begin')
connection.execute('insert into orders values (2)')
print('ready', flush=True)
time.sleep(600)";
    edge.evaluate(
        PROD,
        &format!(
            "fs.mkdirSync('data/uploads'); fs.writeFileSync('data/uploads/a.txt', 'hello');
             fs.writeFileSync('data/notes.db', 'SQLite format 3\\0but none');
             new Promise((done) => child.spawn('python3', ['-c', {}]).stdout.on('data', done))",
            serde_json::to_string(writer).unwrap()
        ),
    )
    .await;
    let got = archive(&edge, "").await;
    assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "application/zstd"));
    let mut files = unpacked(&got.body);
    let database = files.remove("shop.db").unwrap();
    let expected = [("notes.db", "SQLite format 3\0but none"), ("uploads/", ""), ("uploads/a.txt", "hello")];
    let expected = expected.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()));
    // The archive contains neither the write-ahead log nor the index of the database.
    assert_eq!(files.into_iter().collect::<Vec<_>>(), expected);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.db"), database).unwrap();
    let copy = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    let count: i64 = copy.query_row("select count(*) from orders", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1, "what is not committed is not there");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_restored_with_the_backend_stopped_and_what_was_there_is_a_snapshot_too() {
    let edge = running().await;
    edge.evaluate(PROD, "fs.mkdirSync('data/old/deep', { recursive: true }); fs.writeFileSync('data/old/deep/a', '1')")
        .await;
    let made: DataReport =
        got(edge.api(Method::POST, &format!("{DATA}/snapshots")).json(&json!({ "name": "mine" }))).await.json();
    assert_eq!((made.files, made.bytes, made.snapshot.unwrap().as_str()), (3, 1, "mine"));
    let again = got(edge.api(Method::POST, &format!("{DATA}/snapshots")).json(&json!({ "name": "mine" }))).await;
    assert_eq!(again.code(), Code::Conflict);
    let reserved = edge.api(Method::POST, &format!("{DATA}/snapshots")).json(&json!({ "name": "before-me" }));
    assert_eq!(got(reserved).await.code(), Code::BadRequest);
    let pid = edge
        .evaluate(PROD, "fs.rmSync('data/old', { recursive: true }); fs.writeFileSync('data/new', '2'); process.pid")
        .await;
    let restored: DataReport = got(edge.api(Method::POST, &format!("{DATA}/snapshots/mine/restore"))).await.json();
    assert_eq!((restored.files, restored.bytes), (3, 1));
    let before = restored.snapshot.unwrap();
    assert!(before.is_automatic(), "{before}");
    eventually("the backend is back", async || {
        got(edge.visit(Method::POST, PROD, "/api/evaluate").body("1")).await.status == StatusCode::OK
    })
    .await;
    assert_ne!(edge.evaluate(PROD, "process.pid").await, pid);
    assert_eq!(edge.evaluate(PROD, "fs.readFileSync('data/old/deep/a', 'utf8')").await, "1");
    assert_eq!(names(&edge).await, json!(["old"]));
    assert_eq!(unpacked(&archive(&edge, &format!("?snapshot={before}")).await.body)["new"], b"2");
    let list: DataList = got(edge.api(Method::GET, DATA)).await.json();
    assert_eq!(
        list.entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(),
        ["old", "old/deep", "old/deep/a"]
    );
    assert_eq!(list.snapshots.iter().map(|snapshot| snapshot.is_automatic).collect::<Vec<_>>(), [false, true]);
    let none = got(edge.api(Method::POST, &format!("{DATA}/snapshots/none/restore"))).await;
    assert_eq!(none.code(), Code::NotFound);
    let removed = got(edge.api(Method::DELETE, &format!("{DATA}/snapshots/mine"))).await;
    assert_eq!(removed.status, StatusCode::OK);
    let audit = got(edge.api(Method::GET, "/v1/audit?app=shop")).await.text();
    for action in ["snapshot_data", "restore_data", "pull_data", "delete_snapshot"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_replaces_all_data_or_nothing() {
    let edge = running().await;
    edge.evaluate(PROD, "fs.writeFileSync('data/old', '1')").await;
    let paths: Vec<String> = (0..70).map(|number| format!("f{number}")).collect();
    let many: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    let good = packed(&[("new/a", "2"), ("link", "-> new/a")]);
    assert_eq!(push(&edge, "", good.clone()).await.code(), Code::Conflict, "there is data");
    for (name, archive, code) in [
        ("up", packed(&[("../up", "x")]), Code::PathEscapes),
        ("root", packed(&[("/etc/passwd", "x")]), Code::PathEscapes),
        ("through a link", packed(&[("out", "-> /"), ("out/x", "x")]), Code::BadArchive),
        ("twice", packed(&[("a", "x"), ("a", "y")]), Code::DuplicatePath),
        ("cut off", good[..good.len() - 4].to_vec(), Code::ArchiveCutOff),
        ("nothing", Vec::new(), Code::ArchiveCutOff),
        ("no archive", b"hello".to_vec(), Code::BadArchive),
        ("many", packed(&many), Code::PersistFull),
    ] {
        assert_eq!(push(&edge, "?replace", archive).await.code(), code, "{name}");
        assert_eq!(names(&edge).await, json!(["old"]), "{name}");
    }
    let pushed: DataReport = push(&edge, "?replace", good).await.json();
    assert!(pushed.snapshot.is_some_and(|name| name.as_str().starts_with("before-push-")));
    eventually("the backend is back", async || {
        got(edge.visit(Method::POST, PROD, "/api/evaluate").body("1")).await.status == StatusCode::OK
    })
    .await;
    assert_eq!(names(&edge).await, json!(["link", "new"]));
    // The backend's user owns the unpacked files.
    assert_eq!(
        edge.evaluate(PROD, "fs.appendFileSync('data/link', '3'); fs.readFileSync('data/new/a', 'utf8')").await,
        "23"
    );
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_folder_harms_nobody() {
    let edge = running().await;
    edge.evaluate(
        PROD,
        "fs.symlinkSync('/etc/passwd', 'data/link'); child.execFileSync('mkfifo', ['data/pipe']);
         fs.symlinkSync('/', 'data/root'); fs.writeFileSync('data/bad.db', 'SQLite format 3\\0' + 'x'.repeat(5000)); 1",
    )
    .await;
    let list: DataList = got(edge.api(Method::GET, DATA)).await.json();
    let kinds: BTreeMap<&str, DataKind> = list.entries.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
    assert_eq!((kinds["link"], kinds["pipe"], kinds["root"]), (DataKind::Link, DataKind::Special, DataKind::Link));
    let files = unpacked(&archive(&edge, "").await.body);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["bad.db", "link", "root"]);
    assert_eq!(files["link"], b"-> /etc/passwd");
    // A sparse file takes no disk space, and its archive would be endless.
    edge.evaluate(PROD, "fs.writeFileSync('data/hole', ''); fs.truncateSync('data/hole', 10 * 2 ** 30); 1").await;
    edge.evaluate(PROD, "fs.writeFileSync('data/more', 'x')").await;
    assert_eq!(archive(&edge, "").await.code(), Code::PersistFull);
    edge.evaluate(PROD, "fs.rmSync('data/hole'); 1").await;
    assert_eq!(archive(&edge, "").await.status, StatusCode::OK);
    edge.evaluate(PROD, "for (let i = 0; i < 100; i++) fs.writeFileSync('data/' + i, ''); 1").await;
    assert_eq!(archive(&edge, "").await.code(), Code::PersistFull);
    // The list counts the files that a user may remove.
    let list: DataList = got(edge.api(Method::GET, DATA)).await.json();
    assert_eq!((list.files, list.is_partial), (64, true));
    edge.stop().await;
}

/// A process may inspect processes of the same user, and their root directory.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_an_instance_does_not_reach_the_machines_folders_by_a_process_that_works_on_its_data() {
    let edge = running().await;
    let marker = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let path = marker.path().display().to_string();
    if edge.evaluate(PROD, &format!("fs.existsSync('{path}')")).await == json!(true) {
        assert!(!rustix::process::geteuid().is_root(), "instances of root have folders of their own");
        return edge.stop().await;
    }
    edge.evaluate(PROD, "fs.writeFileSync('data/large', require('crypto').randomBytes(64 * 2 ** 20)); 1").await;
    // The archive is not read further, so that the process keeps running.
    let reading = edge.api(Method::GET, &format!("{DATA}/archive")).send().await.unwrap();
    assert!(reading.status().is_success());
    let script = format!(
        "fs.readdirSync('/proc').filter((pid) => {{
             try {{ return fs.readFileSync(`/proc/${{pid}}/cmdline`, 'utf8').includes('data-task') }} catch {{}}
         }}).map((pid) => {{
             const root = `/proc/${{pid}}/root`;
             try {{ return fs.readdirSync(root).length > 0 && fs.existsSync(root + '{path}') }}
             catch (error) {{ return error.code }}
         }})"
    );
    let seen = edge.evaluate(PROD, &script).await;
    let outcomes = seen.as_array().unwrap();
    assert!(!outcomes.is_empty() && !outcomes.contains(&json!(true)), "{seen}");
    drop(reading);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_begins_with_a_snapshot_where_the_backend_wants_one_and_old_ones_give_way() {
    let edge = running().await;
    edge.evaluate(PROD, "fs.writeFileSync('data/a', '1')").await;
    let wanting = |page: &str| Backend::new(page).with("snapshot", "before-release");
    for page in ["two", "three", "four", "five"] {
        let report = edge.push_backend(edge.admin_token(), ("shop", "prod"), &wanting(page)).await.unwrap();
        assert!(report.steps.iter().any(|step| step.name == "snapshot"), "{report:?}");
    }
    let list: DataList = got(edge.api(Method::GET, DATA)).await.json();
    assert_eq!(list.snapshots.len(), 3, "{list:?}");
    assert!(list.snapshots.iter().all(|snapshot| snapshot.name.as_str().starts_with("before-release-")), "{list:?}");
    let rolled = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback").json(&json!({}))).await;
    assert_eq!(rolled.status, StatusCode::OK, "{}", rolled.text());
    let after: DataList = got(edge.api(Method::GET, DATA)).await.json();
    assert_eq!(after.snapshots, list.snapshots, "going back makes none");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_read_and_replaced_by_admins_alone() {
    let edge = running().await;
    let push = edge.token(Scope::Push).await;
    for (method, path) in [
        (Method::GET, DATA.to_owned()),
        (Method::GET, format!("{DATA}/archive")),
        (Method::PUT, format!("{DATA}/archive")),
        (Method::POST, format!("{DATA}/snapshots/mine/restore")),
        (Method::DELETE, format!("{DATA}/snapshots/mine")),
    ] {
        assert_eq!(got(edge.ask(method, &path, &push)).await.code(), Code::Forbidden, "{path}");
    }
    let made = got(edge.ask(Method::POST, &format!("{DATA}/snapshots"), &push)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    let staging = DATA.replace("prod", "staging");
    assert_eq!(got(edge.api(Method::GET, &staging)).await.code(), Code::NotFound);
    assert_eq!(got(edge.api(Method::GET, &format!("{DATA}?node=other"))).await.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_ends_no_other_one_of_the_edge_unless_its_maker_may_delete_them() {
    let edge = running().await;
    edge.evaluate(PROD, "fs.writeFileSync('data/a', '1')").await;
    for _ in 0..3 {
        let replaced = push(&edge, "?replace", packed(&[("a", "2")])).await;
        assert_eq!(replaced.status, StatusCode::OK, "{}", replaced.text());
    }
    let snapshots = async || got(edge.api(Method::GET, DATA)).await.json::<DataList>().snapshots;
    let before = snapshots().await;
    assert!(before.len() == 3 && before.iter().all(|snapshot| snapshot.is_automatic), "{before:?}");
    let make = async |token: &str| got(edge.ask(Method::POST, &format!("{DATA}/snapshots"), token)).await;
    for scope in [Scope::Push, Scope::Promote] {
        let refused = make(&edge.token(scope).await).await;
        assert_eq!(refused.code(), Code::TooMany, "{scope}: {}", refused.text());
    }
    assert_eq!(snapshots().await, before);
    let made: DataReport = make(edge.admin_token()).await.json();
    assert_eq!(made.removed, [before[0].name.clone()]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_an_archive_comes_for_a_client_that_has_its_beginning() {
    let edge = running().await;
    edge.evaluate(PROD, "child.execSync('head -c 300000 /dev/urandom > data/b'); 1").await;
    let made = got(edge.api(Method::POST, &format!("{DATA}/snapshots")).json(&json!({ "name": "mine" }))).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    for snapshot in ["", "&snapshot=mine"] {
        let whole = archive(&edge, &format!("?{}", snapshot.trim_start_matches('&'))).await;
        assert_eq!(whole.status, StatusCode::OK, "{}", whole.text());
        let whole = whole.body;
        for from in [0, 1, whole.len() / 2, whole.len()] {
            let query = format!("?from={from}&digest={}{snapshot}", Digest::of(&whole[..from]));
            let rest = archive(&edge, &query).await;
            assert_eq!(rest.status, StatusCode::OK, "{}", rest.text());
            assert!(rest.body == whole[from..], "{query}");
        }
        for (query, code) in [
            (format!("?from=9&digest={}", Digest::of(b"others")), Code::PreconditionFailed),
            (format!("?from={}&digest={}", whole.len() + 1, Digest::of(&whole)), Code::PreconditionFailed),
            ("?from=9".to_owned(), Code::BadRequest),
            ("?from=9&digest=x".to_owned(), Code::BadRequest),
        ] {
            assert_eq!(archive(&edge, &format!("{query}{snapshot}")).await.code(), code, "{query}");
        }
    }
    edge.stop().await;
}

/// Processes of this edge that work on data.
fn data_tasks(edge: &RunningEdge) -> Vec<String> {
    let folder = edge.data_dir().parent().unwrap().display().to_string();
    let has = |pid: &str, file: &str, part: &str| {
        let found = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&found).contains(part)
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pids = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter(|pid| has(pid, "cmdline", "data-task") && has(pid, "environ", &folder)).collect()
}

/// Suspends the processes that work on data, as any process of their user can; returns false if none runs.
fn stop_data_tasks(edge: &RunningEdge) -> bool {
    let pids = data_tasks(edge);
    let stop = |pid: &String| std::process::Command::new("kill").args(["-STOP", pid]).status().unwrap().success();
    !pids.is_empty() && pids.iter().all(stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_on_data_ends_with_its_environment_and_its_app_also_where_it_is_stopped_and_nobody_reads() {
    let edge = running().await;
    edge.push_backend(edge.admin_token(), ("shop", "staging"), &Backend::new("one")).await.unwrap();
    for (end, environment, host) in
        [("/environments/staging", "staging", "staging--shop.localhost"), ("", "prod", PROD)]
    {
        edge.evaluate(host, "fs.writeFileSync('data/large', require('crypto').randomBytes(64 * 2 ** 20)); 1").await;
        let data = format!("/v1/apps/shop/environments/{environment}/data/archive");
        // The archive is not read further, so that the process keeps running.
        let reading = edge.api(Method::GET, &data).send().await.unwrap();
        assert!(reading.status().is_success());
        assert!(stop_data_tasks(&edge), "it works for as long as nobody reads");
        let deleted = got(edge.api(Method::DELETE, &format!("/v1/apps/shop{end}"))).await;
        assert!(deleted.status.is_success(), "{}", deleted.text());
        eventually("nothing of it runs", async || data_tasks(&edge).is_empty()).await;
        drop(reading);
        let again = got(edge.api(Method::GET, &data)).await;
        assert!(!again.status.is_success(), "nothing of it begins");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_work_on_data() {
    let edge = running().await;
    let writer = "import sqlite3, time
connection = sqlite3.connect('data/shop.db', isolation_level=None)
connection.execute('create table orders (id integer)')
connection.execute('begin exclusive')
print('ready', flush=True)
time.sleep(600)";
    // A writer with an exclusive lock on the database delays a snapshot.
    edge.evaluate(
        PROD,
        &format!(
            "new Promise((done) => child.spawn('python3', ['-c', {}]).stdout.on('data', done))",
            serde_json::to_string(writer).unwrap()
        ),
    )
    .await;
    let asking = edge.api(Method::POST, &format!("{DATA}/snapshots")).json(&json!({ "name": "mine" }));
    let client = tokio::spawn(asking.send());
    eventually("the work is stopped", async || stop_data_tasks(&edge)).await;
    client.abort();
    eventually("nothing of it runs", async || data_tasks(&edge).is_empty()).await;
    edge.stop().await;
}
