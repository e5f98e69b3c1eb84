//! Commands about settings and secrets.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// List all names, and the values of those that are no secrets
    List,
    /// Set one or several; each keeps its kind where nothing is said of that
    Set(EnvSetArgs),
    /// Take names away
    Unset {
        /// The names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Flags of `env set`.
#[derive(Args)]
pub(crate) struct EnvSetArgs {
    /// NAME=VALUE; of NAME alone, and of NAME=-, the value is asked for, or comes by stdin, where other users do not see it
    #[arg(value_name = "NAME=VALUE", required_unless_present = "from")]
    pub(crate) settings: Vec<String>,
    /// Set every name of a file in the form of .env as well; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    /// Let the front read them; `=false` takes that back
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) public: Option<bool>,
    /// Seal them, and never show them again; `=false` makes plain settings of them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) secret: Option<bool>,
    /// Say what would change, and change nothing
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
