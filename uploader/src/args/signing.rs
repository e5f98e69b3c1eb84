//! Arguments of `sign`, `signers`, `verify` and `live-log`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use devanture_config::IdPrefix;
use url::Url;

pub(super) const SIGN_EXAMPLES: &str = "\
Examples:
  devanture sign 4f2a91 --key ~/.ssh/id_ed25519        a key in a file
  devanture sign 4f2a91 --key ~/.ssh/id_ed25519.pub    a key that ssh-agent holds
  devanture sign 4f2a91                                list the signatures of the version";

pub(super) const SIGNERS_EXAMPLES: &str = "\
Examples:
  devanture signers                                    whose signatures the environment wants
  devanture signers set ada.pub bob.pub --min 2        both have to sign
  devanture signers set 'ssh-ed25519 AAAAC3… ada' --env staging
  devanture signers off                                versions need no signature

Only an admin of the environment may change them.";

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  devanture verify https://shop.example.org --signer ada.pub
  devanture verify https://shop.example.org --signer ada.pub --signer bob.pub --min 2
  devanture verify https://shop.example.org --signer ada.pub --log kept.ndjson

Exits with 1 if a byte is not of the signed version.";

pub(super) const LIVE_LOG_EXAMPLES: &str = "\
Examples:
  devanture live-log                                   what was live when, the oldest first
  devanture live-log --export > kept.ndjson            each entry as a line of JSON, to be kept elsewhere";

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Id of the version, or at least its first 6 characters
    pub(crate) id: IdPrefix,
    /// File with an Ed25519 private key of OpenSSH, or with a public key that ssh-agent holds; may be given again
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub(crate) key: Vec<String>,
}

/// Arguments of `signers`.
#[derive(Debug, Args)]
pub(crate) struct SignersArgs {
    /// The command; by default the signers are listed.
    #[command(subcommand)]
    pub(crate) command: Option<SignersCommand>,
}

/// Commands about signers.
#[derive(Debug, Subcommand)]
pub(crate) enum SignersCommand {
    /// List whose signatures the environment wants
    List,
    /// Set whose signatures the environment wants; what is live stays live
    Set {
        /// Public keys: files, or the keys themselves
        #[arg(required = true, value_name = "KEY", value_hint = ValueHint::FilePath)]
        keys: Vec<String>,
        /// How many of them have to sign a version
        #[arg(long, value_name = "N", default_value_t = 1)]
        min: u64,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Let versions go live without a signature
    Off {
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Address of the live site
    #[arg(value_name = "SITE", value_hint = ValueHint::Url)]
    pub(crate) site: Url,
    /// Public key that you trust: a file, or the key itself; may be given again
    #[arg(long, value_name = "KEY", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) signer: Vec<String>,
    /// How many of them have to have signed the version
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min: u64,
    /// Earlier export of the log, which the log of now has to continue
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,
    /// Path of a file or a page that is not checked, as a rule leads it elsewhere; with `*` all below; may be given
    /// again
    #[arg(long, value_name = "PATH")]
    pub(crate) except: Vec<String>,
}

/// Arguments of `live-log`.
#[derive(Debug, Args)]
pub(crate) struct LiveLogArgs {
    /// Print each entry as a line of JSON
    #[arg(long)]
    pub(crate) export: bool,
}
