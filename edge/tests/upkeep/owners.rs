//! Files created by root in the data folder of another user's edge belong to the edge's user.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::doctor::{readable_program, written};
use crate::support::archives::archive;

/// User of the edge.
const EDGE: u32 = 2_100_000_104;

/// Folder with an `edge.toml` and an empty data folder of [`EDGE`]; `None` unless the test runs as root.
fn edge_of_another_user() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    written(folder.path(), "127.0.0.1:0", "localhost", "[tls]\nmode = \"self-signed\"\n");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    chown(&data, Some(EDGE), Some(EDGE)).unwrap();
    assert!(call(folder.path(), EDGE, &["token", "create", "--name", "ci", "--scope", "read"]).status.success());
    Some(folder)
}

fn call(folder: &Path, user: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(readable_program(folder));
    command.args(arguments).args(["--config", "edge.toml"]).current_dir(folder).uid(user).gid(user).output().unwrap()
}

/// All files and folders below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

#[test]
fn a_backup_by_root_of_a_stopped_edge_leaves_nothing_that_its_user_cannot_open() {
    let Some(folder) = edge_of_another_user() else { return eprintln!("skipped: not root") };
    let data = folder.path().join("data");
    // As after a restore by other means: root takes the lock first.
    std::fs::remove_file(data.join("catalog.lock")).unwrap();
    let written = call(folder.path(), 0, &["backup", "--to", "backups"]);
    assert!(written.status.success(), "{written:?}");
    let others: Vec<_> =
        below(&data).into_iter().filter(|path| path.symlink_metadata().unwrap().uid() != EDGE).collect();
    assert_eq!((others, data.join("catalog.lock").exists()), (Vec::<PathBuf>::new(), true));
    // The backup belongs to root, in whose folder it is.
    assert!(below(&folder.path().join("backups")).iter().all(|path| path.symlink_metadata().unwrap().uid() == 0));

    let verified = call(folder.path(), EDGE, &["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    assert!(call(folder.path(), EDGE, &["token", "list"]).status.success());
}

#[test]
fn a_link_in_the_place_of_a_lock_gives_no_file_of_root_away() {
    for (name, target) in [("catalog.lock", "secret"), ("backup.lock", "secret"), ("backup.lock", "missing")] {
        let Some(folder) = edge_of_another_user() else { return eprintln!("skipped: not root") };
        let (data, secret) = (folder.path().join("data"), folder.path().join("secret"));
        std::fs::write(&secret, "of root alone").unwrap();
        std::fs::remove_file(data.join(name)).ok();
        symlink(folder.path().join(target), data.join(name)).unwrap();
        let refused = call(folder.path(), 0, &["backup", "--to", "backups"]);
        assert!(!refused.status.success(), "{name}: {refused:?}");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "of root alone", "{name}");
        assert_eq!(std::fs::metadata(&secret).unwrap().uid(), 0, "{name}");
        assert!(!folder.path().join("missing").exists(), "{name}");
    }
}

/// Creates a file readable by root alone, and a folder with another such file.
fn secrets(folder: &Path) {
    std::fs::create_dir(folder.join("closed")).unwrap();
    for path in [folder.join("secret"), folder.join("closed/secret")] {
        std::fs::write(&path, "of root alone").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Returns true if a file below a folder contains the root-only text.
fn holds_a_secret(folder: &Path) -> bool {
    let files = below(folder).into_iter().filter(|path| path.symlink_metadata().unwrap().is_file());
    files.map(|path| std::fs::read(path).unwrap()).any(|bytes| bytes == b"of root alone")
}

/// `data/tls`, owned by the edge's user.
fn tls_of(folder: &Path) -> PathBuf {
    let tls = folder.join("data/tls");
    std::fs::create_dir_all(&tls).unwrap();
    chown(&tls, Some(EDGE), Some(EDGE)).unwrap();
    tls
}

#[test]
fn a_backup_by_root_has_no_file_that_a_link_of_the_edges_user_leads_to() {
    for (name, target) in [("ca.key", "secret"), ("d", "closed")] {
        let Some(folder) = edge_of_another_user() else { return eprintln!("skipped: not root") };
        secrets(folder.path());
        let link = tls_of(folder.path()).join(name);
        symlink(folder.path().join(target), &link).unwrap();
        let refused = call(folder.path(), 0, &["backup", "--to", "backups"]);
        let said = format!("{refused:?}");
        assert!(!refused.status.success() && said.contains(&format!("tls/{name}")), "{said}");
        assert!(!holds_a_secret(&folder.path().join("backups")), "{name}");
        // A hard link to another user's file is not followed, either.
        std::fs::remove_file(&link).unwrap();
        std::fs::hard_link(folder.path().join("secret"), &link).unwrap();
        assert!(!call(folder.path(), 0, &["backup", "--to", "backups"]).status.success(), "{name}");
        assert!(!holds_a_secret(&folder.path().join("backups")), "{name}");
        std::fs::remove_file(&link).unwrap();
        let written = call(folder.path(), 0, &["backup", "--to", "backups"]);
        assert!(written.status.success(), "{written:?}");
    }
}

#[test]
fn a_restore_by_root_leaves_no_file_that_a_link_in_the_backup_leads_to_and_none_that_is_damaged() {
    for is_link in [true, false] {
        let Some(folder) = edge_of_another_user() else { return eprintln!("skipped: not root") };
        secrets(folder.path());
        let key = tls_of(folder.path()).join("ca.key");
        std::fs::write(&key, "a key").unwrap();
        chown(&key, Some(EDGE), Some(EDGE)).unwrap();
        let written = call(folder.path(), 0, &["backup", "--to", "backups"]);
        assert!(written.status.success(), "{written:?}");
        let mut snapshots = std::fs::read_dir(folder.path().join("backups/snapshots")).unwrap();
        let copy = snapshots.next().unwrap().unwrap().path().join("tls/ca.key");
        std::fs::remove_file(&copy).unwrap();
        match is_link {
            true => symlink(folder.path().join("secret"), &copy).unwrap(),
            false => std::fs::write(&copy, "of root alone").unwrap(),
        }
        let data = folder.path().join("data");
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
        chown(&data, Some(EDGE), Some(EDGE)).unwrap();
        let refused = call(folder.path(), 0, &["restore", "--from", "backups"]);
        let said = format!("{refused:?}");
        assert!(!refused.status.success() && said.contains("tls/ca.key"), "{said}");
        assert!(!data.join("tls/ca.key").exists() && !holds_a_secret(&data), "{is_link}");
    }
}

#[test]
fn a_console_that_root_installs_beside_a_stopped_edge_is_one_that_its_user_can_read() {
    let Some(folder) = edge_of_another_user() else { return eprintln!("skipped: not root") };
    let package = archive("tar.gz", &[("index.html", b"a console")]);
    std::fs::write(folder.path().join("console.tar.gz"), package).unwrap();
    let installed = call(folder.path(), 0, &["console", "install", "console.tar.gz"]);
    assert!(installed.status.success(), "{installed:?}");
    assert_eq!(std::fs::metadata(folder.path().join("data/console-to-install")).unwrap().uid(), EDGE);
}

#[test]
fn what_belongs_to_another_user_is_refused_as_that_and_not_as_lost_or_damaged() {
    let Some(folder) = edge_of_another_user() else { return eprintln!("skipped: not root") };
    let catalog = folder.path().join("data/catalog.redb");
    chown(&catalog, Some(0), Some(0)).unwrap();
    let refused = call(folder.path(), EDGE, &["token", "list"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("catalog.redb may not be opened"), "{said}");
    assert!(!said.contains("adopt") && !said.contains("backup"), "nothing is lost: {said}");
    chown(&catalog, Some(EDGE), Some(EDGE)).unwrap();

    let written = call(folder.path(), 0, &["backup", "--to", "backups"]);
    assert!(written.status.success(), "{written:?}");
    let backups = folder.path().join("backups");
    chown(&backups, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&backups, std::fs::Permissions::from_mode(0o700)).unwrap();
    let refused = call(folder.path(), EDGE, &["restore", "--from", "backups"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("backups cannot be read"), "{said}");
}
