//! Where a bundle comes from: what `git` and the CI system say. Nothing that goes wrong here stops a push.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use devanture_config::api::Source;

/// Longest time that a push waits for `git`; in a huge working tree it may take long to tell what has changed.
const GIT_TIME_MAX: Duration = Duration::from_secs(3);
/// Most characters of a commit, a branch or a message.
const CHARACTERS_MAX: usize = 500;
/// Variables that hold the commit, in the order in which they are asked.
const COMMIT_VARIABLES: [&str; 6] =
    ["GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT", "BITBUCKET_COMMIT", "CIRCLE_SHA1", "BUILD_SOURCEVERSION"];
/// Variables that hold the branch. On a pull request `GITHUB_REF_NAME` is `12/merge`, so its head comes first.
const BRANCH_VARIABLES: [&str; 7] = [
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "GIT_BRANCH",
    "BITBUCKET_BRANCH",
    "CIRCLE_BRANCH",
    "BUILD_SOURCEBRANCHNAME",
];

/// Asks `git` about `folder`, and the environment for what `git` does not know; `message` is what the person said.
pub(crate) fn source(folder: &Path, environment: &BTreeMap<String, String>, message: Option<String>) -> Source {
    let (sender, receiver) = mpsc::channel();
    let folder = folder.to_owned();
    // The thread is left behind when it takes too long; it ends with the process.
    std::thread::spawn(move || sender.send(from_git(&folder)));
    let found = receiver.recv_timeout(GIT_TIME_MAX).unwrap_or_default();
    complete(found, environment, message)
}

/// Fills what `git` did not say.
fn complete(found: Source, environment: &BTreeMap<String, String>, message: Option<String>) -> Source {
    let first = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| environment.get(*name));
        values.find(|value| !value.is_empty()).cloned()
    };
    let shortened = |text: String| text.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect();
    Source {
        commit: found.commit.or_else(|| first(&COMMIT_VARIABLES)).map(shortened),
        branch: found.branch.or_else(|| first(&BRANCH_VARIABLES)).map(shortened),
        message: message.or(found.message).map(shortened),
        dirty: found.dirty,
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
        let source = source(folder.path(), &environment, Some("said\nso".to_owned()));
        assert_eq!(source.commit.as_deref(), Some("abc"));
        assert_eq!(source.branch.as_deref(), Some("main"));
        assert_eq!(source.message.as_deref(), Some("saidso"));
        assert!(!source.dirty);
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
        let clean = source(folder.path(), &BTreeMap::new(), None);
        assert_eq!(clean.commit.as_ref().map(String::len), Some(40));
        assert_eq!(clean.branch.as_deref(), Some("feature-x"));
        assert_eq!(clean.message.as_deref(), Some("The subject"));
        assert!(!clean.dirty);
        std::fs::OpenOptions::new().create_new(true).write(true).open(folder.path().join("new")).unwrap();
        assert!(source(folder.path(), &BTreeMap::new(), None).dirty);
    }
}
