//! Inspects a project: the folders that its build writes, its framework, and the command of its backend. Only what
//! is there is found; nothing is run.

use std::fs;
use std::path::Path;

use devanture_config::site_toml::SERVER_DIR;
use devanture_config::site_toml::procfile::PROCFILE;
use serde_json::Value;

/// Folders that builds write, in the order of preference. `public` and `site` are often sources, and are last.
const BUILD_FOLDERS: [&str; 10] =
    ["dist/www", "www", "dist/client", "dist", "build/client", "build", "out", "_site", "public", "site"];
/// Folders of [`BUILD_FOLDERS`] that frameworks read.
const SOURCE_FOLDERS: [&str; 3] = ["www", "public", "site"];
/// Folders of [`BUILD_FOLDERS`] that hold a build even where they have no page at their top.
const WITHOUT_PAGE: [&str; 6] = ["dist/www", "www", "dist", "build", "out", "_site"];
/// Most bytes of a `package.json`.
const PACKAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// A front-end framework or generator.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Framework {
    /// Its name for people.
    pub(crate) name: &'static str,
    /// The package of npm that shows it.
    package: &'static str,
    /// The folders that it writes by default; `*` is any folder.
    folders: &'static [&'static str],
    /// Whether what it writes is one page that routes in the browser.
    is_single_page: bool,
}

const fn framework(
    name: &'static str,
    package: &'static str,
    folders: &'static [&'static str],
    is_single_page: bool,
) -> Framework {
    Framework { name, package, folders, is_single_page }
}

/// Those that contain others come first: Astro and SvelteKit depend on Vite.
const FRAMEWORKS: [Framework; 20] = [
    framework("Next.js", "next", &["out"], false),
    framework("Nuxt", "nuxt", &[".output/public", "dist"], false),
    framework("Astro", "astro", &["dist/client", "dist"], false),
    framework("SvelteKit", "@sveltejs/kit", &["build"], false),
    framework("Gatsby", "gatsby", &["public"], false),
    framework("Docusaurus", "@docusaurus/core", &["build"], false),
    framework("VitePress", "vitepress", &[".vitepress/dist", "docs/.vitepress/dist"], false),
    framework("Eleventy", "@11ty/eleventy", &["_site"], false),
    framework("React Router", "@react-router/dev", &["build/client"], false),
    framework("Angular", "@angular/core", &["dist/*/browser", "dist/*", "dist"], true),
    framework("Create React App", "react-scripts", &["build"], true),
    framework("Vue CLI", "@vue/cli-service", &["dist"], true),
    framework("Ember", "ember-source", &["dist"], true),
    framework("React", "react-dom", &["dist"], true),
    framework("Preact", "preact", &["dist"], true),
    framework("Vue", "vue", &["dist"], true),
    framework("Svelte", "svelte", &["dist"], true),
    framework("Solid", "solid-js", &["dist"], true),
    framework("Lit", "lit", &["dist"], true),
    framework("Vite", "vite", &["dist"], false),
];

/// The folder of the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Relative to the project, as `www` has it.
    pub(crate) folder: String,
    /// Why it is taken.
    pub(crate) because: String,
}

/// The folder of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    /// It is started so.
    Command(Vec<String>),
    /// A `Procfile` starts it.
    Procfile,
    /// Its command is unknown.
    Unknown,
}

/// The findings.
#[derive(Debug)]
pub(crate) struct Guess {
    pub(crate) pages: Option<Pages>,
    /// The backend in [`SERVER_DIR`].
    pub(crate) backend: Option<Backend>,
    pub(crate) framework: Option<&'static Framework>,
    /// Whether every deep link is the application's.
    pub(crate) is_single_page: bool,
}

/// Looks at a project. With `www`, the folder of the pages is known.
pub(crate) fn guess(project: &Path, www: Option<&str>) -> Guess {
    let framework = framework_of(project);
    let pages = match www {
        Some(_) => None,
        None => pages(project, framework),
    };
    let folder = www.or_else(|| pages.as_ref().map(|pages| pages.folder.as_str()));
    let is_single_page = framework.is_some_and(|framework| framework.is_single_page)
        && folder.is_none_or(|folder| has_one_page(&project.join(folder)));
    let backend = project.join(SERVER_DIR).is_dir().then(|| backend(project));
    Guess { pages, backend, framework, is_single_page }
}

