//! Backups in a real S3 store: written while the edge serves and accepts pushes, restored, and compared.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use devanture_config::api::{BackupReport, RepairRequest, Secret};
use devanture_control::safekeeping::Location;
use devanture_edge::server::{self, LocalError, Safekeeping};
use devanture_store::s3::Variables;
use http::Method;
use serde_json::json;

use super::safekeeping::{PHOTO, SITE, all_answers, base, blob, lived_in, request_to, verify};
use crate::seaweed::{BUCKET, Gate, OWNER, READER, Seaweed, is_installed, variables};
use crate::support::{RunningEdge, edge, eventually, got};

/// Objects of a backup beside blobs and manifests: the lock, the records, two files of the authority, and the
/// description.
const OBJECTS_OF_A_BACKUP: usize = 5;

/// Configuration of the program over a data folder.
const CONFIG: &str = "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\n\
    [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[tls]\nmode = \"self-signed\"\n";

fn place() -> String {
    format!("s3://{BUCKET}/edges/one")
}

async fn back_up(edge: &RunningEdge, variables: &Variables, keep: Option<u32>) -> Result<BackupReport, LocalError> {
    let mut request = request_to(&place());
    (request.keep, request.with_key, request.variables) = (keep, true, variables.clone());
    Safekeeping::open(edge.file(), &base(edge)).await?.back_up(&request).await
}

