//! The providers whose configuration is read.

/// A provider whose configuration is read.
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
    /// All of them, by their names.
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

    /// The files that are read.
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