/// The folder of the pages: one with a page, else one that only builds write, else the one that the framework will
/// write.
pub(crate) fn pages(project: &Path, framework: Option<&Framework>) -> Option<Pages> {
    let found = |folder: String, because: &str| Some(Pages { folder, because: because.to_owned() });
    // What stands beside a backend comes before the framework's default.
    let mut candidates = vec!["dist/www".to_owned()];
    if let Some(framework) = framework {
        candidates.extend(framework.folders.iter().flat_map(|path| named(project, path)));
    }
    // A framework's `public` holds sources, unless it says otherwise.
    let others = BUILD_FOLDERS.iter().filter(|folder| framework.is_none() || !SOURCE_FOLDERS.contains(folder));
    candidates.extend(others.map(|folder| (*folder).to_owned()));
    if let Some(folder) = candidates.iter().find(|folder| !html_files(&project.join(folder)).is_empty()) {
        return found(folder.clone(), "it has a page");
    }
    let holds_build = |folder: &str| {
        let mut names = entries(&project.join(folder)).into_iter();
        names.any(|name| folder != "dist" || (name != "server" && name != "www"))
    };
    if let Some(folder) = WITHOUT_PAGE.iter().find(|folder| holds_build(folder)) {
        return found((*folder).to_owned(), "it is there");
    }
    if let Some((framework, folder)) = framework
        .and_then(|framework| Some((framework, framework.folders.iter().rev().find(|path| !path.contains('*'))?)))
    {
        return found((*folder).to_owned(), &format!("{} writes it by default; it is not there yet", framework.name));
    }
    // A site without a build.
    let is_source = project.join("package.json").exists();
    (!is_source && project.join("index.html").is_file())
        .then(|| Pages { folder: ".".to_owned(), because: "index.html is here".to_owned() })
}

/// The framework that `package.json` depends on.
pub(crate) fn framework_of(project: &Path) -> Option<&'static Framework> {
    let package = package(&project.join("package.json"))?;
    let depends = |name: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|kind| package.get(kind).and_then(|list| list.get(name)).is_some())
    };
    FRAMEWORKS.iter().find(|framework| depends(framework.package))
}

fn package(path: &Path) -> Option<Value> {
    let is_fine = fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() <= PACKAGE_BYTES_MAX);
    is_fine.then(|| serde_json::from_slice(&fs::read(path).ok()?).ok()).flatten()
}

/// The paths of a pattern in which one folder may be any.
fn named(project: &Path, pattern: &str) -> Vec<String> {
    let Some((before, after)) = pattern.split_once("/*") else { return vec![pattern.to_owned()] };
    let mut names = entries(&project.join(before));
    names.retain(|name| name != "server");
    names.into_iter().map(|name| format!("{before}/{name}{after}")).collect()
}

/// The names in a folder, in order.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.take(ENTRIES_MAX).flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn html_files(folder: &Path) -> Vec<String> {
    let mut names = entries(folder);
    names.retain(|name| name.ends_with(".html"));
    names
}

/// Whether a folder has no page but `index.html`, so that nothing but the application answers deep links.
fn has_one_page(folder: &Path) -> bool {
    let pages = html_files(folder);
    let is_alone = pages.iter().all(|name| name == "index.html");
    is_alone && entries(folder).iter().all(|name| !folder.join(name).join("index.html").is_file())
}

