//! Flags of the commands about retention: `delete`, `undelete`, `gc`.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use devanture_config::{BadIdPrefix, IdPrefix};

pub(super) const DELETE_EXAMPLES: &str = "\
Examples:
  devanture delete version 4f2a91         its preview, and assets that it still served
  devanture delete environment staging    its hostnames answer 404, and stay reserved
  devanture delete app                    everything; asks for its name
  devanture delete app --yes              … without asking, as in CI
  devanture delete /salaries.pdf --now    a path: live, in previews and aliases, everywhere
  devanture delete /salaries.pdf --undo   every version that has the path answers it again
  devanture delete 4f2a91 --now --purge   permanently, with its files: frees a full disk

What was deleted can be restored for a while: `devanture undelete`. A version that is
live, or that an alias points at, cannot be deleted. A deleted path is answered again by
versions that are stored later, but not by a push of the same content, whose version was
stored before.";

pub(super) const UNDELETE_EXAMPLES: &str = "\
Examples:
  devanture undelete                      what can be restored, and for how long
  devanture undelete environment staging
  devanture undelete version 4f2a91
  devanture undelete app --app shop";

pub(super) const GC_EXAMPLES: &str = "\
Examples:
  devanture gc --dry-run                  what would be removed, and why
  devanture gc                            now, instead of at the next regular run
  devanture gc --purge                    also what was deleted and could still be restored

On a disk that is almost full it removes unreferenced files at once, without the grace
period and `collected_hours`.

Needs a token with the scope admin for every app. [retention] in edge.toml sets how
long versions stay; what is live, aliased or the target of a rollback stays in any case.";

/// Flags of `delete`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct DeleteArgs {
    /// app, environment or version, then its name; the id of a version; or a path, which begins with /
    #[arg(value_name = "app|environment|version|ID|PATH")]
    pub(crate) what: Deletable,
    /// Environment or version, or the app's name again
    pub(crate) name: Option<String>,
    /// Do not ask for the name
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// The same, for a version or a path
    #[arg(long)]
    pub(crate) now: bool,
    /// Delete permanently: it cannot be restored, and its files are removed at once; works on a full disk
    #[arg(long)]
    pub(crate) purge: bool,
    /// Restore it
    #[arg(long, conflicts_with_all = ["now", "yes", "purge"])]
    pub(crate) undo: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The target of `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deletable {
    /// A path of every stored version.
    Path(String),
    /// A version.
    Version(IdPrefix),
    /// The kind of thing that the next argument names.
    Named(Undeletable),
}

/// A text that does not name a deletable object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; `delete environment NAME` and `delete app NAME` delete by name")]
pub(crate) struct BadDeletable(BadIdPrefix);

impl FromStr for Deletable {
    type Err = BadDeletable;

    fn from_str(text: &str) -> Result<Self, BadDeletable> {
        if text.starts_with('/') {
            return Ok(Self::Path(text.to_owned()));
        }
        match Undeletable::from_str(text, false) {
            Ok(kind) => Ok(Self::Named(kind)),
            Err(_) => text.parse().map(Self::Version).map_err(BadDeletable),
        }
    }
}

/// A kind of thing that is deleted by its name and can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Undeletable {
    /// The app, with everything in it
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
    /// What to restore; without it, what can be restored is listed
    #[arg(value_enum)]
    pub(crate) what: Option<Undeletable>,
    /// Environment or version, or the app's name again
    pub(crate) name: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Print what would be removed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove files even if more are unreferenced than the edge expects of an intact catalog
    #[arg(long)]
    pub(crate) force: bool,
    /// Also end what could still be restored, and remove all of its files at once
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
