//! Commands about settings and secrets.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// Commands about settings.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// List all names, with the values of those that are not secret
    List,
    /// Set one or several; an existing one stays public, private or secret by default
    Set(EnvSetArgs),
    /// Unset names
    Unset {
        /// Names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Flags of `env set`.
#[derive(Clone, Args)]
pub(crate) struct EnvSetArgs {
    /// NAME=VALUE; for NAME and NAME=- the value is read from the terminal or stdin, where other users do not see it
    #[arg(value_name = "NAME=VALUE", required_unless_present = "from")]
    pub(crate) settings: Vec<String>,
    /// Also set every name of a file in the form of .env; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    /// Let the front read them; `=false` undoes it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) public: Option<bool>,
    /// Seal them, and never show them again; `=false` makes them plain settings
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) secret: Option<bool>,
    /// Let `devanture dev --env` read them back, secrets too; `=false` undoes it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) development: Option<bool>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl std::fmt::Debug for EnvSetArgs {
    // A value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("EnvSetArgs");
        shown.field("public", &self.public).field("secret", &self.secret).finish_non_exhaustive()
    }
}
