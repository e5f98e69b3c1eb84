//! Tests of backend folders on a real disk.

use std::io::Write as _;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::manifest::ServerFile;

use super::*;
use devanture_store::blobs::Key;

struct Setup {
    root: tempfile::TempDir,
    blobs: Arc<dyn Blobs>,
    app: AppName,
}

impl Setup {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let blobs = devanture_store::blobs::open(root.path().join("blobs")).unwrap();
        Self { root, blobs, app: "shop".parse().unwrap() }
    }

    fn folders(&self) -> Folders {
        self.with(Interpreters::default())
    }

    fn with(&self, interpreters: Interpreters) -> Folders {
        let root = self.root.path().join("run");
        Folders::open(root, (Users::Same, interpreters), Arc::clone(&self.blobs), false).unwrap()
    }

    async fn folder(&self, files: &[(&str, &str, bool)]) -> ServerFolder {
        let mut folder = ServerFolder::default();
        for (path, text, run) in files {
            let (hash, size) = (Digest::of(text.as_bytes()), text.len() as u64);
            self.blobs.put(Key::Blob(hash), Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
            folder.files.insert(path.parse().unwrap(), ServerFile { hash, run: *run, size });
        }
        folder
    }

    fn layout<'l>(&'l self, digest: &'l Digest, folder: ServerFolder) -> Layout<'l> {
        Layout { app: &self.app, place: "prod", settings_place: "prod", digest, folder, uid: None, persist: None }
    }
}

#[tokio::test]
async fn the_code_of_a_backend_is_laid_out_read_only_with_its_run_bits_and_links() {
    let setup = Setup::new();
    let folders = setup.folders();
    let mut folder = setup.folder(&[("server.js", "code", false), ("bin/run", "#!/bin/sh", true)]).await;
    folder.links.insert("bin/link".parse().unwrap(), "run".to_owned());
    let (digest, kept) = (Digest::of(b"1"), setup.root.path().join("kept"));
    durable::make_folder(&kept).unwrap();
    let persist = "var/data".parse().unwrap();
    let layout = Layout { persist: Some((&persist, &kept)), ..setup.layout(&digest, folder.clone()) };
    let code = folders.code(layout).await.unwrap();
    let mode = |name: &str| std::fs::metadata(code.path.join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode(""), mode("bin"), mode("server.js"), mode("bin/run")), (0o555, 0o555, 0o644, 0o755));
    assert_eq!(std::fs::read_to_string(code.path.join("bin/link")).unwrap(), "#!/bin/sh");
    assert_eq!(std::fs::read_link(code.path.join("var/data")).unwrap(), kept);
    let again = folders.code(setup.layout(&digest, folder)).await.unwrap();
    assert!(Arc::ptr_eq(&code, &again));
}

#[tokio::test]
async fn a_virtual_environment_has_the_interpreter_of_the_edge_also_after_that_moved() {
    let setup = Setup::new();
    let mut folder = setup.folder(&[("v/pyvenv.cfg", "home = /opt/python/bin\n", false), ("app.py", "", false)]).await;
    folder.links.insert("v/bin/python3".parse().unwrap(), "/interpreters/python3.11".to_owned());
    folder.links.insert("v/bin/python".parse().unwrap(), "python3".to_owned());
    let digest = Digest::of(b"1");
    let refused = setup.folders().code(setup.layout(&digest, folder.clone())).await.unwrap_err();
    assert!(matches!(refused, Error::Interpreter { .. }), "{refused}");
    for name in ["old", "new"] {
        let bin = setup.root.path().join(name);
        let program = bin.join("python3.11");
        durable::make_folder(&bin).unwrap();
        durable::new_file(&program, 0o755, Owner::default(), |to| to.write_all(name.as_bytes())).unwrap();
        let folders = setup.with(Interpreters::new([("python3.11".parse().unwrap(), program)].into()));
        let code = folders.code(setup.layout(&digest, folder.clone())).await.unwrap();
        let text = |path: &str| std::fs::read_to_string(code.path.join(path)).unwrap();
        assert_eq!((text("v/bin/python").as_str(), text("v/bin/python3").as_str()), (name, name));
        assert_eq!(text("v/pyvenv.cfg"), format!("home = {}\n", bin.display()));
    }
}

#[tokio::test]
async fn a_rewritten_file_is_not_linked_into_later_code() {
    let setup = Setup::new();
    let text = "home = /opt/python/bin\n";
    let mut folder = setup.folder(&[("v/pyvenv.cfg", text, false)]).await;
    folder.links.insert("v/bin/python3".parse().unwrap(), "/interpreters/python3.11".to_owned());
    let program = setup.root.path().join("python3.11");
    durable::new_file(&program, 0o755, Owner::default(), |to| to.write_all(b"")).unwrap();
    let folders = setup.with(Interpreters::new([("python3.11".parse().unwrap(), program)].into()));
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let first = folders.code(setup.layout(&one, folder)).await.unwrap();
    assert_ne!(std::fs::read_to_string(first.path.join("v/pyvenv.cfg")).unwrap(), text);
    let later = setup.folder(&[("copy.cfg", text, false)]).await;
    let second = folders.code(setup.layout(&two, later)).await.unwrap();
    assert_eq!(std::fs::read_to_string(second.path.join("copy.cfg")).unwrap(), text);
}

