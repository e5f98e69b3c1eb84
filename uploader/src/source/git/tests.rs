//! Compares the data read from a repository with those of git itself.
#![cfg(unix)]

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

/// A change of a work tree.
type Change = fn(&Tree);

/// A work tree, removed with the test.
struct Tree(tempfile::TempDir);

impl Tree {
    /// A repository with a commit of `a.txt`, `dir/b.txt` and 200 files more.
    fn new(format: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.git(&["init", "-q", "-b", "main", "--object-format", format]);
        tree.put("a.txt", "one\n");
        tree.put("dir/b.txt", "two\n");
        (0..200).for_each(|n| tree.put(&format!("many/{n}"), &format!("{n}\n")));
        tree.commit("First");
        tree
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, with a unique modification time.
    fn put(&self, path: &str, text: &str) {
        put(&self.path().join(path), text);
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    fn source(&self) -> Source {
        source_of(self.path())
    }

    /// Checks that the read data match those of git.
    #[track_caller]
    fn agrees_with_git(&self) -> Source {
        let source = self.source();
        let says = |arguments: &[&str]| Some(self.git(arguments).trim_end().to_owned());
        assert_eq!(source.commit, says(&["log", "-1", "--format=%H"]));
        assert_eq!(source.message, says(&["log", "-1", "--format=%s"]));
        assert_eq!(source.branch, says(&["branch", "--show-current"]).filter(|branch| !branch.is_empty()));
        assert_eq!(source.dirty, says(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty()));
        source
    }
}

fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let settings = ["user.name=a", "user.email=a@example.org", "protocol.file.allow=always", "core.autocrlf=false"];
    let mut command = Command::new("git");
    command.args(settings.iter().flat_map(|setting| ["-c", setting])).args(arguments).current_dir(folder);
    let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Reads the data, with enough time for a busy machine.
fn source_of(folder: &Path) -> Source {
    within(Duration::from_secs(60), folder.to_owned(), Vec::new())
}

#[test]
fn a_folder_without_a_repository_asks_the_ci_system() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("GITHUB_SHA", "abc"), ("GITHUB_HEAD_REF", ""), ("GITHUB_REF_NAME", "main")];
    let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let flags = SourceFlags { message: Some("said\nso".to_owned()), ..SourceFlags::default() };
    let source = source(folder.path(), &environment, flags);
    assert_eq!(source.commit.as_deref(), Some("abc"));
    assert_eq!(source.branch.as_deref(), Some("main"));
    assert_eq!(source.message.as_deref(), Some("saidso"));
    assert!(!source.dirty);
}

#[test]
fn the_person_counts_more_than_ci_and_ci_more_than_a_detached_head() {
    let source = |commit: &str, branch: Option<&str>| Source {
        commit: Some(commit.to_owned()),
        branch: branch.map(str::to_owned),
        message: Some(format!("of {commit}")),
        ..Source::default()
    };
    let ci =
        || Source { ci: Some("github".to_owned()), url: Some("https://run".to_owned()), ..source("c", Some("pr")) };
    let flags = |commit: Option<&str>, branch: Option<&str>| SourceFlags {
        commit: commit.map(str::to_owned),
        branch: branch.map(str::to_owned),
        message: None,
    };
    for (git, ci, flags, expected) in [
        (source("g", Some("main")), ci(), flags(None, None), ("g", "main", "of g")),
        (source("g", None), ci(), flags(None, None), ("c", "pr", "of c")),
        (source("g", None), Source::default(), flags(None, None), ("g", "", "of g")),
        (Source::default(), ci(), flags(None, None), ("c", "pr", "of c")),
        (source("g", Some("main")), ci(), flags(Some("s"), Some("b")), ("s", "b", "of g")),
        (source("g", None), Source { message: None, ..ci() }, flags(None, None), ("c", "pr", "of g")),
    ] {
        let found = complete(git, ci, flags);
        let [commit, branch, message] = [found.commit, found.branch, found.message].map(Option::unwrap_or_default);
        assert_eq!((commit.as_str(), branch.as_str(), message.as_str()), expected);
    }
    assert_eq!(complete(Source::default(), ci(), SourceFlags::default()).url.as_deref(), Some("https://run"));
}

