//! The folder of the pages: the configured output of the framework, else a folder that contains a build.

use serde_json::Value as Json;

use super::config_text::{Value, flag_of, value_of, without_comments};
use super::framework::{Framework, Output};
use super::framework_name::FrameworkName;
use super::project::Project;
use super::tree::join;

/// Output folders of builds, in the order of preference. `public` and `site` are often sources, and come last.
const BUILD_FOLDERS: [&str; 10] =
    ["dist/www", "www", "dist/client", "dist", "build/client", "build", "out", "_site", "public", "site"];
/// Folders of [`BUILD_FOLDERS`] that are input of frameworks.
const SOURCE_FOLDERS: [&str; 3] = ["www", "public", "site"];
/// Folders of [`BUILD_FOLDERS`] that count as a build even without a top-level page.
const WITHOUT_PAGE: [&str; 6] = ["dist/www", "www", "dist", "build", "out", "_site"];
/// The pages beside a backend.
const BESIDE_BACKEND: &str = "dist/www";

/// The folder of the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pages {
    /// The path relative to the project, in the form of `www`.
    pub(super) folder: String,
    /// The reason of the choice.
    pub(super) because: String,
}

/// The configured folder.
#[derive(Debug, PartialEq, Eq)]
enum ConfiguredFolder {
    /// A folder, and its source.
    Folder(String, String),
    /// A folder outside the project.
    Outside(String, String),
    /// A value computed by this key.
    Computed(String),
}

/// Returns the folder of the pages of a project. Remarks for the user are added to `notes`.
pub(super) fn pages(project: &Project<'_>, notes: &mut Vec<String>) -> Option<Pages> {
    let has_page = |folder: &str| !project.html_files(folder).is_empty();
    let there = |folder: String, because: &str| Some(Pages { folder, because: because.to_owned() });
    // The pages beside a backend take precedence over the output of its framework.
    if has_page(BESIDE_BACKEND) {
        return there(BESIDE_BACKEND.to_owned(), "it has a page");
    }
    let is_plain = project.framework.is_some_and(|framework| framework.id == FrameworkName::Plain);
    if is_plain && has_page("") {
        return there(".".to_owned(), "index.html is here");
    }
    match project.framework.and_then(|framework| said(project, framework)) {
        Some(ConfiguredFolder::Folder(folder, by)) => {
            let is_there = project.tree.is_folder(&folder);
            let because = if is_there { by } else { format!("{by}; it is not there yet") };
            return Some(Pages { folder, because });
        }
        Some(ConfiguredFolder::Outside(folder, by)) => {
            notes.push(format!(
                "{by} is {folder}, outside of this folder: write devanture.toml in one that holds both."
            ));
            return None;
        }
        Some(ConfiguredFolder::Computed(by)) => notes.push(format!("{by} is computed: check the folder.")),
        None => {}
    }
    let mut candidates = Vec::new();
    if let Some(framework) = project.framework {
        candidates.extend(framework.folders.iter().flat_map(|path| named(project, path)));
    }
    // A framework's `public` contains sources, unless configured otherwise.
    let may_have_framework = project.framework.is_some() || project.package.unreadable().is_some();
    let has_sources = may_have_framework && !is_plain;
    let others = BUILD_FOLDERS.iter().filter(|folder| !has_sources || !SOURCE_FOLDERS.contains(folder));
    candidates.extend(others.map(|folder| (*folder).to_owned()));
    if let Some(folder) = candidates.into_iter().find(|folder| has_page(folder)) {
        return there(folder, "it has a page");
    }
    if let Some(folder) = WITHOUT_PAGE.iter().find(|folder| holds_build(project, folder)) {
        return there((*folder).to_owned(), "it is there");
    }
    by_default(project).or_else(|| as_it_is(project))
}

/// Returns the project itself, for a site without a build.
fn as_it_is(project: &Project<'_>) -> Option<Pages> {
    let package = &project.package;
    if project.framework.is_some() || !project.tree.is_file("index.html") {
        return None;
    }
    let because = match (package.exists(), package.unreadable()) {
        (false, _) => "index.html is here",
        // The page may be the input of a bundler.
        (true, None) if !package.has_build() => "index.html is here, and package.json builds nothing",
        (true, _) => return None,
    };
    Some(Pages { folder: ".".to_owned(), because: because.to_owned() })
}

/// Returns the folder that the framework will write.
fn by_default(project: &Project<'_>) -> Option<Pages> {
    let framework = project.framework?;
    let folder = framework.folders.iter().rev().find(|path| !path.contains('*'))?;
    let because = format!("{} writes it by default; it is not there yet", framework.name);
    Some(Pages { folder: (*folder).to_owned(), because })
}

