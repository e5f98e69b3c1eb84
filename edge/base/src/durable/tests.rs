//! Tests of the durable helper: the order of steps, and the state after every failure.

use super::fault::{Fault, arm};
use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn law_6_a_file_is_synced_before_its_name_and_the_folder_after() {
    let folder = tempfile::tempdir().unwrap();
    let log = arm(folder.path(), Fault::None, 0);
    write_file(&folder.path().join("a"), b"bytes", FILE_MODE).unwrap();
    assert_eq!(log.steps(), [Step::Create, Step::Write, Step::SyncFile, Step::Rename, Step::SyncFolder]);
}

#[test]
fn law_6_a_file_that_is_moved_or_begun_is_synced_into_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    make_folder(&from).unwrap();
    make_folder(&to).unwrap();
    write_file(&from.join("a"), b"bytes", FILE_MODE).unwrap();
    let [at_from, at_to] = [&from, &to].map(|folder| arm(folder, Fault::None, 0));
    assert!(move_file(&from.join("a"), &to.join("a")).unwrap());
    assert_eq!((at_from.steps(), at_to.steps()), (vec![Step::SyncFolder], vec![Step::Rename, Step::SyncFolder]));
    drop(at_to);
    let log = arm(&to, Fault::None, 0);
    open_append(&to.join("log"), FILE_MODE).unwrap();
    assert_eq!(log.steps(), [Step::Create, Step::SyncFolder]);
}

#[test]
fn of_what_is_abandoned_only_files_that_are_meant_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["draft-1", "draft-2", "other"] {
        write_file(&folder.path().join(name), b"", FILE_MODE).unwrap();
    }
    make_folder(&folder.path().join("draft-folder")).unwrap();
    std::os::unix::fs::symlink("other", folder.path().join("draft-link")).unwrap();
    let steps = arm(folder.path(), Fault::None, 0);
    remove_abandoned(folder.path(), |name| name.starts_with("draft-")).unwrap();
    assert_eq!(names(folder.path()), ["draft-folder", "draft-link", "other"]);
    assert_eq!(steps.steps(), [Step::Remove, Step::Remove]);
}

#[test]
fn a_failure_at_any_step_leaves_the_whole_old_file_or_the_whole_new_one_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for nth in 0.. {
        write_file(&path, b"old", FILE_MODE).unwrap();
        let armed = arm(folder.path(), Fault::Full, nth);
        let result = write_file(&path, b"new", FILE_MODE);
        if !armed.fired() {
            result.unwrap();
            break;
        }
        assert!(matches!(result, Err(Error::Full { .. })), "step {nth}");
        let expected: &[u8] = if armed.steps().contains(&Step::SyncFolder) { b"new" } else { b"old" };
        assert_eq!(std::fs::read(&path).unwrap(), expected, "step {nth}");
        assert_eq!(names(folder.path()), ["a"], "step {nth}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

#[test]
fn what_a_death_leaves_is_removed_by_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let armed = arm(folder.path(), Fault::Death, 2);
    write_file(&path, b"bytes", FILE_MODE).unwrap_err();
    drop(armed);
    assert_eq!(names(folder.path()).len(), 1);
    write_file(&path, b"bytes", FILE_MODE).unwrap();
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_write_removes_what_died_of_its_own_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let others = [".a.notes", ".b.0123456789abcdef.tmp"];
    for name in [".a.0123456789abcdef.tmp"].iter().chain(&others) {
        File::create(folder.path().join(name)).unwrap();
    }
    write_file(&folder.path().join("a"), b"bytes", FILE_MODE).unwrap();
    assert_eq!(names(folder.path()), [others[0], others[1], "a"]);
}

#[test]
fn law_6_a_folder_that_is_not_synced_into_its_parent_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let armed = arm(folder.path(), Fault::Full, 1);
    assert!(matches!(make_folder(&path), Err(Error::Full { .. })));
    assert_eq!(armed.steps(), [Step::Folder, Step::SyncFolder, Step::Remove]);
    drop(armed);
    assert!(!path.exists(), "who finds it takes it for durable");
    let log = arm(folder.path(), Fault::None, 0);
    make_folder(&path).unwrap();
    assert_eq!(log.steps(), [Step::Folder, Step::SyncFolder]);
}

