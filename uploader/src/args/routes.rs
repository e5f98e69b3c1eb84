//! Flags of `routes`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Examples of `routes`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture routes                        every route in the order in which they are asked
  devanture routes /api/x                 what answers this path, and why
  devanture routes '/cart?id=7' --env staging
  devanture routes /app.js dist           … of a given folder
  devanture routes /cart --header 'Accept: application/json' --header 'Cookie: beta=1'
  devanture routes /api/x --method POST --json | jq -r .answer.to

Nothing is sent, and no edge is asked: it is what a push of the folder would answer.";

/// Flags of `routes`.
#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    /// The path, which begins with /, or a whole address; without one all routes are listed
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// The folder; `www` of devanture.toml where nothing is said
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// How it is asked for
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// A field of the request, such as 'Accept: */*'; a browser's where none says what is wanted
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
}