#[test]
fn a_repository_knows_its_commit_branch_and_changes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let mut command = Command::new("git");
        assert!(command.args(who).args(arguments).current_dir(folder.path()).output().unwrap().status.success());
    };
    run(&["init", "-q", "-b", "feature-x"]);
    run(&["commit", "-q", "--allow-empty", "-m", "The subject", "-m", "The body"]);
    let clean = source(folder.path(), &BTreeMap::new(), SourceFlags::default());
    assert_eq!(clean.commit.as_ref().map(String::len), Some(40));
    assert_eq!(clean.branch.as_deref(), Some("feature-x"));
    assert_eq!(clean.message.as_deref(), Some("The subject"));
    assert!(!clean.dirty);
    std::fs::OpenOptions::new().create_new(true).write(true).open(folder.path().join("new")).unwrap();
    assert!(source(folder.path(), &BTreeMap::new(), SourceFlags::default()).dirty);
}

#[test]
fn loose_and_packed_objects_of_both_formats_are_read() {
    for format in ["sha1", "sha256"] {
        let tree = Tree::new(format);
        assert!(!tree.agrees_with_git().dirty);
        // Long messages with small differences, and trees of many names, are stored as deltas.
        for n in 0..30 {
            tree.put("many/7", &format!("changed {n}\n"));
            tree.commit(&format!("Change {n}\n\n{}", "The reason is a long one, and the same each time.\n".repeat(40)));
        }
        tree.git(&["checkout", "-q", "HEAD~3"]);
        tree.git(&["gc", "-q", "--aggressive", "--prune=now"]);
        let deltas = tree.git(&["cat-file", "--batch-check=%(objecttype) %(deltabase)", "--batch-all-objects"]);
        for kind in ["tree", "commit"] {
            let bases = deltas.lines().filter_map(|line| line.strip_prefix(kind));
            assert!(bases.into_iter().any(|base| !base.trim_start_matches([' ', '0']).is_empty()), "{kind}: {deltas}");
        }
        let packed = std::fs::read_dir(tree.path().join(".git/objects/pack")).unwrap().count();
        assert!(packed >= 2 && !tree.path().join(".git/refs/heads/main").exists());
        let source = tree.agrees_with_git();
        assert_eq!((source.message.as_deref(), source.branch, source.dirty), (Some("Change 26"), None, false));
        tree.git(&["checkout", "-q", "main"]);
        // The trees above the removed entries are not cached, so that they are read from the pack.
        tree.git(&["rm", "-q", "--cached", "many/7", "dir/b.txt"]);
        tree.git(&["add", "many/7", "dir/b.txt"]);
        assert!(!tree.agrees_with_git().dirty);
        tree.git(&["update-index", "--index-version", "4"]);
        assert!(!tree.agrees_with_git().dirty);
        tree.git(&["repack", "-a", "-d", "-q", "--depth=0"]);
        tree.git(&["rm", "-q", "--cached", "many/8"]);
        assert!(tree.agrees_with_git().dirty);
    }
}

#[test]
fn a_borrowed_object_is_read() {
    let tree = Tree::new("sha1");
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["clone", "-q", "--shared", tree.path().to_str().unwrap(), "clone"]);
    let source = source_of(&folder.path().join("clone"));
    assert_eq!((source.message.as_deref(), source.dirty), (Some("First"), false));
}

#[test]
fn each_kind_of_change_is_seen() {
    let changes: [(&str, Change); 12] = [
        ("longer", |tree| tree.put("a.txt", "one and more\n")),
        ("as long", |tree| tree.put("a.txt", "two\n")),
        ("staged", |tree| {
            tree.put("a.txt", "staged\n");
            tree.git(&["add", "a.txt"]);
        }),
        ("staged and taken back", |tree| {
            tree.put("a.txt", "staged\n");
            tree.git(&["add", "a.txt"]);
            tree.put("a.txt", "one\n");
        }),
        ("removed", |tree| std::fs::remove_file(tree.path().join("dir/b.txt")).unwrap()),
        ("removed from the index", |tree| drop(tree.git(&["rm", "-q", "--cached", "a.txt"]))),
        ("new", |tree| tree.put("dir/new", "new\n")),
        ("meant to be added", |tree| {
            tree.put("new", "new\n");
            tree.git(&["add", "-N", "new"]);
        }),
        ("a folder in its place", |tree| {
            std::fs::remove_file(tree.path().join("a.txt")).unwrap();
            tree.put("a.txt/b", "");
        }),
        ("a link in its place", |tree| {
            std::fs::remove_file(tree.path().join("a.txt")).unwrap();
            symlink("dir/b.txt", tree.path().join("a.txt")).unwrap();
        }),
        ("a link above it", |tree| {
            tree.put("other/b.txt", "two\n");
            tree.commit("Other");
            std::fs::remove_dir_all(tree.path().join("dir")).unwrap();
            symlink("other", tree.path().join("dir")).unwrap();
        }),
        ("a repository of its own", |tree| {
            git(tree.path(), &["init", "-q", "nested"]);
            put(&tree.path().join("nested/file"), "");
        }),
    ];
    for (name, change) in changes {
        let tree = Tree::new("sha1");
        change(&tree);
        assert!(tree.agrees_with_git().dirty, "{name}");
    }
}

