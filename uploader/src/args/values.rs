//! Values of flags and arguments that are not plain text.

use clap::ValueEnum;

/// The format of the findings of `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for each, on stdout
    Text,
    /// Annotations of GitHub Actions, on stdout
    Github,
    /// One line of JSON, as --json
    Json,
}

/// The provider whose configuration `init --from` reads.
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
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Firebase => "firebase",
            Self::Netlify => "netlify",
            Self::Vercel => "vercel",
        }
    }
}
