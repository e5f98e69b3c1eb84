//! The analysis of a project: the framework, the folder of the pages, the answer to other paths, and the backend.

use std::path::Path;

use super::backend::{Backend, backend};
use super::framework::{Framework, Output};
use super::framework_name::FrameworkName;
use super::missing::{Missing, missing};
use super::pages::{Pages, pages};
use super::project::Project;
use super::tree::{Disk, Tree};

/// The findings.
#[derive(Debug)]
pub(super) struct Guess {
    pub(super) framework: Option<&'static Framework>,
    /// The evidence for the framework.
    pub(super) shown_by: String,
    pub(super) pages: Option<Pages>,
    pub(super) missing: Missing,
    pub(super) backend: Option<Backend>,
    /// The shell command that writes the folder of the pages; `None` if the folder exists or is unknown.
    pub(super) build: Option<String>,
    /// Remarks for the user, as sentences.
    pub(super) notes: Vec<String>,
}

/// Analyzes a project. With `www`, the folder of the pages is given, and with `chosen` the framework.
pub(super) fn guess(tree: &dyn Tree, www: Option<&str>, chosen: Option<FrameworkName>) -> Guess {
    let project = Project::new(tree, chosen.and_then(Framework::of));
    let mut notes: Vec<String> = project.package.unreadable().map(unread_package).into_iter().collect();
    let pages = match www {
        Some(_) => None,
        None => pages(&project, &mut notes),
    };
    let folder = www.or_else(|| pages.as_ref().map(|pages| pages.folder.as_str()));
    let missing = missing(&project, folder);
    let is_built = folder.is_some_and(|folder| tree.is_folder(folder));
    let build = project.framework.filter(|_| !is_built).and_then(|framework| build_line(&project, framework));
    notes.extend(without_pages(&project));
    let backend = backend(tree);
    let Project { framework, shown_by, .. } = project;
    Guess { framework, shown_by, pages, missing, backend, build, notes }
}

fn unread_package(why: &str) -> String {
    format!("package.json cannot be read: {why}. The packages and scripts that it names are not known.")
}

/// Returns the folder of the pages of a project, if known.
pub(crate) fn folder_of_pages(project: &Path) -> Option<String> {
    guess(&Disk::new(project), None, None).pages.map(|pages| pages.folder)
}

/// Returns true if a build makes the pages of a project, according to its files.
pub(crate) fn has_build(project: &Path) -> bool {
    let tree = Disk::new(project);
    let project = Project::new(&tree, None);
    project.framework.is_some() || project.package.has_build()
}

/// Returns the shell command that builds the project.
fn build_line(project: &Project<'_>, framework: &Framework) -> Option<String> {
    let command = match framework.id {
        FrameworkName::Plain => return None,
        // The package has a different name from its program.
        FrameworkName::Eleventy if project.package.script_with(framework.command).is_none() => "@11ty/eleventy",
        _ => framework.command,
    };
    // A library does not tell its bundler.
    let is_known = framework.output != Output::Vite || project.package.depends_on("vite");
    let has_script = project.package.script("build").is_some();
    (is_known || has_script).then(|| project.package.build_line(command))
}

/// Returns the reason why the build would write a server instead of pages, if so.
fn without_pages(project: &Project<'_>) -> Option<String> {
    let package = &project.package;
    let text = match project.framework?.id {
        FrameworkName::Next if !project.says("output", "export") && package.script_with("next export").is_none() => {
            "Without `output: \"export\"` in its configuration, Next.js builds a server and writes no pages."
        }
        FrameworkName::Nuxt if package.script_with("nuxt generate").is_none() && package.script("build").is_some() => {
            "`nuxt build` builds a server; `nuxt generate` writes pages."
        }
        FrameworkName::Astro if project.says("output", "server") => {
            "With `output: \"server\"` Astro renders pages on a server: only `prerender = true` writes them."
        }
        FrameworkName::Sveltekit if !package.depends_on("@sveltejs/adapter-static") => {
            "Only @sveltejs/adapter-static writes pages, and this project does not depend on it."
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Files;
    use super::*;

    fn guessed(package: &str, more: &[(&str, &str)]) -> Guess {
        guess(&Files::new(&[&[("package.json", package)][..], more].concat()), None, None)
    }

    #[test]
    fn what_builds_is_said_until_it_is_built() {
        let vue = r#"{"dependencies":{"vue":"3"},"devDependencies":{"vite":"7"},"scripts":{"build":"vite build"}}"#;
        assert_eq!(guessed(vue, &[]).build.as_deref(), Some("npm run build"));
        assert_eq!(guessed(vue, &[("dist/index.html", "")]).build, None);
        let eleventy = r#"{"dependencies":{"@11ty/eleventy":"3"}}"#;
        assert_eq!(guessed(eleventy, &[]).build.as_deref(), Some("npx @11ty/eleventy"));
        assert_eq!(guessed(r#"{"dependencies":{"vue":"3"}}"#, &[]).build, None);
        assert_eq!(guess(&Files::new(&[("hugo.toml", "")]), None, None).build.as_deref(), Some("hugo"));
    }

    #[test]
    fn a_framework_that_is_chosen_counts_and_not_one_that_is_found() {
        let react = r#"{"dependencies":{"react-dom":"19"},"devDependencies":{"vite":"7"}}"#;
        let files = Files::new(&[("package.json", react)]);
        let chosen = guess(&files, None, Some(FrameworkName::Docusaurus));
        assert_eq!((chosen.framework.unwrap().name, chosen.missing), ("Docusaurus", Missing::NotFound));
        assert_eq!(chosen.pages.unwrap().folder, "build");
        // Vite alone is of a library all the same.
        assert_eq!(guess(&files, None, Some(FrameworkName::Vite)).missing, Missing::Application);
    }

    #[test]
    fn sources_are_no_pages_where_package_json_cannot_be_read() {
        for json in ["{ \"dependencies\": {", "[", ""] {
            let found = guessed(json, &[("index.html", ""), ("public/404.html", "")]);
            assert_eq!((found.pages, found.framework.is_none()), (None, true), "{json}");
            assert!(found.notes[0].starts_with("package.json cannot be read: "), "{json}: {:?}", found.notes);
            // The output of a build needs no package.json.
            let built = guessed(json, &[("index.html", ""), ("dist/index.html", "")]);
            assert_eq!(built.pages.unwrap().folder, "dist");
        }
        assert_eq!(guessed("\u{feff}{}", &[]).notes, [""; 0]);
    }

    #[test]
    fn a_build_that_would_write_a_server_is_reported() {
        for (package, config, is_reported) in [
            ("next", ("next.config.js", "module.exports = {}"), true),
            ("next", ("next.config.js", "module.exports = { output: 'export' }"), false),
            ("nuxt", ("nuxt.config.js", ""), true),
            ("astro", ("astro.config.mjs", "defineConfig({ output: 'server' })"), true),
            ("astro", ("astro.config.mjs", "defineConfig({})"), false),
            ("@sveltejs/kit", ("svelte.config.js", ""), true),
            ("vue", ("", ""), false),
        ] {
            let json = format!(r#"{{"dependencies":{{"{package}":"1"}},"scripts":{{"build":"x build"}}}}"#);
            let notes = guessed(&json, &[config]).notes;
            assert_eq!(!notes.is_empty(), is_reported, "{package} {config:?}: {notes:?}");
        }
    }
}