/// The command of the backend in [`SERVER_DIR`].
fn backend(project: &Path) -> Backend {
    let folder = project.join(SERVER_DIR);
    if folder.join(PROCFILE).is_file() || project.join(PROCFILE).is_file() {
        return Backend::Procfile;
    }
    let words = |words: &[&str]| Backend::Command(words.iter().map(|word| (*word).to_owned()).collect());
    let package = package(&folder.join("package.json"));
    let start = package.as_ref().and_then(|package| package.get("scripts")?.get("start")?.as_str());
    // What only a shell reads, and what the shell of npm alone finds, is for the person to say.
    if let Some(start) = start.filter(|start| start.starts_with("node ") && start.chars().all(is_plain)) {
        return words(&start.split_whitespace().collect::<Vec<_>>());
    }
    let names = entries(&folder);
    let first = |candidates: &[&str]| names.iter().find(|name| candidates.contains(&name.as_str())).cloned();
    let scripts: Vec<String> = ["server", "index", "main", "app", "entry"]
        .iter()
        .flat_map(|stem| ["js", "mjs", "cjs"].map(|ending| format!("{stem}.{ending}")))
        .collect();
    if let Some(script) = scripts.iter().find(|script| names.contains(script)) {
        return words(&["node", script]);
    }
    if let Some(script) = first(&["app.py", "main.py", "server.py"]) {
        return words(&["python3", &script]);
    }
    let mut programs = names.iter().filter(|name| is_program(&folder.join(name)));
    match (programs.next(), programs.next()) {
        (Some(program), None) => words(&[&format!("./{program}")]),
        _ => Backend::Unknown,
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || " ./_-=:".contains(c)
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let project = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = project.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        project
    }

    fn www(files: &[(&str, &str)]) -> Option<String> {
        Some(guess(project(files).path(), None).pages?.folder)
    }

    fn depends(on: &str) -> String {
        format!(r#"{{"devDependencies":{{"vite":"7"}},"dependencies":{{"{on}":"1"}}}}"#)
    }

    #[test]
    fn the_build_is_found_and_not_the_sources() {
        let vue = depends("vue");
        let vue = ("package.json", vue.as_str());
        let gatsby = depends("gatsby");
        for (files, folder) in [
            (
                &[("dist/www/index.html", ""), ("dist/server/server.js", ""), ("www/index.html", "")][..],
                Some("dist/www"),
            ),
            (&[("dist/www/a.js", ""), ("dist/server/server.js", "")], Some("dist/www")),
            (&[vue, ("dist/www/index.html", ""), ("dist/server/a.js", ""), ("public/a.html", "")], Some("dist/www")),
            (&[vue, ("dist/index.html", ""), ("public/index.html", "")], Some("dist")),
            (&[vue, ("public/a.html", ""), ("index.html", "")], Some("dist")),
            (&[("package.json", &gatsby), ("public/index.html", "")], Some("public")),
            (&[("build/index.html", ""), ("dist/lib.js", "")], Some("build")),
            (&[("out/_redirects", "/a /b")], Some("out")),
            (&[("index.html", "")], Some(".")),
            // What is invented would be refused by the first push, or be the wrong one.
            (&[("package.json", "{}"), ("index.html", "")], None),
            (&[("dist/server/server.js", "")], None),
            (&[("public/robots.txt", "")], None),
            (&[], None),
        ] {
            assert_eq!(www(files).as_deref(), folder, "{files:?}");
        }
        let angular = depends("@angular/core");
        let files =
            [("package.json", angular.as_str()), ("dist/shop/browser/index.html", ""), ("dist/shop/3rd.txt", "")];
        assert_eq!(www(&files).as_deref(), Some("dist/shop/browser"));
    }

    #[test]
    fn a_single_page_application_is_known_by_its_framework() {
        for (package, more, is_one) in [
            ("vue", None, true),
            ("react-dom", None, true),
            ("@angular/core", None, true),
            ("astro", None, false),
            ("express", None, false),
            // Several pages, or one for what is missing, are no single page.
            ("vue", Some("dist/about/index.html"), false),
            ("vue", Some("dist/404.html"), false),
        ] {
            let text = depends(package);
            let mut files = vec![("package.json", text.as_str()), ("dist/index.html", ""), ("dist/assets/a.js", "")];
            files.extend(more.map(|path| (path, "")));
            let project = project(&files);
            assert_eq!(guess(project.path(), None).is_single_page, is_one, "{package} {more:?}");
            assert_eq!(guess(project.path(), Some("dist")).is_single_page, is_one, "{package} {more:?}");
        }
    }

    #[test]
    fn a_backend_is_started_by_what_lies_in_its_folder() {
        let command = |words: &[&str]| Backend::Command(words.iter().map(|word| (*word).to_owned()).collect());
        for (files, backend) in [
            (&[("dist/server/server.js", ""), ("dist/server/app.js", "")][..], Some(command(&["node", "server.js"]))),
            (&[("dist/server/entry.mjs", "")], Some(command(&["node", "entry.mjs"]))),
            (&[("dist/server/app.py", "")], Some(command(&["python3", "app.py"]))),
            (
                &[("dist/server/package.json", r#"{"scripts":{"start":"node --enable-source-maps a.js"}}"#)],
                Some(command(&["node", "--enable-source-maps", "a.js"])),
            ),
            (
                &[("dist/server/package.json", r#"{"scripts":{"start":"node a.js && rm -r /"}}"#)],
                Some(Backend::Unknown),
            ),
            (&[("dist/server/Procfile", "web: a"), ("dist/server/server.js", "")], Some(Backend::Procfile)),
            (&[("dist/server/readme.md", "")], Some(Backend::Unknown)),
            // Sources.
            (&[("server/server.js", "")], None),
        ] {
            assert_eq!(guess(project(files).path(), None).backend, backend, "{files:?}");
        }
    }
}
