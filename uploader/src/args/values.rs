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

/// The framework or generator of a project, as `init --framework` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FrameworkName {
    /// Angular
    Angular,
    /// Astro
    Astro,
    /// Create React App
    CreateReactApp,
    /// Docusaurus
    Docusaurus,
    /// Eleventy
    Eleventy,
    /// Ember
    Ember,
    /// Gatsby
    Gatsby,
    /// Hugo
    Hugo,
    /// Lit
    Lit,
    /// Next.js, exported
    Next,
    /// Nuxt, generated
    Nuxt,
    /// Files as they are, without a framework
    Plain,
    /// Preact
    Preact,
    /// React
    React,
    /// React Router, as a framework
    ReactRouter,
    /// Solid
    Solid,
    /// Svelte
    Svelte,
    /// SvelteKit with adapter-static
    Sveltekit,
    /// Vite, with any library
    Vite,
    /// VitePress
    Vitepress,
    /// Vue
    Vue,
    /// Vue CLI
    VueCli,
}

impl FrameworkName {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
