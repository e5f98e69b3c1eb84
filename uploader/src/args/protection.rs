//! Arguments of `protect` and `share`.

use clap::{Args, Subcommand};
use devanture_config::api::lifetime_s;

pub(super) const PROTECT_EXAMPLES: &str = "\
Examples:
  devanture protect                          what is set for the app
  devanture protect previews token           previews open by share links and tokens alone
  devanture protect previews password        and by a password, which is typed twice, or read from stdin
  devanture protect staging password         an environment, for those who have its password
  devanture protect staging accounts         for the team, who log in with their account of the edge
  devanture protect staging oidc             the same, at the provider of the edge
  devanture protect previews off             no previews at all
  devanture protect previews default         what the edge says again";

pub(super) const SHARE_EXAMPLES: &str = "\
Examples:
  devanture share                            a link to the live version, good for a week
  devanture share feature-x --expires 3d     to an alias, whatever it points to
  devanture share 4f2a91bc03de --password    to a version; its visitors enter a password
  devanture share list
  devanture share revoke 0f1e2d3c4b5a6978";

/// Arguments of `protect`.
#[derive(Debug, Args)]
pub(crate) struct ProtectArgs {
    /// `previews`, or the name of an environment; by default what is set is listed
    #[arg(value_name = "WHAT", requires = "mode")]
    pub(crate) what: Option<String>,
    /// Who may see it: public, password, accounts, oidc, token, off, or default
    pub(crate) mode: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `share`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ShareArgs {
    /// The command; by default a link is made.
    #[command(subcommand)]
    pub(crate) command: Option<ShareCommand>,
    /// Version or alias: its preview; environment: whatever is live there; by default the preview of the live version
    #[arg(value_name = "VERSION|ALIAS|ENV")]
    pub(crate) target: Option<String>,
    /// How long the link is good, such as 7d or 12h; by default a week
    #[arg(long, value_name = "TIME", value_parser = lifetime_s)]
    pub(crate) expires: Option<u64>,
    /// Have visitors enter a password, which is typed twice, or read from stdin
    #[arg(long)]
    pub(crate) password: bool,
}

/// Commands about share links.
#[derive(Debug, Subcommand)]
pub(crate) enum ShareCommand {
    /// List the share links of the app that have not ended
    List,
    /// Revoke a share link: its visitors see nothing any more
    Revoke {
        /// Id of the link, as listed by `list`
        id: String,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}
