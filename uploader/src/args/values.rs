//! Values of flags and arguments that are more than a text.

use std::str::FromStr;

use clap::ValueEnum;
use devanture_config::digest::{BadIdPrefix, IdPrefix};

/// How `check` tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for each, on stdout
    Text,
    /// Annotations of GitHub Actions, on stdout
    Github,
    /// One line of JSON, as --json
    Json,
}

/// Whose configuration `init --from` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// wrangler.toml, wrangler.json or wrangler.jsonc
    Cloudflare,
    /// firebase.json
    Firebase,
    /// netlify.toml
    Netlify,
    /// vercel.json
    Vercel,
}

impl Provider {
    /// As it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Firebase => "firebase",
            Self::Netlify => "netlify",
            Self::Vercel => "vercel",
        }
    }
}

/// What `delete` ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deletable {
    /// A path of every version that is stored.
    Path(String),
    /// A version.
    Version(IdPrefix),
}

impl FromStr for Deletable {
    type Err = BadIdPrefix;

    fn from_str(text: &str) -> Result<Self, BadIdPrefix> {
        if text.starts_with('/') { Ok(Self::Path(text.to_owned())) } else { text.parse().map(Self::Version) }
    }
}