#[test]
fn what_is_committed_or_ignored_is_no_change() {
    let tree = Tree::new("sha1");
    tree.put(".gitignore", "*.log\n/dist/\n!keep.log\n");
    tree.put(".git/info/exclude", "excluded\n");
    symlink("a.txt", tree.path().join("link")).unwrap();
    tree.commit("Ignore");
    for ignored in ["a.log", "dir/b.log", "dist/index.html", "excluded", "dist/.git/config"] {
        tree.put(ignored, "ignored\n");
    }
    assert!(!tree.agrees_with_git().dirty);
    // Written again with the same content.
    tree.put("a.txt", "one\n");
    assert!(!tree.source().dirty);
    tree.put("keep.log", "new\n");
    assert!(tree.agrees_with_git().dirty);
}

#[test]
fn a_file_that_git_stores_in_another_form_is_known_again() {
    let tree = Tree::new("sha1");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"large\n");
    let oid: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    tree.put("large.bin", &format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 6\n"));
    tree.commit("A pointer, and a text");
    tree.put("large.bin", "large\n");
    tree.put("a.txt", "one\r\n");
    assert!(!tree.source().dirty);
    tree.put("large.bin", "other\n");
    assert!(tree.source().dirty);
}

#[test]
fn linked_work_trees_and_submodules_are_read_where_both_sides_name_each_other() {
    let tree = Tree::new("sha1");
    let folder = tempfile::tempdir().unwrap();
    let linked = folder.path().join("linked");
    tree.git(&["worktree", "add", "-q", "-b", "feature", linked.to_str().unwrap()]);
    let source = source_of(&linked.join("dir"));
    assert_eq!(
        (source.branch.as_deref(), source.message.as_deref(), source.dirty),
        (Some("feature"), Some("First"), false)
    );

    let outer = Tree::new("sha1");
    outer.git(&["submodule", "--quiet", "add", tree.path().to_str().unwrap(), "sub"]);
    outer.commit("Outer");
    assert_eq!(source_of(&outer.path().join("sub")).message.as_deref(), Some("First"));
    assert!(!outer.agrees_with_git().dirty);

    // A file that names a repository which does not name it back may come from a stranger.
    for target in [tree.path().join(".git"), tree.path().join(".git/worktrees/linked"), linked.join(".git")] {
        let stranger = tempfile::tempdir().unwrap();
        put(&stranger.path().join(".git"), &format!("gitdir: {}\n", target.display()));
        assert_eq!(source_of(stranger.path()), Source::default(), "{}", target.display());
    }
    // A folder of the attacker that names the victim's repository as the common one.
    let stranger = tempfile::tempdir().unwrap();
    let real = std::fs::canonicalize(stranger.path()).unwrap();
    put(&real.join(".git"), "gitdir: own\n");
    put(&real.join("own/gitdir"), real.join(".git").to_str().unwrap());
    put(&real.join("own/commondir"), tree.path().join(".git").to_str().unwrap());
    put(&real.join("own/HEAD"), "ref: refs/heads/main\n");
    assert_eq!(source_of(&real), Source::default());
    // A link to the repository.
    let stranger = tempfile::tempdir().unwrap();
    symlink(tree.path().join(".git"), stranger.path().join(".git")).unwrap();
    assert_eq!(source_of(stranger.path()), Source::default());
}

#[test]
fn the_search_ends_below_a_ceiling() {
    let tree = Tree::new("sha1");
    let dir = std::fs::canonicalize(tree.path().join("dir")).unwrap();
    let found = |ceiling: &Path| Repository::discover(&dir, &[ceiling.to_owned()]).is_some();
    assert!(found(&dir), "git asks the folder itself whatever the list says");
    assert!(found(dir.parent().unwrap().parent().unwrap()));
    assert!(!found(dir.parent().unwrap()));
}

#[test]
fn a_repository_without_a_commit_or_of_an_unknown_form_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"]);
    assert_eq!(source_of(folder.path()), Source::default());
    for head in ["ref: refs/heads/.invalid\n", "ref: ../../secret\n", "\u{1b}[2J\n", "", "ref: HEAD\n"] {
        put(&folder.path().join(".git/HEAD"), head);
        assert_eq!(source_of(folder.path()), Source::default(), "{head:?}");
    }
}
