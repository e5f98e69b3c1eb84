//! Copy of a whole store to another data folder while the edge serves: contents, refusals, and interruptions.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use devanture_config::api::{BeginDeploy, CopyReport, Status};
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use super::safekeeping::{PHOTO, SITE, answers_of_copy, base, blob, live_in};
use crate::support::{RunningEdge, edge, eventually, got, manifest};

/// Output and exit code of a copy.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) code: i32,
    pub(crate) report: Option<CopyReport>,
    pub(crate) said: String,
}

/// Program call in a folder.
fn program(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Copies the store of one configuration to the store of another.
pub(crate) async fn copy(from: &Path, to: &Path, more: &[&str], variables: &[(&str, &str)]) -> Copied {
    let places = ["copy", "--json", "--from", from.to_str().unwrap(), "--to", to.to_str().unwrap()];
    let ended = output(program(&[&places, more].concat(), variables)).await;
    Copied {
        code: ended.status.code().unwrap(),
        report: serde_json::from_slice(&ended.stdout).ok(),
        said: String::from_utf8(ended.stderr).unwrap(),
    }
}

impl Copied {
    /// Report of a successfully finished copy.
    pub(crate) fn finished(self) -> CopyReport {
        let report = self.report.unwrap_or_else(|| panic!("{} {}", self.code, self.said));
        assert!(self.code == 0 && report.finished && report.damaged.is_empty(), "{} {report:?}", self.said);
        assert!(report.left_out.is_empty(), "{report:?}");
        report
    }
}

/// Configuration of a running edge.
pub(crate) fn config(edge: &RunningEdge) -> PathBuf {
    base(edge).join("edge.toml")
}

/// Exit code and output of a failed start.
async fn failed_start(config: &Path) -> (i32, String) {
    let started = output(program(&["--config", config.to_str().unwrap()], &[])).await;
    (started.status.code().unwrap(), String::from_utf8(started.stderr).unwrap())
}

/// Request through the socket in the data folder.
fn by_socket(edge: &RunningEdge, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(edge.data_dir().join("control.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_made_while_an_edge_serves_answers_and_remembers_the_same() {
    let source = edge().in_a_process().start().await;
    live_in(&source).await;
    let target = edge().prepare();
    let first = copy(&config(&source), &target.config(), &[], &[]).await;
    let report = first.report.unwrap();
    assert!(first.code == 0 && !report.finished && report.resumes_ms.is_none(), "{report:?}");
    assert!(report.copied_files == report.files && report.files > 10 && report.added_keys == 1, "{report:?}");
    // The next copy transfers only later changes.
    source.push("later", &[("index.html", b"later"), ("photo.png", PHOTO)]).await;
    let last = copy(&config(&source), &target.config(), &["--finish"], &[]).await.finished();
    assert!(last.copied_files == 2 && last.added_keys == 0, "a page and a manifest: {last:?}");
    assert!(last.paused_ms.is_some() && last.resumes_ms.is_some(), "{last:?}");
    assert!(last.kept_files.is_empty() && last.warnings.is_empty(), "{last:?}");
    let expected = answers_of_copy(&source).await;
    let tokens = got(source.api(Method::GET, "/v1/tokens")).await.text();
    let audit = got(source.api(Method::GET, "/v1/audit")).await.text();
    let token = source.admin_token().to_owned();
    source.stop().await;

    let moved = target.start(&token).await;
    assert_eq!(answers_of_copy(&moved).await, expected);
    let without_uses = |text: String| {
        let mut list: serde_json::Value = serde_json::from_str(&text).unwrap();
        for token in list["tokens"].as_array_mut().unwrap() {
            token.as_object_mut().unwrap().retain(|name, _| !name.starts_with("last_used"));
        }
        list
    };
    let moved_tokens = got(moved.api(Method::GET, "/v1/tokens")).await.text();
    assert_eq!(without_uses(moved_tokens), without_uses(tokens));
    assert_eq!(got(moved.api(Method::GET, "/v1/audit")).await.text(), audit);
    let status: Status = got(moved.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json();
    assert!(status.lost_secrets.is_empty(), "the secrets open");
    moved.push("shop", &[("index.html", b"after"), ("photo.png", PHOTO)]).await;
    assert_eq!(moved.get("shop.localhost", "/").await.text(), "after");
    moved.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_from_the_end_of_a_copy_on_until_the_pause_ends() {
    let source = edge().in_a_process().start().await;
    source.push("shop", SITE).await;
    let target = edge().prepare();
    copy(&config(&source), &target.config(), &["--finish"], &[]).await.finished();
    // A push started before fails when changing state, and visitors notice nothing.
    let files: crate::support::Files<'_> = &[("index.html", b"new")];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let refused = source.try_push("shop", "prod", begin.clone(), files).await.unwrap_err();
    assert!(refused.code == Code::Restarting && refused.detail.contains("another store"), "{refused:?}");
    let lock = source.api(Method::PUT, "/v1/apps/shop/environments/prod/lock");
    let refused = got(lock.json(&serde_json::json!({ "reason": "x" }))).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, Code::Restarting));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(source.get("shop.localhost", "/photo.png").await.body, PHOTO);
    // The pause survives a restart, and the copy still equals the source.
    let source = source.killed_and_started().await;
    eventually("the pause is found", async || {
        let files = files.to_vec();
        source
            .try_push("shop", "prod", begin.clone(), &files)
            .await
            .is_err_and(|problem| problem.code == Code::Restarting)
    })
    .await;
    // An operator who keeps the source ends the pause.
    let (from, to) = (config(&source), target.config());
    let paths = ["copy", "--from", from.to_str().unwrap(), "--to", to.to_str().unwrap(), "--resume"];
    let resumed = output(program(&paths, &[])).await;
    assert!(resumed.status.success(), "{resumed:?}");
    source.try_push("shop", "prod", begin, files).await.unwrap();
    // Later pushes are missing from the copy.
    let (code, said) = failed_start(&target.config()).await;
    assert!(code == 2 && said.contains("an unfinished copy of"), "{code} {said}");
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_ends_by_itself_and_the_copy_is_served_only_after_it_was_made_again() {
    let source = edge().in_a_process().start().await;
    source.push("shop", SITE).await;
    let target = edge().prepare();
    let report = copy(&config(&source), &target.config(), &["--finish", "--pause-for", "3s"], &[]).await.finished();
    assert!(report.resumes_ms.is_some());
    eventually("changes go on", async || {
        let begin = BeginDeploy { manifest: manifest(SITE), source: Default::default(), options: Default::default() };
        source.try_push("later", "prod", begin, SITE).await.is_ok()
    })
    .await;
    let (code, said) = failed_start(&target.config()).await;
    assert!(code == 2 && said.contains("takes changes again by now"), "{code} {said}");
    let (token, from) = (source.admin_token().to_owned(), config(&source));
    let stopped = source.stopped().await;
    // No process uses the source's catalog any more: no pause is needed.
    let report = copy(&from, &target.config(), &["--finish"], &[]).await.finished();
    assert_eq!((report.paused_ms, report.resumes_ms), (None, None));
    drop(stopped);
    let moved = target.start(&token).await;
    assert_eq!(moved.get("later.localhost", "/photo.png").await.body, PHOTO);
    moved.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_for_the_owner_of_the_data_folder_and_has_an_end() {
    let edge = edge().in_a_process().start().await;
    for (method, path) in [(Method::GET, "/v1/records"), (Method::DELETE, "/v1/pause")] {
        assert_eq!(got(edge.api(method, path)).await.code(), Code::Forbidden, "{path}");
    }
    let by_network = edge.api(Method::POST, "/v1/pause").json(&serde_json::json!({ "seconds": 1 }));
    assert_eq!(got(by_network).await.code(), Code::Forbidden);
    for seconds in ["0", "86401"] {
        let refused = by_socket(&edge, "POST", "/v1/pause", &format!("{{\"seconds\":{seconds}}}"));
        assert!(refused.contains("bad_request"), "{refused}");
    }
    let paused = by_socket(&edge, "POST", "/v1/pause", "{\"seconds\":1}");
    assert!(paused.contains("resumes_ms"), "{paused}");
    eventually("changes go on", async || {
        let begin = BeginDeploy { manifest: manifest(SITE), source: Default::default(), options: Default::default() };
        edge.try_push("shop", "prod", begin, SITE).await.is_ok()
    })
    .await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_killed_is_served_by_nobody_and_goes_on_where_it_was() {
    let source = edge().in_a_process().start().await;
    let pages: Vec<(String, Vec<u8>)> =
        (0..300).map(|number| (format!("{number}.bin"), number.to_string().repeat(9_000).into_bytes())).collect();
    let files: Vec<(&str, &[u8])> = pages.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    source.push("shop", &files).await;
    let target = edge().prepare();
    let (from, to) = (config(&source), target.config());
    let blobs = target.base().join("data/blobs");
    let killed = tokio::task::spawn_blocking(move || {
        let arguments = ["copy", "--from", from.to_str().unwrap(), "--to", to.to_str().unwrap(), "--finish"];
        let mut child = program(&arguments, &[]).stdout(Stdio::null()).spawn().unwrap();
        // Any of the copied files, so that some exist and some do not.
        let folders = || std::fs::read_dir(&blobs).into_iter().flatten().flatten();
        while folders().count() < 20 && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        let there = folders().filter_map(|folder| Some(std::fs::read_dir(folder.path()).ok()?.count()));
        there.sum::<usize>()
    });
    let there = killed.await.unwrap();
    assert!(there > 0 && there < 300, "{there}");
    let (code, said) = failed_start(&target.config()).await;
    assert!(code == 2 && said.contains("unfinished copy"), "{code} {said}");
    let report = copy(&config(&source), &target.config(), &["--finish"], &[]).await.finished();
    assert!(report.copied_files > 0 && report.copied_files < report.files, "{there} {report:?}");
    let token = source.admin_token().to_owned();
    source.stop().await;
    let moved = target.start(&token).await;
    for (path, bytes) in &pages {
        assert!(moved.get("shop.localhost", &format!("/{path}")).await.body == bytes.as_slice(), "{path}");
    }
    moved.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_named_and_not_copied_and_everything_else_is() {
    let source = edge().in_a_process().start().await;
    let version = source.push("shop", SITE).await.version;
    source.push("blog", &[("index.html", b"blog")]).await;
    std::fs::write(blob(&source.data_dir(), PHOTO), b"A PHOTO, as it were").unwrap();
    let target = edge().prepare();
    let copied = copy(&config(&source), &target.config(), &["--finish"], &[]).await;
    let report = copied.report.unwrap();
    assert!(copied.code == 1 && !report.finished && report.paused_ms.is_none(), "{report:?}");
    let [damaged] = &report.damaged[..] else { panic!("{report:?}") };
    assert_eq!((damaged.version, damaged.files.join(" ").as_str()), (version, "photo.png"));
    assert!(!blob(&target.base().join("data"), PHOTO).exists());
    // No pause; with permission, the whole rest is copied.
    source.push("blog", &[("index.html", b"blog two")]).await;
    let copied = copy(&config(&source), &target.config(), &["--finish", "--allow-damaged"], &[]).await;
    let report = copied.report.unwrap();
    assert!(copied.code == 0 && report.finished && report.damaged.len() == 1, "{report:?}");
    let token = source.admin_token().to_owned();
    source.stop().await;
    let moved = target.start(&token).await;
    assert_eq!(moved.get("blog.localhost", "/").await.text(), "blog two");
    assert_eq!(moved.get("shop.localhost", "/").await.text(), "<h1>hi</h1>");
    assert_eq!(moved.get("shop.localhost", "/photo.png").await.status, StatusCode::SERVICE_UNAVAILABLE);
    moved.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_copied_to_a_store_that_an_edge_has_or_had() {
    let source = edge().in_a_process().start().await;
    source.push("shop", SITE).await;
    let other = edge().in_a_process().start().await;
    other.push("other", &[("index.html", b"other")]).await;
    let running = copy(&config(&source), &config(&other), &["--finish"], &[]).await;
    assert!(running.code == 2 && running.said.contains("another process has"), "{running:?}");
    let target = config(&other);
    let other = other.stopped().await;
    let used = copy(&config(&source), &target, &["--finish"], &[]).await;
    assert!(used.code == 1 && used.said.contains("holds other records"), "{used:?}");
    let same = copy(&config(&source), &config(&source), &["--finish"], &[]).await;
    assert!(same.code == 2 && same.said.contains("have one data folder"), "{same:?}");
    let missing = copy(&base(&source).join("missing.toml"), &target, &[], &[]).await;
    assert!(missing.code == 2 && missing.said.contains("missing.toml"), "{missing:?}");
    let nothing = edge().prepare();
    let empty = copy(&nothing.config(), &edge().prepare().config(), &[], &[]).await;
    assert!(empty.code != 0 && !nothing.base().join("data/catalog.redb").exists(), "{empty:?}");
    // The target is untouched.
    let other = RunningEdge::over(other.0, other.1).await;
    assert_eq!(other.get("other.localhost", "/").await.text(), "other");
    other.stop().await;
    source.push("shop", &[("index.html", b"goes on")]).await;
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_of_an_edge_that_does_not_run_is_copied_without_a_pause_also_an_empty_one() {
    let empty = edge().in_a_process().start().await;
    let token = empty.admin_token().to_owned();
    let from = config(&empty);
    let stopped = empty.stopped().await;
    let target = edge().prepare();
    let report = copy(&from, &target.config(), &["--finish"], &[]).await.finished();
    assert_eq!((report.versions, report.files, report.paused_ms, report.resumes_ms), (0, 0, None, None));
    let moved = target.start(&token).await;
    moved.push("shop", SITE).await;
    assert_eq!(moved.get("shop.localhost", "/photo.png").await.body, PHOTO);
    // An edge uses the target now.
    let from = config(&moved);
    moved.stop().await;
    let back = edge().prepare();
    copy(&from, &back.config(), &["--finish"], &[]).await.finished();
    drop(stopped);
    let back = back.start(&token).await;
    assert_eq!(back.get("shop.localhost", "/photo.png").await.body, PHOTO);
    back.stop().await;
}

/// Interrupts a copy during the pause; returns false if the copy finished first.
fn interrupt_in_pause(edge: &RunningEdge, to: &Path) -> bool {
    let from = config(edge);
    let arguments = ["copy", "--from", from.to_str().unwrap(), "--to", to.to_str().unwrap(), "--finish"];
    let mut child = program(&arguments, &[]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert_eq!(said, "pausing changes\n");
    // The suspended edge does not answer, so that the copy waits.
    edge.process().suspend();
    let has_ended = child.try_wait().unwrap().is_some();
    let pid = child.id().to_string();
    let interrupted = Command::new("kill").args(["-INT", &pid]).status().unwrap().success();
    edge.process().resume();
    let status = child.wait().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    if has_ended || !interrupted || status.success() {
        return false;
    }
    assert!(status.code() == Some(1) && said.contains("it was interrupted, and changes go on"), "{status} {said}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_interrupted_while_changes_are_paused_has_them_go_on() {
    let source = edge().in_a_process().start().await;
    source.push("shop", SITE).await;
    let target = edge().prepare();
    let mut tries = 0;
    while !tokio::task::block_in_place(|| interrupt_in_pause(&source, &target.config())) {
        tries += 1;
        assert!(tries < 50, "it always came to its end before");
    }
    eventually("changes go on", async || {
        let begin = BeginDeploy { manifest: manifest(SITE), source: Default::default(), options: Default::default() };
        source.try_push("later", "prod", begin, SITE).await.is_ok()
    })
    .await;
    copy(&config(&source), &target.config(), &["--finish"], &[]).await.finished();
    source.stop().await;
}