fn program(folder: &Path, variables: &Variables, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.current_dir(folder).args(arguments).args(["--config", "edge.toml"]);
    command.envs(variables.iter().map(|(name, value)| (name, value.expose())));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_a_bucket_is_restored_and_answers_the_same() {
    if !is_installed() {
        return;
    }
    let (store, edge) = (Seaweed::start(), lived_in().await);
    let gate = Gate::open(store.address);
    let ours = variables(gate.address, OWNER);
    // Large enough for a multipart upload.
    let film: Vec<u8> =
        (0..5_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    edge.push("film", &[("film.bin", &film)]).await;
    let expected = all_answers(&edge).await;
    let first = back_up(&edge, &ours, None).await.unwrap();
    assert!(first.damaged.is_empty() && first.copied_files == first.files && first.with_key, "{first:?}");
    assert!(gate.puts() > first.copied_files.try_into().unwrap());
    let again = back_up(&edge, &ours, None).await.unwrap();
    assert_eq!((again.copied_files, again.files), (0, first.files));
    // The key file of the secrets is one more object.
    assert_eq!(gate.puts(), OBJECTS_OF_A_BACKUP + 1);
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains("devanture_last_success_timestamp_seconds{task=\"backup\"}"), "{metrics}");

    // Pushes continue while a backup is written.
    let pushes = async {
        for number in 0..10 {
            edge.push("later", &[("index.html", format!("later {number}").as_bytes())]).await;
        }
    };
    let (during, ()) = tokio::join!(back_up(&edge, &ours, None), pushes);
    let during = during.unwrap();
    assert!(during.damaged.is_empty() && during.copied_files <= 20, "{during:?}");
    let (_old, file) = edge.stopped().await;

    let place = Location::from(place().as_str());
    let fresh = tempfile::tempdir().unwrap();
    let restored = server::restore(&file, fresh.path(), &place, &store.variables(), None, &|_| {}).await.unwrap();
    assert!(restored.name == during.name && restored.keys && restored.damaged.is_empty(), "{restored:?}");
    let fresh = tempfile::tempdir().unwrap();
    let (ours, name) = (store.variables(), Some(first.name.as_str()));
    let restored = server::restore(&file, fresh.path(), &place, &ours, name, &|_| {}).await.unwrap();
    assert!(restored.keys && restored.damaged.is_empty() && restored.files >= first.files, "{restored:?}");
    let edge = RunningEdge::over(fresh, file).await;
    assert_eq!(all_answers(&edge).await, expected);
    assert!(edge.get("film.localhost", "/film.bin").await.body == film);
    assert!(verify(&edge, None).await.is_whole());
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_from_a_bucket_and_only_so_many_backups_stay_there() {
    if !is_installed() {
        return;
    }
    // A dictionary created meanwhile would be one more file.
    let edge = edge().with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
    let store = Seaweed::start();
    let ours = store.variables();
    let mut reports = Vec::new();
    for text in [b"one", b"two", b"six"] {
        edge.push("shop", &[("index.html", text), ("photo.png", PHOTO)]).await;
        reports.push(back_up(&edge, &ours, Some(2)).await.unwrap());
    }
    assert_eq!(reports[2].removed, [reports[0].name.clone()]);
    let place = Location::from(place().as_str());
    let restore = async |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        server::restore(edge.file(), folder.path(), &place, &ours, Some(name), &|_| {}).await
    };
    let gone = restore(&reports[0].name).await.unwrap_err().to_string();
    assert!(gone.contains("does not hold the backup"), "{gone}");
    for report in &reports[1..] {
        assert_eq!(restore(&report.name).await.unwrap().damaged, []);
    }
    // Unreferenced files are deleted with the last backup that referred to them.
    let deleted = got(edge.api(Method::DELETE, "/v1/apps/shop?purge=true")).await;
    assert!(deleted.status.is_success(), "{deleted:?}");
    edge.push("shop", SITE).await;
    let last = back_up(&edge, &ours, Some(1)).await.unwrap();
    assert_eq!(last.removed.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    let restored = server::restore(edge.file(), folder.path(), &place, &ours, None, &|_| {}).await.unwrap();
    assert_eq!((restored.files, restored.damaged.len()), (last.files + 3, 0), "manifests stay: {restored:?}");

    std::fs::write(blob(&edge.data_dir(), PHOTO), b"A PHOTO, as it were").unwrap();
    let request =
        RepairRequest { app: None, read_bucket: false, from: Some(place.to_string()), variables: ours.clone() };
    let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
    let report = stores.repair(&request).await.unwrap();
    assert_eq!((report.repaired, report.damaged.len()), (1, 0), "{report:?}");
    assert_eq!(std::fs::read(blob(&edge.data_dir(), PHOTO)).unwrap(), PHOTO);
    edge.stop().await;
}

/// Server like a container's credential endpoint; runs until the tests end.
fn credentials_of_a_role((id, secret): (&'static str, &'static str)) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4_096];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
            let is_known = head.starts_with("get /role ") && head.contains("authorization: of the container");
            let expires = "2099-01-01T00:00:00Z";
            let body = json!({"AccessKeyId": id, "SecretAccessKey": secret, "Token": "", "Expiration": expires});
            let (status, body) = if is_known { (200, body.to_string()) } else { (404, String::new()) };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).ok();
        }
    });
    format!("http://{address}/role")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_backs_up_with_the_credentials_of_its_role() {
    if !is_installed() {
        return;
    }
    let (store, edge) = (Seaweed::start(), edge().start().await);
    edge.push("shop", SITE).await;
    let mut ours = store.variables();
    ours.retain(|name, _| name != "AWS_ACCESS_KEY_ID" && name != "AWS_SECRET_ACCESS_KEY");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "of the container").unwrap();
    for (name, value) in [
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path().to_str().unwrap().to_owned()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", credentials_of_a_role(OWNER)),
    ] {
        ours.insert(name.to_owned(), Secret::new(value));
    }
    let report = back_up(&edge, &ours, None).await.unwrap();
    assert!(report.damaged.is_empty() && report.copied_files == report.files && report.files > 0, "{report:?}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_or_fails_is_named_with_what_to_do_and_never_with_a_credential() {
    if !is_installed() {
        return;
    }
    let (store, edge) = (Seaweed::start(), edge().start().await);
    edge.push("shop", SITE).await;
    let gate = Gate::open(store.address);
    let ours = variables(gate.address, OWNER);
    // A few failures are retried.
    gate.fail(2);
    assert_eq!(back_up(&edge, &ours, None).await.unwrap().damaged, []);
    let refused = async |variables: &Variables, to: &str| {
        let mut request = request_to(to);
        request.variables = variables.clone();
        let stores = Safekeeping::open(edge.file(), &base(&edge)).await.unwrap();
        let error = stores.back_up(&request).await.unwrap_err().to_string();
        for secret in [OWNER.0, OWNER.1, READER.0, READER.1] {
            assert!(!error.contains(secret), "{error}");
        }
        error
    };
    let no_bucket = refused(&ours, "s3://nosuchbucket/edge").await;
    assert!(no_bucket.contains("has no bucket nosuchbucket") && no_bucket.contains("create the bucket"), "{no_bucket}");
    let reader = refused(&variables(gate.address, READER), &place()).await;
    assert!(reader.contains("refuses writing") && reader.contains("AWS_ACCESS_KEY_ID"), "{reader}");
    let wrong = refused(&variables(gate.address, (OWNER.0, "wrong")), &place()).await;
    assert!(wrong.contains("SignatureDoesNotMatch"), "{wrong}");
    let unknown = refused(&variables(gate.address, (READER.1, OWNER.1)), &place()).await;
    assert!(unknown.contains("InvalidAccessKeyId"), "{unknown}");
    let plain = refused(&variables(([192, 0, 2, 1], 80).into(), OWNER), &place()).await;
    assert!(plain.contains("AWS_ALLOW_HTTP=true"), "{plain}");
    let mut untrusted = store.secure_variables();
    untrusted.remove("AWS_CA_BUNDLE");
    let untrusted = refused(&untrusted, &place()).await;
    assert!(untrusted.contains("AWS_CA_BUNDLE"), "{untrusted}");
    // A failed backup leaves no objects, and earlier backups are intact.
    gate.fail(usize::MAX);
    let failed = refused(&ours, &place()).await;
    assert!(failed.contains("it answers 503") && failed.contains("try again"), "{failed}");
    drop(store);
    gate.fail(0);
    let away = refused(&ours, &place()).await;
    assert!(away.contains("cannot be reached"), "{away}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_is_none_and_the_next_one_goes_on_from_it() {
    if !is_installed() {
        return;
    }
    let (store, edge) = (Seaweed::start(), edge().start().await);
    let pages: Vec<_> = (0..40).map(|number| (format!("{number}.txt"), format!("page {number}"))).collect();
    let files: Vec<_> = pages.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    edge.push("shop", &files).await;
    let (folder, file) = edge.stopped().await;
    let gate = Gate::open(store.address);
    let ours = variables(gate.address, OWNER);
    std::fs::write(folder.path().join("edge.toml"), CONFIG).unwrap();
    let (to, written) = (place(), 20);
    gate.stall_after(written);
    let mut child = program(folder.path(), &ours, &["backup", "--to", &to])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it waits for the store", async || gate.is_stalled()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let none =
        server::restore(&file, fresh.path(), &Location::from(to.as_str()), &store.variables(), None, &|_| {}).await;
    assert!(none.unwrap_err().to_string().contains("holds no backup"));

    gate.stall_after(usize::MAX);
    let ended = program(folder.path(), &ours, &["backup", "--json", "--to", &to]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let report: BackupReport = serde_json::from_slice(&ended.stdout).unwrap();
    // Objects in flight at the kill are written again.
    assert!(report.files == 41 && report.copied_files < 41 - 5, "{report:?}");
    let restored =
        server::restore(&file, fresh.path(), &Location::from(to.as_str()), &store.variables(), None, &|_| {}).await;
    assert_eq!(restored.unwrap().damaged, []);
    let edge = RunningEdge::over(fresh, file).await;
    for (path, text) in &pages {
        assert_eq!(edge.get("shop.localhost", &format!("/{path}")).await.text(), *text);
    }
    edge.stop().await;
    // Exit code and message of a refused command.
    let refused = program(folder.path(), &variables(gate.address, READER), &["backup", "--to", &to]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("AccessDenied") && text.contains("hint: ") && !text.contains(READER.0), "{text}");
}
