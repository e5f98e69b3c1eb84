//! The names of the frameworks and generators known to `init`.

/// The framework or generator of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameworkName {
    /// Angular.
    Angular,
    /// Astro.
    Astro,
    /// Create React App.
    CreateReactApp,
    /// Docusaurus.
    Docusaurus,
    /// Eleventy.
    Eleventy,
    /// Ember.
    Ember,
    /// Gatsby.
    Gatsby,
    /// Hugo.
    Hugo,
    /// Lit.
    Lit,
    /// Next.js, exported.
    Next,
    /// Nuxt, generated.
    Nuxt,
    /// Plain files, without a framework.
    Plain,
    /// Preact.
    Preact,
    /// React.
    React,
    /// React Router, as a framework.
    ReactRouter,
    /// Solid.
    Solid,
    /// Svelte.
    Svelte,
    /// SvelteKit with adapter-static.
    Sveltekit,
    /// Vite, with any library.
    Vite,
    /// VitePress.
    Vitepress,
    /// Vue.
    Vue,
    /// Vue CLI.
    VueCli,
}

impl FrameworkName {
    /// All names, in order.
    pub const ALL: [Self; 22] = [
        Self::Angular,
        Self::Astro,
        Self::CreateReactApp,
        Self::Docusaurus,
        Self::Eleventy,
        Self::Ember,
        Self::Gatsby,
        Self::Hugo,
        Self::Lit,
        Self::Next,
        Self::Nuxt,
        Self::Plain,
        Self::Preact,
        Self::React,
        Self::ReactRouter,
        Self::Solid,
        Self::Svelte,
        Self::Sveltekit,
        Self::Vite,
        Self::Vitepress,
        Self::Vue,
        Self::VueCli,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// The name for people, with a remark if needed.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        self.words().1
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Angular => ("angular", "Angular"),
            Self::Astro => ("astro", "Astro"),
            Self::CreateReactApp => ("create-react-app", "Create React App"),
            Self::Docusaurus => ("docusaurus", "Docusaurus"),
            Self::Eleventy => ("eleventy", "Eleventy"),
            Self::Ember => ("ember", "Ember"),
            Self::Gatsby => ("gatsby", "Gatsby"),
            Self::Hugo => ("hugo", "Hugo"),
            Self::Lit => ("lit", "Lit"),
            Self::Next => ("next", "Next.js, exported"),
            Self::Nuxt => ("nuxt", "Nuxt, generated"),
            Self::Plain => ("plain", "Files as they are, without a framework"),
            Self::Preact => ("preact", "Preact"),
            Self::React => ("react", "React"),
            Self::ReactRouter => ("react-router", "React Router, as a framework"),
            Self::Solid => ("solid", "Solid"),
            Self::Svelte => ("svelte", "Svelte"),
            Self::Sveltekit => ("sveltekit", "SvelteKit with adapter-static"),
            Self::Vite => ("vite", "Vite, with any library"),
            Self::Vitepress => ("vitepress", "VitePress"),
            Self::Vue => ("vue", "Vue"),
            Self::VueCli => ("vue-cli", "Vue CLI"),
        }
    }
}
