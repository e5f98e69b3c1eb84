//! The supported providers.

/// A supported provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Cloudflare.
    Cloudflare,
    /// Firebase.
    Firebase,
    /// Netlify.
    Netlify,
    /// Vercel.
    Vercel,
}

impl Provider {
    /// All providers, by name.
    pub const ALL: [Self; 4] = [Self::Cloudflare, Self::Firebase, Self::Netlify, Self::Vercel];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Firebase => "firebase",
            Self::Netlify => "netlify",
            Self::Vercel => "vercel",
        }
    }

    /// Returns the names of the read files.
    #[must_use]
    pub const fn files(self) -> &'static str {
        match self {
            Self::Cloudflare => "wrangler.toml, wrangler.json or wrangler.jsonc",
            Self::Firebase => "firebase.json",
            Self::Netlify => "netlify.toml",
            Self::Vercel => "vercel.json",
        }
    }
}
