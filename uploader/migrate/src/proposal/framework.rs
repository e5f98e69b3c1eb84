//! The frameworks and generators known to `init`, and their detection in a project.

use super::framework_name::FrameworkName;
use super::package::Package;
use super::project::Project;
use super::tree::Tree;

/// The source of a framework's output folder in its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// In `angular.json`.
    Angular,
    /// In a key of the configuration, or a flag of the command; `adds` is appended to the folder.
    Said { key: &'static str, flags: &'static [&'static str], adds: &'static str },
    /// Like [`Output::Said`], below the folder in `root` of the configuration.
    Vite,
    /// Below the folder of the documents, which the command names.
    VitePress,
}

/// A framework's handling of a path without a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Every such path belongs to the application, if it has only one page.
    Application,
    /// The same, with a library that renders in the browser.
    ByLibrary,
    /// The answer is 404, with `404.html` if present.
    NotFound,
    /// `ssr: false` makes the site an application.
    Nuxt,
    /// `ssr: false` makes the site an application, with a separate page beside prerendered ones.
    ReactRouter,
    /// `fallback` of the adapter names the page.
    SvelteKit,
}

/// A framework or generator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framework {
    /// The name on the command line.
    pub(super) id: FrameworkName,
    /// The name for people.
    pub(super) name: &'static str,
    /// The npm packages that identify the framework.
    packages: &'static [&'static str],
    /// The names of the configuration, in the order of preference; the extension `*` is that of any program.
    configs: &'static [&'static str],
    /// The build command.
    pub(super) command: &'static str,
    /// The default output folders, the newest default last; `*` is any folder.
    pub(super) folders: &'static [&'static str],
    /// The source of the output folder.
    pub(super) output: Output,
    /// The handling of other paths.
    pub(super) fallback: Fallback,
}

/// The extensions of configurations that are programs.
const PROGRAM_ENDINGS: [&str; 6] = ["ts", "mts", "cts", "mjs", "cjs", "js"];

const NOWHERE: Output = Output::Said { key: "", flags: &[], adds: "" };
const VITE_CONFIGS: &[&str] = &["vite.config.*"];

