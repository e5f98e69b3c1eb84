//! The origin of a bundle: from the user, the repository and the CI system. Failures here never stop a push.
//!
//! The repository is read, and `git` is never run: the configuration of a repository can contain commands, such as
//! filters, hooks and monitors, and a pull request can bring a whole repository as plain files.

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

/// Longest wait of a push for the data of the repository; in a huge work tree the search for changes may take long.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Most characters of a commit, a branch or a message.
const CHARACTERS_MAX: usize = 500;
/// Folders above which no repository is searched, as in git.
const CEILINGS: &str = "GIT_CEILING_DIRECTORIES";

/// The origin of a bundle from the command line, which overrides all other sources.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFlags {
    /// `--commit`.
    pub(crate) commit: Option<String>,
    /// `--branch`.
    pub(crate) branch: Option<String>,
    /// `--message`.
    pub(crate) message: Option<String>,
}

/// Reads the repository of `folder`, and the variables of the CI system.
pub(crate) fn source(folder: &Path, environment: &BTreeMap<String, String>, flags: SourceFlags) -> Source {
    let ceilings = environment.get(CEILINGS).map(|list| std::env::split_paths(list).collect()).unwrap_or_default();
    complete(within(TIME_MAX, folder.to_owned(), ceilings), ci::source(environment), flags)
}

/// Returns the state of the repository, if found within `time`.
fn within(time: Duration, folder: PathBuf, ceilings: Vec<PathBuf>) -> Source {
    let deadline = Instant::now() + time;
    let (sender, receiver) = mpsc::channel();
    // A slow thread is left behind, and ends with the process. Its messages have no receiver then.
    std::thread::spawn(move || read(&folder, &ceilings, deadline, |source| drop(sender.send(source))));
    let mut known = Source::default();
    // The commit is known first; the search for changes takes longer.
    while let Ok(more) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        known = more;
    }
    known
}

/// Merges the data of the user, the CI system and `git`. A head on a branch belongs to a person: `git` is
/// authoritative. A detached head is the checkout of a CI system, possibly of a commit without an author: the CI system
/// is authoritative.
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

/// Reads the repository of `folder`, and reports each part as soon as it is known.
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

/// Returns the tree of a commit, and its subject: the lines up to the first empty one.
fn commit_of(bytes: &[u8]) -> Option<(Id, String)> {
    let text = String::from_utf8_lossy(bytes);
    let tree = text.lines().next()?.strip_prefix("tree ")?.parse().ok()?;
    let (_, message) = text.split_once("\n\n")?;
    let lines = message.trim_start().lines().map(str::trim).take_while(|line| !line.is_empty());
    Some((tree, lines.collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests;
