//! The file `format` of a folder, and the search for files in a folder before the opening as a store.

use super::*;

fn error_of(format: &[u8]) -> String {
    let data = tempfile::tempdir().unwrap();
    durable::write_file(&data.path().join("format"), format, 0o600).unwrap();
    crate::blobs::check_format(data.path()).unwrap_err().to_string()
}

#[test]
fn a_folder_of_another_release_and_one_whose_format_is_damaged_are_reported_as_what_they_are() {
    for format in ["devanture 2\n", "devanture 4294967295"] {
        let error = error_of(format.as_bytes());
        assert!(error.contains("written by another release") && !error.contains("damaged"), "{error}");
    }
    for format in ["", "devanture", "devanture x\n", "devanture 1 2", "Devanture 2", "2"] {
        let error = error_of(format.as_bytes());
        assert!(error.contains("damaged: write `devanture 1` into it"), "{error}");
    }
}

/// A check of the configuration may run as a user other than the edge.
#[cfg(target_os = "linux")]
#[test]
fn a_format_that_the_caller_may_not_read_is_not_checked() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("format");
    durable::write_file(&path, b"devanture 2\n", 0o600).unwrap();
    assert!(crate::blobs::check_format(data.path()).is_err());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    let check = || {
        // Root may read all files: this thread is a different user until its end.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).ok();
        assert_eq!(std::fs::read(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
        crate::blobs::check_format(data.path())
    };
    std::thread::scope(|scope| scope.spawn(check).join()).unwrap().unwrap();
}

/// Otherwise an edge without a catalog would begin with an empty one and collect every file.
#[test]
fn a_folder_holds_files_from_the_first_blob_or_manifest_on_and_not_for_its_folders() {
    let bytes = sample(1, 10);
    for key in [blob(&bytes), Key::Manifest(Digest::of(&bytes))] {
        let data = tempfile::tempdir().unwrap();
        let root = data.path().join("data");
        let holds_files = || crate::blobs::holds_files(&root).unwrap();
        assert!(!holds_files(), "there is no folder");
        let folder = Folder::open(root.clone(), OPEN_FILES_MAX).unwrap();
        assert!(!holds_files(), "{key:?}");
        folder.put(key, &bytes).unwrap();
        assert!(holds_files(), "{key:?}");
        folder.delete(key).unwrap();
        assert!(path_of(&root, key).parent().unwrap().is_dir() && !holds_files(), "{key:?}");
    }
}