/// A library that renders in the browser, built by Vite or a different bundler.
const fn library(id: FrameworkName, name: &'static str, packages: &'static [&'static str]) -> Framework {
    let (configs, folders) = (VITE_CONFIGS, &["dist"]);
    let fallback = Fallback::Application;
    Framework { id, name, packages, configs, command: "vite build", folders, output: Output::Vite, fallback }
}

/// Frameworks that contain others come first: Astro and SvelteKit depend on Vite.
pub(super) const FRAMEWORKS: [Framework; 22] = [
    Framework {
        id: FrameworkName::Next,
        name: "Next.js",
        packages: &["next"],
        configs: &["next.config.*"],
        command: "next build",
        folders: &["out"],
        output: Output::Said { key: "distDir", flags: &[], adds: "" },
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::Nuxt,
        name: "Nuxt",
        packages: &["nuxt"],
        configs: &["nuxt.config.*"],
        command: "nuxt generate",
        folders: &[".output/public"],
        output: Output::Said { key: "publicDir", flags: &[], adds: "" },
        fallback: Fallback::Nuxt,
    },
    Framework {
        id: FrameworkName::Astro,
        name: "Astro",
        packages: &["astro"],
        configs: &["astro.config.*"],
        command: "astro build",
        folders: &["dist/client", "dist"],
        output: Output::Said { key: "outDir", flags: &["--outDir", "--out-dir"], adds: "" },
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::Sveltekit,
        name: "SvelteKit",
        packages: &["@sveltejs/kit"],
        configs: &["svelte.config.*"],
        command: "vite build",
        folders: &["build"],
        output: Output::Said { key: "pages", flags: &[], adds: "" },
        fallback: Fallback::SvelteKit,
    },
    Framework {
        id: FrameworkName::Gatsby,
        name: "Gatsby",
        packages: &["gatsby"],
        configs: &["gatsby-config.*"],
        command: "gatsby build",
        folders: &["public"],
        output: NOWHERE,
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::Docusaurus,
        name: "Docusaurus",
        packages: &["@docusaurus/core"],
        configs: &["docusaurus.config.*"],
        command: "docusaurus build",
        folders: &["build"],
        output: Output::Said { key: "", flags: &["--out-dir"], adds: "" },
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::Vitepress,
        name: "VitePress",
        packages: &["vitepress"],
        configs: &[".vitepress/config.*", "docs/.vitepress/config.*"],
        command: "vitepress build",
        folders: &["docs/.vitepress/dist", ".vitepress/dist"],
        output: Output::VitePress,
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::Eleventy,
        name: "Eleventy",
        packages: &["@11ty/eleventy"],
        configs: &[".eleventy.js", "eleventy.config.*"],
        command: "eleventy",
        folders: &["_site"],
        output: Output::Said { key: "output", flags: &["--output"], adds: "" },
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::Hugo,
        name: "Hugo",
        packages: &["hugo-bin", "hugo-extended"],
        configs: &["hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config.toml", "config.yaml", "config.yml"],
        command: "hugo",
        folders: &["public"],
        output: Output::Said { key: "publishDir", flags: &["--destination", "-d"], adds: "" },
        fallback: Fallback::NotFound,
    },
    Framework {
        id: FrameworkName::ReactRouter,
        name: "React Router",
        packages: &["@react-router/dev"],
        configs: &["react-router.config.*"],
        command: "react-router build",
        folders: &["build/client"],
        output: Output::Said { key: "buildDirectory", flags: &[], adds: "/client" },
        fallback: Fallback::ReactRouter,
    },
    Framework {
        id: FrameworkName::Angular,
        name: "Angular",
        packages: &["@angular/core"],
        configs: &["angular.json"],
        command: "ng build",
        folders: &["dist/*/browser", "dist/*", "dist/browser", "dist"],
        output: Output::Angular,
        fallback: Fallback::Application,
    },
    Framework {
        id: FrameworkName::CreateReactApp,
        name: "Create React App",
        packages: &["react-scripts"],
        configs: &[],
        command: "react-scripts build",
        folders: &["build"],
        output: NOWHERE,
        fallback: Fallback::Application,
    },
    Framework {
        id: FrameworkName::VueCli,
        name: "Vue CLI",
        packages: &["@vue/cli-service"],
        configs: &["vue.config.*"],
        command: "vue-cli-service build",
        folders: &["dist"],
        output: Output::Said { key: "outputDir", flags: &["--dest"], adds: "" },
        fallback: Fallback::Application,
    },
    Framework {
        id: FrameworkName::Ember,
        name: "Ember",
        packages: &["ember-source"],
        configs: &["ember-cli-build.*"],
        command: "ember build",
        folders: &["dist"],
        output: Output::Said { key: "", flags: &["--output-path", "-o"], adds: "" },
        fallback: Fallback::Application,
    },
    library(FrameworkName::React, "React", &["react-dom"]),
    library(FrameworkName::Preact, "Preact", &["preact"]),
    library(FrameworkName::Vue, "Vue", &["vue"]),
    library(FrameworkName::Svelte, "Svelte", &["svelte"]),
    library(FrameworkName::Solid, "Solid", &["solid-js"]),
    library(FrameworkName::Lit, "Lit", &["lit"]),
    Framework {
        id: FrameworkName::Vite,
        name: "Vite",
        packages: &["vite"],
        configs: VITE_CONFIGS,
        command: "vite build",
        folders: &["dist"],
        output: Output::Vite,
        fallback: Fallback::ByLibrary,
    },
    Framework {
        id: FrameworkName::Plain,
        name: "a plain site",
        packages: &[],
        configs: &[],
        command: "",
        folders: &[],
        output: NOWHERE,
        fallback: Fallback::NotFound,
    },
];

impl Framework {
    /// The framework of a name.
    pub(super) fn of(id: FrameworkName) -> Option<&'static Self> {
        FRAMEWORKS.iter().find(|framework| framework.id == id)
    }

    /// Returns the framework of a project, and the evidence.
    pub(super) fn detect(tree: &dyn Tree, package: &Package) -> Option<(&'static Self, String)> {
        let by_package = FRAMEWORKS.iter().find_map(|framework| {
            let name = framework.packages.iter().find(|name| package.depends_on(name))?;
            Some((framework, format!("{name} in package.json")))
        });
        // A site of Hugo may depend on any package for its scripts and styles.
        let hugo = Self::of(FrameworkName::Hugo);
        let by_config = |framework: &'static Self| Some((framework, framework.config(tree, "")?.0));
        let others = || FRAMEWORKS.iter().filter(|framework| !framework.is_library()).find_map(by_config);
        hugo.and_then(by_config).or(by_package).or_else(others)
    }

    /// Returns true for a library used with Vite, which Vite's configuration does not mention.
    fn is_library(&self) -> bool {
        self.output == Output::Vite && self.fallback == Fallback::Application
    }

    /// Returns the configuration in a folder of the project: the path, and the text.
    pub(super) fn config(&self, tree: &dyn Tree, folder: &str) -> Option<(String, String)> {
        self.configs.iter().find_map(|name| {
            let paths: Vec<String> = match name.strip_suffix('*') {
                Some(stem) => PROGRAM_ENDINGS.iter().map(|ending| format!("{stem}{ending}")).collect(),
                None => vec![(*name).to_owned()],
            };
            let mut paths = paths.into_iter().map(|path| super::tree::join(folder, &path));
            let (path, text) = paths.find_map(|path| Some((path.clone(), tree.text(&path)?)))?;
            // Other programs have a file of this name, too.
            let is_its_own = !name.starts_with("config.") || text.to_lowercase().contains("baseurl");
            is_its_own.then_some((path, text))
        })
    }

    /// Returns true if a path without a page belongs to the application, in a project with only one page.
    pub(super) fn is_application(&self, project: &Project<'_>) -> bool {
        match self.fallback {
            Fallback::Application => true,
            Fallback::ByLibrary => {
                let mut packages =
                    FRAMEWORKS.iter().filter(|other| other.is_library()).flat_map(|other| other.packages);
                packages.any(|name| project.package.depends_on(name))
            }
            Fallback::Nuxt | Fallback::ReactRouter => project.says("ssr", "false"),
            Fallback::NotFound | Fallback::SvelteKit => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Files;
    use super::*;

    fn detected(files: &[(&str, &str)]) -> Option<(&'static str, String)> {
        let files = Files::new(files);
        let (framework, shown_by) = Framework::detect(&files, &Package::read(&files, ""))?;
        Some((framework.name, shown_by))
    }

    #[test]
    fn every_name_of_the_command_line_has_its_framework() {
        for id in FrameworkName::ALL {
            assert!(Framework::of(id).is_some(), "{id:?}");
        }
        assert_eq!(FrameworkName::ALL.len(), FRAMEWORKS.len());
    }

    #[test]
    fn a_framework_is_known_by_its_package_else_by_its_configuration() {
        let package = |names: &[&str]| {
            let list: Vec<String> = names.iter().map(|name| format!("\"{name}\":\"1\"")).collect();
            format!(r#"{{"devDependencies":{{{}}}}}"#, list.join(","))
        };
        for (names, config, name) in [
            (&["vite", "react-dom", "astro"][..], "", Some("Astro")),
            (&["vite", "@sveltejs/kit", "svelte"], "", Some("SvelteKit")),
            (&["react-dom", "next"], "", Some("Next.js")),
            (&["react-dom", "@docusaurus/core"], "", Some("Docusaurus")),
            (&["vue", "nuxt"], "", Some("Nuxt")),
            (&["vite"], "", Some("Vite")),
            (&["tailwindcss", "react-dom"], "hugo.toml", Some("Hugo")),
            (&[], "next.config.mjs", Some("Next.js")),
            (&[], "vite.config.ts", Some("Vite")),
            (&["express"], "", None),
        ] {
            let found = detected(&[("package.json", &package(names)), (config, "")]);
            assert_eq!(found.map(|(name, _)| name), name, "{names:?} {config}");
        }
        assert_eq!(detected(&[("config.toml", "baseURL = 'https://x.example'")]).unwrap().0, "Hugo");
        assert_eq!(detected(&[("config.toml", "base_url = 'https://x.example'")]), None);
        let (_, shown_by) = detected(&[("package.json", &package(&["astro"]))]).unwrap();
        assert_eq!(shown_by, "astro in package.json");
    }
}