/// Returns true if a folder contains more than the two halves of a site with a backend.
fn holds_build(project: &Project<'_>, folder: &str) -> bool {
    let mut names = project.tree.names(folder).into_iter();
    names.any(|name| folder != "dist" || (name != "server" && name != "www"))
}

/// Expands a pattern in which one folder may have any name.
fn named(project: &Project<'_>, pattern: &str) -> Vec<String> {
    let Some((before, after)) = pattern.split_once("/*") else { return vec![pattern.to_owned()] };
    let mut names = project.tree.names(before);
    names.retain(|name| name != "server" && name != "browser");
    names.into_iter().map(|name| format!("{before}/{name}{after}")).collect()
}

/// Returns the folder in the configuration of the framework, or in a flag of its command.
fn said(project: &Project<'_>, framework: &Framework) -> Option<ConfiguredFolder> {
    let command = || Some(project.package.script_with(framework.command)?.1);
    match framework.output {
        Output::Angular => {
            let (path, text) = project.config.as_ref()?;
            Some(within("", &angular(text)?, format!("outputPath of {path}")))
        }
        Output::Said { key, flags, adds } => said_by(project, "", key, flags, adds),
        Output::Vite => {
            // The folders of Vite are below its root.
            let root = match project.value_of("root") {
                Some(Value::Text(root)) => normal(&root)?,
                _ => String::new(),
            };
            let said = said_by(project, &root, "outDir", &["--outDir"], "");
            said.or_else(|| (!root.is_empty()).then(|| within(&root, "dist", "root of its configuration".to_owned())))
        }
        Output::VitePress => {
            let words = command().unwrap_or_default();
            let after = words.iter().position(|word| word == "build").and_then(|at| words.get(at + 1));
            let said = after.filter(|word| !word.starts_with('-')).and_then(|root| normal(root));
            let is_in_docs = || project.tree.is_folder("docs/.vitepress").then(|| "docs".to_owned());
            let root = said.or_else(is_in_docs).unwrap_or_default();
            let config = framework.config(project.tree, &root);
            let by = |path: &str| format!("outDir of {path}");
            match config.and_then(|(path, text)| Some((value_of(&text, "outDir")?, by(&path)))) {
                Some((Value::Text(folder), by)) => Some(within(&root, &folder, by)),
                Some((_, by)) => Some(ConfiguredFolder::Computed(by)),
                None => Some(within(&root, ".vitepress/dist", "VitePress writes it".to_owned())),
            }
        }
    }
}

/// Returns the folder in a flag of the command, else in a key of the configuration.
fn said_by(project: &Project<'_>, root: &str, key: &str, flags: &[&str], adds: &str) -> Option<ConfiguredFolder> {
    let command = project.framework?.command;
    if let Some((script, words)) = project.package.script_with(command)
        && let Some(folder) = flag_of(&words, flags)
    {
        let flag = flags.first().copied().unwrap_or_default();
        return Some(within(root, &format!("{folder}{adds}"), format!("{flag} in the script {script}")));
    }
    if key.is_empty() {
        return None;
    }
    let (path, text) = project.config.as_ref()?;
    let value = value_of(text, key).or_else(|| value_of(text, &key.to_lowercase()))?;
    let by = format!("{key} of {path}");
    // In a program a word is a variable.
    let is_program = !path.ends_with(".yaml") && !path.ends_with(".yml");
    match value {
        Value::Word(_) if is_program => Some(ConfiguredFolder::Computed(by)),
        Value::Text(folder) | Value::Word(folder) => Some(within(root, &format!("{folder}{adds}"), by)),
        Value::Computed => Some(ConfiguredFolder::Computed(by)),
    }
}

/// Resolves a folder of a configuration relative to `root`.
fn within(root: &str, folder: &str, by: String) -> ConfiguredFolder {
    match normal(&join(root, folder)) {
        Some(normal) if !normal.is_empty() && !folder.starts_with('/') => ConfiguredFolder::Folder(normal, by),
        _ => ConfiguredFolder::Outside(folder.to_owned(), by),
    }
}

