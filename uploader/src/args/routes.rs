//! Flags of `routes`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::halves::OnlyArgs;

/// Examples of `routes`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture routes                        every route, in order of precedence
  devanture routes /api/x                 what answers this path, and why
  devanture routes '/cart?id=7' --env staging
  devanture routes /app.js dist           … of a given folder
  devanture routes /cart --header 'Accept: application/json' --header 'Cookie: beta=1'
  devanture routes /cart --only front     … without the backend's folder
  devanture routes /api/x --method POST --json | jq -r .answer.to

Nothing is sent, and no edge is contacted: this is how the folder would answer once pushed.";

/// Flags of `routes`.
#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    /// Path, which begins with /, or a whole URL; without one all routes are listed
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// The folder; by default `www` of devanture.toml
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// Field of the request, such as 'Accept: */*'; by default those of a browser
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// The half to read, if it is one alone.
    #[command(flatten)]
    pub(crate) half: OnlyArgs,
}
