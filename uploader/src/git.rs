//! Where a bundle comes from: what the person, `git` and the CI system say. Nothing that goes wrong here stops a push.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use devanture_config::api::Source;

use crate::ci;

/// Longest time that a push waits for `git`; in a huge working tree it may take long to tell what has changed.
const GIT_TIME_MAX: Duration = Duration::from_secs(3);
/// Most characters of a commit, a branch or a message.
const CHARACTERS_MAX: usize = 500;
/// What the person says of where a bundle comes from; it counts more than all else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// `--commit`.
    pub(crate) commit: Option<String>,
    /// `--branch`.
    pub(crate) branch: Option<String>,
    /// `--message`.
    pub(crate) message: Option<String>,
}

/// Asks `git` about `folder`, and the environment for what the CI system knows.
pub(crate) fn source(folder: &Path, environment: &BTreeMap<String, String>, said: Said) -> Source {
    let (sender, receiver) = mpsc::channel();
    let folder = folder.to_owned();
    // The thread is left behind when it takes too long; it ends with the process.
    std::thread::spawn(move || sender.send(from_git(&folder)).is_ok());
    let found = receiver.recv_timeout(GIT_TIME_MAX).unwrap_or_default();
    complete(found, ci::source(environment), said)
}

/// Puts together what the person, the CI system and `git` say. A head that is on a branch is a person's: `git` knows it
/// best. A detached one is what CI systems check out, and may be a commit that nobody wrote: they know where it is from.
fn complete(found: Source, ci: Source, said: Said) -> Source {
    let shortened = |text: String| text.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect();
    let is_detached = found.branch.is_none();
    let pick = |git: Option<String>, ci: Option<String>| if is_detached { ci.or(git) } else { git.or(ci) };
    Source {
        commit: said.commit.or_else(|| pick(found.commit, ci.commit)).map(shortened),
        branch: said.branch.or_else(|| pick(found.branch, ci.branch)).map(shortened),
        message: said.message.or_else(|| pick(found.message, ci.message)).map(shortened),
        dirty: found.dirty,
        ci: ci.ci,
        url: ci.url.map(shortened),
    }
}

fn from_git(folder: &Path) -> Source {
    let Some(head) = git(folder, &["log", "-1", "--no-show-signature", "--format=%H%n%s"]) else {
        return Source::default();
    };
    let mut lines = head.lines();
    let line = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    Source {
        commit: line(lines.next()),
        message: line(lines.next()),
        // A detached head, which is what most CI systems check out, has no branch.
        branch: line(git(folder, &["symbolic-ref", "--short", "-q", "HEAD"]).as_deref().map(str::trim)),
        dirty: git(folder, &["status", "--porcelain"]).is_some_and(|changes| !changes.trim().is_empty()),
        ci: None,
        url: None,
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // A question must not start what the repository's settings name, nor take a lock that a person waits for.
        .args(["-c", "core.fsmonitor=false", "--no-optional-locks"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_repository_asks_the_ci_system() {
        let folder = tempfile::tempdir().unwrap();
        let environment = [("GITHUB_SHA", "abc"), ("GITHUB_HEAD_REF", ""), ("GITHUB_REF_NAME", "main")];
        let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let said = Said { message: Some("said\nso".to_owned()), ..Said::default() };
        let source = source(folder.path(), &environment, said);
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
        let said = |commit: Option<&str>, branch: Option<&str>| Said {
            commit: commit.map(str::to_owned),
            branch: branch.map(str::to_owned),
            message: None,
        };
        for (git, ci, said, expected) in [
            (source("g", Some("main")), ci(), said(None, None), ("g", "main", "of g")),
            (source("g", None), ci(), said(None, None), ("c", "pr", "of c")),
            (source("g", None), Source::default(), said(None, None), ("g", "", "of g")),
            (Source::default(), ci(), said(None, None), ("c", "pr", "of c")),
            (source("g", Some("main")), ci(), said(Some("s"), Some("b")), ("s", "b", "of g")),
            (source("g", None), Source { message: None, ..ci() }, said(None, None), ("c", "pr", "of g")),
        ] {
            let found = complete(git, ci, said);
            let [commit, branch, message] = [found.commit, found.branch, found.message].map(Option::unwrap_or_default);
            assert_eq!((commit.as_str(), branch.as_str(), message.as_str()), expected);
        }
        assert_eq!(complete(Source::default(), ci(), Said::default()).url.as_deref(), Some("https://run"));
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
        let clean = source(folder.path(), &BTreeMap::new(), Said::default());
        assert_eq!(clean.commit.as_ref().map(String::len), Some(40));
        assert_eq!(clean.branch.as_deref(), Some("feature-x"));
        assert_eq!(clean.message.as_deref(), Some("The subject"));
        assert!(!clean.dirty);
        std::fs::OpenOptions::new().create_new(true).write(true).open(folder.path().join("new")).unwrap();
        assert!(source(folder.path(), &BTreeMap::new(), Said::default()).dirty);
    }
}
