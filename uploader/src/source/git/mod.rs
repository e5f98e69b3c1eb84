//! Where a bundle comes from: what the person, the repository and the CI system say. Nothing that goes wrong here stops
//! a push.
//!
//! The repository is read, and `git` is never run: what a repository configures, such as filters, hooks and monitors,
//! are commands, and a pull request can bring a whole repository as plain files.

mod changes;
mod index;
mod objects;
mod pack;
mod repository;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use devanture_config::api::Source;

use self::objects::{Id, Kind};
use self::repository::{Head, Repository};
use super::ci;

/// Longest time that a push waits for what is known of the repository; in a huge work tree it may take long to find out
/// what has changed.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Most characters of a commit, a branch or a message.
const CHARACTERS_MAX: usize = 500;
/// Folders above which no repository is looked for, as git has it.
const CEILINGS: &str = "GIT_CEILING_DIRECTORIES";

/// The origin of a bundle by the person's flags; it overrides all else.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFlags {
    /// `--commit`.
    pub(crate) commit: Option<String>,
    /// `--branch`.
    pub(crate) branch: Option<String>,
    /// `--message`.
    pub(crate) message: Option<String>,
}

/// Reads the repository of `folder`, and from the environment what the CI system says.
pub(crate) fn source(folder: &Path, environment: &BTreeMap<String, String>, flags: SourceFlags) -> Source {
    let ceilings = environment.get(CEILINGS).map(|list| std::env::split_paths(list).collect()).unwrap_or_default();
    complete(within(TIME_MAX, folder.to_owned(), ceilings), ci::source(environment), flags)
}

/// The state of the repository, found within `time`.
fn within(time: Duration, folder: PathBuf, ceilings: Vec<PathBuf>) -> Source {
    let deadline = Instant::now() + time;
    let (sender, receiver) = mpsc::channel();
    // The thread is left behind when it takes too long; it ends with the process. Nobody listens then.
    std::thread::spawn(move || read(&folder, &ceilings, deadline, |source| drop(sender.send(source))));
    let mut known = Source::default();
    // What is known first is the commit; whether the tree holds more takes longer.
    while let Ok(more) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        known = more;
    }
    known
}

/// Puts together what the person, the CI system and `git` say. A head that is on a branch is a person's: `git` knows it
/// best. A detached one is what CI systems check out, and may be a commit that nobody wrote: they know where it is
/// from.
fn complete(found: Source, ci: Source, flags: SourceFlags) -> Source {
    let shortened = |text: String| text.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect();
    let is_detached = found.branch.is_none();
    let pick = |git: Option<String>, ci: Option<String>| if is_detached { ci.or(git) } else { git.or(ci) };
    Source {
        commit: flags.commit.or_else(|| pick(found.commit, ci.commit)).map(shortened),
        branch: flags.branch.or_else(|| pick(found.branch, ci.branch)).map(shortened),
        message: flags.message.or_else(|| pick(found.message, ci.message)).map(shortened),
        dirty: found.dirty,
        ci: ci.ci,
        url: ci.url.map(shortened),
    }
}

/// Reads the repository of `folder`, and tells what is known as soon as it is.
fn read(folder: &Path, ceilings: &[PathBuf], deadline: Instant, report: impl Fn(Source)) -> Option<()> {
    let repository = Repository::discover(folder, ceilings)?;
    let Head { commit, branch } = repository.head()?;
    let mut source = Source { commit: Some(commit.to_string()), branch, ..Source::default() };
    report(source.clone());
    let objects = repository.objects()?;
    let (tree, message) = commit_of(&objects.read(commit, Kind::Commit)?)?;
    source.message = Some(message).filter(|message| !message.is_empty());
    report(source.clone());
    source.dirty = changes::exist(&repository, &objects, tree, deadline)?;
    report(source);
    Some(())
}

/// The tree of a commit, and its subject: the lines up to the first empty one.
fn commit_of(bytes: &[u8]) -> Option<(Id, String)> {
    let text = String::from_utf8_lossy(bytes);
    let tree = text.lines().next()?.strip_prefix("tree ")?.parse().ok()?;
    let (_, message) = text.split_once("\n\n")?;
    let lines = message.trim_start().lines().map(str::trim).take_while(|line| !line.is_empty());
    Some((tree, lines.collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests;