#[test]
fn law_6_a_batch_fails_with_the_sync_of_any_of_its_files() {
    const FILES: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let written = FILES * 2;
    for nth in written..written + FILES {
        let armed = arm(folder.path(), Fault::Full, nth);
        let batch = Batch::write(folder.path(), std::iter::repeat_n(&b"bytes"[..], FILES)).unwrap();
        assert!(matches!(batch.sync(), Err(Error::Full { .. })), "step {nth}");
        drop(armed);
        assert!(names(folder.path()).is_empty(), "step {nth}");
    }
}

#[test]
fn a_living_draft_is_not_taken_for_an_abandoned_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::create(folder.path()).unwrap();
    draft.write(b"bytes").unwrap();
    remove_abandoned(folder.path(), |_| true).unwrap();
    draft.persist(&folder.path().join("a")).unwrap();
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"bytes");
}

#[test]
fn the_mode_is_the_one_that_was_requested() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for wanted in [0o600, 0o644] {
        write_file(&path, b"", wanted).unwrap();
        assert_eq!(mode(&path), wanted);
    }
    make_folder(&folder.path().join("b/c")).unwrap();
    assert_eq!(mode(&folder.path().join("b")), FOLDER_MODE);
    assert_eq!(mode(&folder.path().join("b/c")), FOLDER_MODE);
    open_append(&folder.path().join("log"), FILE_MODE).unwrap();
    assert_eq!(mode(&folder.path().join("log")), FILE_MODE);
}

#[test]
fn a_folder_is_synced_into_its_parent_and_only_when_it_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let log = arm(folder.path(), Fault::None, 0);
    make_folder(&folder.path().join("a/b")).unwrap();
    make_folder(&folder.path().join("a/b")).unwrap();
    assert_eq!(log.steps(), [Step::Folder, Step::SyncFolder, Step::Folder, Step::SyncFolder]);
}

#[test]
fn a_file_in_a_folders_place_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("a"), b"", FILE_MODE).unwrap();
    assert!(matches!(make_folder(&folder.path().join("a")), Err(Error::Io { .. })));
    assert!(matches!(make_folder(&folder.path().join("a/b")), Err(Error::Io { .. })));
}

#[test]
fn what_is_appended_stands_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for line in ["one\n", "two\n"] {
        open_append(&path, FILE_MODE).unwrap().write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
}

#[test]
fn a_lock_names_its_holder_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let first = lock(&path).unwrap().unwrap();
    assert_eq!(lock(&path).unwrap().unwrap_err(), Some(std::process::id()));
    drop(first);
    lock(&path).unwrap().unwrap();
}

#[test]
fn a_lock_is_seen_by_others_for_as_long_as_it_is_held_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    assert!(!is_locked(&path) && !path.exists(), "to look makes no file");
    let held = lock_in_turn(&path).unwrap();
    assert!(is_locked(&path) && lock(&path).unwrap().is_err());
    let copy = Lock::adopt(held.copy().unwrap());
    drop(held);
    assert!(is_locked(&path), "the copy holds it");
    drop(copy);
    assert!(!is_locked(&path));
}

#[test]
fn moving_and_removing_what_is_not_there_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    assert!(!move_file(&a, &b).unwrap());
    assert!(!remove_file(&a).unwrap());
    write_file(&a, b"bytes", FILE_MODE).unwrap();
    assert!(move_file(&a, &b).unwrap());
    assert!(remove_file(&b).unwrap());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_file_that_has_no_folder_to_go_to_is_not_taken_for_one_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write_file(&path, b"bytes", FILE_MODE).unwrap();
    assert!(matches!(move_file(&path, &folder.path().join("none/a")), Err(Error::Io { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
}