#[tokio::test]
async fn code_goes_when_nobody_has_it() {
    let setup = Setup::new();
    let folders = setup.folders();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let first = folders.code(setup.layout(&one, setup.folder(&[("a", "1", false)]).await)).await.unwrap();
    let second = folders.code(setup.layout(&two, setup.folder(&[("a", "2", false)]).await)).await.unwrap();
    folders.tidy(&setup.app).await;
    assert!(first.path.is_dir() && second.path.is_dir());
    let path = first.path.clone();
    drop(first);
    folders.tidy(&setup.app).await;
    assert!(!path.exists() && second.path.is_dir());
    // A new run of the edge finds and adopts the existing folder.
    let path = second.path.clone();
    drop(folders);
    let folders = setup.folders();
    let before = std::fs::metadata(path.join("a")).unwrap().ino();
    let kept = folders.code(setup.layout(&two, setup.folder(&[("a", "2", false)]).await)).await.unwrap();
    assert_eq!(std::fs::metadata(kept.path.join("a")).unwrap().ino(), before);
    drop(kept);
    folders.tidy_all().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn an_app_without_code_is_forgotten_unless_somebody_works_on_it() {
    let setup = Setup::new();
    let folders = setup.folders();
    let digest = Digest::of(b"1");
    let code = folders.code(setup.layout(&digest, setup.folder(&[("a", "1", false)]).await)).await.unwrap();
    let is_known = || folders.apps.lock().contains_key(&setup.app);
    folders.tidy(&setup.app).await;
    assert!(is_known());
    drop(code);
    let works = folders.of(&setup.app);
    folders.tidy(&setup.app).await;
    assert!(is_known());
    drop(works);
    folders.tidy(&setup.app).await;
    assert!(!is_known());
    // The removal of all its folders leaves nothing either.
    folders.forget(&setup.app, None).await.unwrap();
    assert!(!is_known());
}

#[tokio::test]
async fn what_fails_leaves_nothing_behind() {
    let setup = Setup::new();
    let folders = setup.folders();
    let mut folder = setup.folder(&[("a", "1", false)]).await;
    let missing = ServerFile { hash: Digest::of(b"never put"), run: false, size: 9 };
    folder.files.insert("b".parse().unwrap(), missing);
    let digest = Digest::of(b"1");
    assert!(matches!(folders.code(setup.layout(&digest, folder)).await, Err(Error::Folder(_))));
    assert_eq!(std::fs::read_dir(setup.root.path().join("run/code/shop/prod")).unwrap().count(), 0);
    // The persistent folder must not collide with a path of the bundle.
    let folder = setup.folder(&[("data/a", "1", false)]).await;
    let persist = "data".parse().unwrap();
    let layout = Layout { persist: Some((&persist, Path::new("/x"))), ..setup.layout(&digest, folder) };
    assert!(folders.code(layout).await.unwrap_err().to_string().contains("in the way of `data/a`"));
}

#[tokio::test]
async fn previews_have_folders_apart_from_those_of_environments() {
    let setup = Setup::new();
    let folders = setup.folders();
    let digest = Digest::of(b"1");
    let folder = setup.folder(&[("a", "1", false)]).await;
    let preview = Layout { settings_place: PREVIEW, ..setup.layout(&digest, folder.clone()) };
    let (own, preview) =
        (folders.code(setup.layout(&digest, folder)).await.unwrap(), folders.code(preview).await.unwrap());
    assert_ne!(own.path, preview.path);
    assert_ne!(folders.temporary(&setup.app, "prod"), folders.temporary(&setup.app, PREVIEW));
    let path = preview.path.clone();
    drop(preview);
    folders.tidy_all().await;
    assert!(!path.exists() && own.path.exists());
}

#[tokio::test]
async fn what_an_environment_or_all_previews_have_kept_goes_and_nothing_else() {
    let setup = Setup::new();
    let folders = setup.folders();
    let of_preview = [folders.data(&setup.app, PREVIEW, "feature"), folders.temporary(&setup.app, PREVIEW)];
    let of_staging = [folders.data(&setup.app, "staging", "staging"), folders.snapshots(&setup.app, "staging")];
    let of_prod = folders.data(&setup.app, "prod", "prod");
    for folder in of_preview.iter().chain(&of_staging).chain([&of_prod]) {
        durable::make_folder(folder).unwrap();
    }
    let is_there = |folders: &[PathBuf]| folders.iter().map(|folder| folder.exists()).collect::<Vec<_>>();
    folders.forget(&setup.app, Some(&PlaceName::preview())).await.unwrap();
    assert_eq!((is_there(&of_preview), is_there(&of_staging)), (vec![false; 2], vec![true; 2]));
    folders.forget(&setup.app, Some(&"staging".parse().unwrap())).await.unwrap();
    assert_eq!((is_there(&of_staging), of_prod.exists()), (vec![false; 2], true));
}

#[tokio::test]
async fn an_edge_starts_whatever_an_earlier_run_left() {
    let setup = Setup::new();
    drop(setup.folders());
    let root = setup.root.path().join("run");
    durable::make_folder(&root.join("run/1/2/3")).unwrap();
    let half = root.join("code/shop/prod/.0123.tmp");
    durable::make_folder(&half).unwrap();
    let folders = setup.folders();
    assert_eq!(std::fs::read_dir(root.join("run")).unwrap().count(), 0);
    folders.tidy_all().await;
    assert!(!half.exists());
    let is_old =
        |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().starts_with(OLD_RUN);
    while std::fs::read_dir(&root).unwrap().any(is_old) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_folder_of_an_app_is_no_link_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let (own, link) = (folder.path().join("own"), folder.path().join("link"));
    durable::make_folder(&own).unwrap();
    durable::link_to(&own, &link).unwrap();
    assert!(check_own(&own, uid).is_ok());
    assert!(check_own(&own, uid + 1).is_err() && check_own(&link, uid).is_err());
    assert!(check_own(&folder.path().join("missing"), uid).is_err());
}
