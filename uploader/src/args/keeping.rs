//! Flags of the commands about what is kept: `delete`, `undelete`, `gc`.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use devanture_config::digest::{BadIdPrefix, IdPrefix};

pub(super) const DELETE_EXAMPLES: &str = "\
Examples:
  devanture delete version 4f2a91         its preview, and what it still answered
  devanture delete environment staging    its hostnames answer 404, and stay its own
  devanture delete app                    all of it; asks for its name
  devanture delete app --yes              … or does not, as in CI
  devanture delete /salaries.pdf --now    a path: live, in previews and aliases, everywhere
  devanture delete /salaries.pdf --undo   every version that has the path answers it again
  devanture delete 4f2a91 --now --purge   for good, with its files: frees a full disk

What was deleted can be had back for a while: `devanture undelete`. A version that is
live, or that an alias points at, is not deleted. A version that is stored later, and
has a path that was deleted, answers it. A push of the same content is none: its
version was stored before.";

pub(super) const UNDELETE_EXAMPLES: &str = "\
Examples:
  devanture undelete                        what can be had back, and until when
  devanture undelete environment staging
  devanture undelete version 4f2a91
  devanture undelete app --app shop";

pub(super) const GC_EXAMPLES: &str = "\
Examples:
  devanture gc --dry-run                  what would go, and why
  devanture gc                            now, and not when its turn comes
  devanture gc --purge                    also what was deleted and could be restored

On a disk that is almost full it removes unreferenced files at once, without the grace
period and `collected_hours`.

Needs a token with the scope admin for every app. [retention] in edge.toml says what is
kept; what is live, aliased, or that a rollback goes to stays, whatever its age.";

/// Flags of `delete`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct DeleteArgs {
    /// app, environment or version and its name; a version's id alone; or a path, which begins with /
    #[arg(value_name = "app|environment|version|ID|PATH")]
    pub(crate) what: Deletable,
    /// Which environment or version, or the app's name once more
    pub(crate) name: Option<String>,
    /// Do not ask for the name
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// The same, for a version or a path
    #[arg(long)]
    pub(crate) now: bool,
    /// Delete for good: it cannot be restored, and its files are removed at once; works on a full disk
    #[arg(long)]
    pub(crate) purge: bool,
    /// Have it back
    #[arg(long, conflicts_with_all = ["now", "yes", "purge"])]
    pub(crate) undo: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `delete` ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deletable {
    /// A path of every version that is stored.
    Path(String),
    /// A version.
    Version(IdPrefix),
    /// What the next word names.
    Named(Undeletable),
}

impl FromStr for Deletable {
    type Err = BadIdPrefix;

    fn from_str(text: &str) -> Result<Self, BadIdPrefix> {
        if text.starts_with('/') {
            return Ok(Self::Path(text.to_owned()));
        }
        match Undeletable::from_str(text, false) {
            Ok(kind) => Ok(Self::Named(kind)),
            Err(_) => text.parse().map(Self::Version),
        }
    }
}

/// A kind of thing that is deleted by its name, and can be had back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Undeletable {
    /// The app, with all that it has
    App,
    /// An environment
    #[value(alias = "env")]
    Environment,
    /// A version
    Version,
}

/// Flags of `undelete`.
#[derive(Debug, Args)]
pub(crate) struct UndeleteArgs {
    /// What to have back; all that can be is listed where nothing is said
    #[arg(value_enum)]
    pub(crate) what: Option<Undeletable>,
    /// Which environment or version, or the app's name once more
    pub(crate) name: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Print what would go, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take files even if more are unreferenced than the edge expects of a catalog in order
    #[arg(long)]
    pub(crate) force: bool,
    /// End also what was deleted and could still be restored, and remove all files at once
    #[arg(long)]
    pub(crate) purge: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_is_a_path_an_id_or_a_word() {
        let read = |text: &str| text.parse::<Deletable>().ok();
        assert_eq!(read("/a"), Some(Deletable::Path("/a".to_owned())));
        assert_eq!(read("4F2A91"), Some(Deletable::Version("4f2a91".parse().unwrap())));
        assert_eq!(read("app"), Some(Deletable::Named(Undeletable::App)));
        assert_eq!(read("env"), Some(Deletable::Named(Undeletable::Environment)));
        assert_eq!(read("environment"), Some(Deletable::Named(Undeletable::Environment)));
        for bad in ["salaries.pdf", "APP", "prod", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