/// Returns a path without `.` and `..`; `None` if the path leads out of the folder.
fn normal(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ if part.chars().any(char::is_control) || part.contains(':') => return None,
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns the folder of the browser's files in `angular.json`, for the first application.
fn angular(text: &str) -> Option<String> {
    let json: Json = serde_json::from_str(&without_comments(text)).ok()?;
    let projects = json.get("projects")?.as_object()?;
    let is_application =
        |project: &&Json| project.get("projectType").and_then(Json::as_str).is_none_or(|kind| kind == "application");
    let named = json.get("defaultProject").and_then(Json::as_str).and_then(|name| projects.get_key_value(name));
    let (name, project) = named.or_else(|| projects.iter().find(|(_, project)| is_application(project)))?;
    let build = ["architect", "targets"].iter().find_map(|key| project.get(key)?.get("build"))?;
    let builder = build.get("builder")?.as_str()?;
    let output = build.get("options").and_then(|options| options.get("outputPath"));
    let base = match output {
        Some(Json::String(base)) => base.clone(),
        Some(output) => output.get("base")?.as_str()?.to_owned(),
        None => format!("dist/{name}"),
    };
    let browser = output.and_then(|output| output.get("browser")?.as_str()).unwrap_or("browser");
    // Earlier builders wrote a single folder.
    Some(if builder.ends_with(":application") { format!("{base}/{browser}") } else { base })
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Files;
    use super::*;
    use proptest::prelude::*;

    /// Returns the folder of the pages of a project with these packages and files.
    fn folder(packages: &[&str], scripts: &str, files: &[(&str, &str)]) -> (Option<String>, Vec<String>) {
        let packages: Vec<String> = packages.iter().map(|name| format!("\"{name}\":\"1\"")).collect();
        let json = format!(r#"{{"dependencies":{{{}}},"scripts":{{{scripts}}}}}"#, packages.join(","));
        let files = Files::new(&[&[("package.json", json.as_str())][..], files].concat());
        let mut notes = Vec::new();
        let pages = pages(&Project::new(&files, None), &mut notes);
        (pages.map(|pages| pages.folder), notes)
    }

    #[test]
    fn each_framework_writes_the_folder_that_it_is_configured_for_before_anything_is_built() {
        for (package, scripts, config, text, expected) in [
            ("vite", "", "vite.config.ts", "export default { build: { outDir: 'web' } }", "web"),
            ("vite", "", "vite.config.js", "export default { root: 'src' }", "src/dist"),
            ("vite", "", "vite.config.js", "{ root: './src', build: { outDir: '../dist' } }", "dist"),
            ("vite", r#""build":"vite build --outDir=public""#, "vite.config.js", "{}", "public"),
            ("vue", "", "", "", "dist"),
            ("next", "", "next.config.mjs", "{ output: 'export' }", "out"),
            ("next", "", "next.config.ts", "{ output: 'export', distDir: 'dist' }", "dist"),
            ("astro", "", "astro.config.mjs", "defineConfig({ outDir: './www' })", "www"),
            ("astro", "", "", "", "dist"),
            ("@sveltejs/kit", "", "svelte.config.js", "adapter({ fallback: '404.html' })", "build"),
            ("@sveltejs/kit", "", "svelte.config.js", "adapter({ pages: 'site', assets: 'site' })", "site"),
            ("nuxt", "", "nuxt.config.ts", "", ".output/public"),
            ("nuxt", "", "nuxt.config.ts", "nitro: { output: { publicDir: 'web' } }", "web"),
            ("@docusaurus/core", "", "docusaurus.config.js", "", "build"),
            ("@docusaurus/core", r#""build":"docusaurus build --out-dir web""#, "", "", "web"),
            ("vitepress", r#""docs:build":"vitepress build docs""#, "", "", "docs/.vitepress/dist"),
            ("vitepress", "", "docs/.vitepress/config.mts", "outDir: '../public'", "public"),
            ("vitepress", r#""build":"vitepress build""#, ".vitepress/config.js", "", ".vitepress/dist"),
            ("@11ty/eleventy", "", "", "", "_site"),
            ("@11ty/eleventy", "", "eleventy.config.js", "return { dir: { output: 'dist' } }", "dist"),
            ("@11ty/eleventy", r#""build":"npx eleventy --output=web""#, "", "", "web"),
            ("hugo-bin", "", "hugo.toml", "publishDir = 'docs'", "docs"),
            ("hugo-bin", "", "hugo.yaml", "baseURL: https://x\npublishdir: docs\n", "docs"),
            ("tailwindcss", "", "hugo.toml", "", "public"),
            ("@react-router/dev", "", "react-router.config.ts", "{ buildDirectory: 'web' }", "web/client"),
            ("react-scripts", "", "", "", "build"),
            ("@vue/cli-service", "", "vue.config.js", "module.exports = { outputDir: 'web' }", "web"),
        ] {
            let (found, notes) = folder(&[package], scripts, &[(config, text)]);
            assert_eq!((found.as_deref(), notes), (Some(expected), vec![]), "{package} {scripts} {config} {text}");
        }
    }

    #[test]
    fn angular_writes_below_the_folder_of_its_workspace() {
        let of = |builder: &str, options: &str| {
            let text = format!(
                r#"{{ /* a comment */ "projects": {{ "lib": {{ "projectType": "library" }}, "shop": {{ "architect":
                    {{ "build": {{ "builder": "{builder}", "options": {options} }} }} }} }} }}"#
            );
            folder(&["@angular/core"], "", &[("angular.json", &text)]).0
        };
        for (builder, options, expected) in [
            ("@angular/build:application", "{}", "dist/shop/browser"),
            ("@angular/build:application", r#"{ "outputPath": "dist/web" }"#, "dist/web/browser"),
            ("@angular/build:application", r#"{ "outputPath": { "base": "dist" } }"#, "dist/browser"),
            ("@angular/build:application", r#"{ "outputPath": { "base": "dist", "browser": "" } }"#, "dist"),
            ("@angular-devkit/build-angular:browser", r#"{ "outputPath": "dist/shop" }"#, "dist/shop"),
        ] {
            assert_eq!(of(builder, options).as_deref(), Some(expected), "{builder} {options}");
        }
        let built = [("dist/shop/browser/index.html", ""), ("dist/shop/3rd.txt", "")];
        assert_eq!(folder(&["@angular/core"], "", &built).0.as_deref(), Some("dist/shop/browser"));
    }

    #[test]
    fn the_build_is_found_and_not_the_sources() {
        for (packages, files, expected) in [
            (&[] as &[&str], &["dist/www/index.html", "dist/server/server.js", "www/index.html"][..], Some("dist/www")),
            (&[], &["dist/www/a.js", "dist/server/server.js"], Some("dist/www")),
            (&["vue"], &["dist/www/index.html", "dist/server/a.js", "public/a.html"], Some("dist/www")),
            (&["vue"], &["dist/index.html", "public/index.html"], Some("dist")),
            (&["vue"], &["public/a.html", "index.html"], Some("dist")),
            (&["gatsby"], &["public/index.html"], Some("public")),
            (&[], &["build/index.html", "dist/lib.js"], Some("build")),
            (&[], &["out/_redirects"], Some("out")),
            // An invented folder would be refused by the first push, or be the wrong folder.
            (&["parcel"], &["index.html"], None),
            (&["lodash"], &["index.html"], Some(".")),
            (&[], &["index.html"], Some(".")),
            (&[], &["index.html", "dist/index.html"], Some("dist")),
            (&[], &["dist/server/server.js"], None),
            (&[], &["public/robots.txt"], None),
            (&[], &[], None),
        ] {
            let files: Vec<(&str, &str)> = files.iter().map(|path| (*path, "")).collect();
            assert_eq!(folder(packages, "", &files).0.as_deref(), expected, "{packages:?} {files:?}");
        }
        let files = Files::new(&[("index.html", "")]);
        assert_eq!(pages(&Project::new(&files, None), &mut Vec::new()).unwrap().folder, ".");
        let plain = Framework::of(FrameworkName::Plain);
        let files = Files::new(&[("package.json", "{}"), ("index.html", ""), ("public/index.html", "")]);
        assert_eq!(pages(&Project::new(&files, plain), &mut Vec::new()).unwrap().folder, ".");
    }

    #[test]
    fn a_page_beside_a_package_json_is_a_site_where_nothing_builds() {
        for (scripts, expected) in [
            ("", Some(".")),
            (r#""test":"node test.js","start":"serve .""#, Some(".")),
            (r#""build":"webpack""#, None),
            (r#""build":"echo nothing""#, None),
            (r#""build:prod":"make site""#, None),
            (r#""vercel-build":"make site""#, None),
        ] {
            let (found, notes) = folder(&[], scripts, &[("index.html", "")]);
            assert_eq!((found.as_deref(), notes.len()), (expected, 0), "{scripts}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_known_or_pushed_is_said_and_not_invented() {
        for computed in ["join(a, 'b')", "folder", "`${a}/b`"] {
            let config = format!("build: {{ outDir: {computed} }}");
            let (found, notes) = folder(&["vite"], "", &[("vite.config.js", &config)]);
            assert_eq!(found.as_deref(), Some("dist"), "{computed}");
            assert_eq!(notes, ["outDir of vite.config.js is computed: check the folder."], "{computed}");
        }
        for outside in ["../web", "/srv/web", "a/../../web", "C:\\\\web"] {
            let config = format!("build: {{ outDir: '{outside}' }}");
            let (found, notes) = folder(&["vite"], "", &[("vite.config.js", &config)]);
            assert_eq!((found, notes.len()), (None, 1), "{outside}");
        }
    }

    proptest! {
        #[test]
        fn no_configuration_leads_out_of_the_project(path in "[a-b./\\\\]{0,12}|\\PC{0,8}") {
            if let ConfiguredFolder::Folder(folder, _) = within("", &path, String::new()) {
                prop_assert!(!folder.is_empty() && !folder.starts_with('/'), "{}", folder);
                prop_assert!(folder.split('/').all(|part| !["", ".", ".."].contains(&part)), "{}", folder);
            }
        }
    }
}
