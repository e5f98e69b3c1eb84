//! The answer to a path without a page, as intended by the framework.

use super::config_text::Value;
use super::framework::Fallback;
use super::project::Project;

/// The page of a React Router application beside prerendered pages.
const REACT_ROUTER_PAGE: &str = "__spa-fallback.html";
/// The page of an Angular application beside prerendered pages.
const ANGULAR_PAGE: &str = "index.csr.html";

/// The answer to a path without a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// `index.html`.
    Application,
    /// A differently named page of an application.
    ApplicationPage(String),
    /// The status 404, with `404.html` if present.
    NotFound,
}

/// Returns the answer to a path without a page. `folder` is the folder of the pages, if known.
pub(super) fn missing(project: &Project<'_>, folder: Option<&str>) -> Missing {
    let Some(framework) = project.framework else { return Missing::NotFound };
    let has = |name: &str| folder.is_some_and(|folder| project.tree.is_file(&super::tree::join(folder, name)));
    let written = match framework.fallback {
        Fallback::SvelteKit => match project.value_of("fallback") {
            Some(Value::Text(page)) => Some(page).filter(|page| page != "404.html"),
            _ => None,
        },
        Fallback::ReactRouter => has(REACT_ROUTER_PAGE).then(|| REACT_ROUTER_PAGE.to_owned()),
        Fallback::Application => has(ANGULAR_PAGE).then(|| ANGULAR_PAGE.to_owned()),
        Fallback::ByLibrary | Fallback::NotFound | Fallback::Nuxt => None,
    };
    match written {
        Some(page) if page == "index.html" => return Missing::Application,
        Some(page) if is_plain(&page) => return Missing::ApplicationPage(page),
        _ => {}
    }
    // Nuxt writes its application under these names, too.
    let is_nuxt = framework.fallback == Fallback::Nuxt;
    let is_alone = is_nuxt || folder.is_none_or(|folder| has_one_page(project, folder));
    let says_mpa = project.says("appType", "mpa");
    match framework.is_application(project) && is_alone && !says_mpa {
        true => Missing::Application,
        false => Missing::NotFound,
    }
}

/// Returns true if a name needs no escapes in a path.
fn is_plain(name: &str) -> bool {
    name.ends_with(".html") && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Returns true if a folder has no page except `index.html`, so that only the application answers deep links.
fn has_one_page(project: &Project<'_>, folder: &str) -> bool {
    let is_alone = project.html_files(folder).iter().all(|name| name == "index.html");
    let names = project.tree.names(folder);
    is_alone && names.iter().all(|name| !project.tree.is_file(&format!("{folder}/{name}/index.html")))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Files;
    use super::*;

    #[test]
    fn each_framework_answers_missing_paths_as_it_means_to() {
        let page = |name: &str| Missing::ApplicationPage(name.to_owned());
        for (package, config, written, expected) in [
            ("vue", "", &["index.html", "assets/a.js"][..], Missing::Application),
            ("react-dom", "", &["index.html"], Missing::Application),
            ("@angular/core", "", &["index.html"], Missing::Application),
            ("react-scripts", "", &["index.html"], Missing::Application),
            // Several pages, or a page for missing paths, are not a single page.
            ("vue", "", &["index.html", "about/index.html"], Missing::NotFound),
            ("vue", "", &["index.html", "404.html"], Missing::NotFound),
            ("vue", "vite.config.ts: { appType: 'mpa' }", &["index.html"], Missing::NotFound),
            ("vite", "", &["index.html"], Missing::NotFound),
            ("astro", "", &["index.html"], Missing::NotFound),
            ("next", "", &["index.html", "404.html"], Missing::NotFound),
            ("@docusaurus/core", "", &["index.html", "404.html"], Missing::NotFound),
            ("express", "", &["index.html"], Missing::NotFound),
            ("@sveltejs/kit", "svelte.config.js: adapter()", &["index.html"], Missing::NotFound),
            ("@sveltejs/kit", "svelte.config.js: adapter({ fallback: '404.html' })", &[], Missing::NotFound),
            ("@sveltejs/kit", "svelte.config.js: adapter({ fallback: '200.html' })", &[], page("200.html")),
            ("@sveltejs/kit", "svelte.config.js: adapter({ fallback: 'index.html' })", &[], Missing::Application),
            ("@sveltejs/kit", "svelte.config.js: adapter({ fallback: '../x y' })", &[], Missing::NotFound),
            ("nuxt", "nuxt.config.ts: { ssr: true }", &["index.html", "200.html", "404.html"], Missing::NotFound),
            ("nuxt", "nuxt.config.ts: { ssr: false }", &["index.html", "200.html", "404.html"], Missing::Application),
            ("@react-router/dev", "react-router.config.ts: { ssr: false }", &["index.html"], Missing::Application),
            ("@react-router/dev", "react-router.config.ts: { ssr: true }", &["index.html"], Missing::NotFound),
            (
                "@react-router/dev",
                "react-router.config.ts: { ssr: false }",
                &["index.html", "a/index.html", "__spa-fallback.html"],
                page("__spa-fallback.html"),
            ),
            ("@angular/core", "", &["index.html", "a/index.html", "index.csr.html"], page("index.csr.html")),
        ] {
            let json = format!(r#"{{"dependencies":{{"{package}":"1"}}, "devDependencies":{{"vite":"7"}}}}"#);
            let paths: Vec<String> = written.iter().map(|name| format!("web/{name}")).collect();
            let mut files = vec![("package.json", json.as_str())];
            files.extend(config.split_once(": "));
            files.extend(paths.iter().map(|path| (path.as_str(), "")));
            let files = Files::new(&files);
            let project = Project::new(&files, None);
            assert_eq!(missing(&project, Some("web")), expected, "{package} {config} {written:?}");
        }
    }

    #[test]
    fn an_application_that_is_not_built_yet_is_known_by_its_library() {
        for (package, expected) in [("solid-js", Missing::Application), ("lodash", Missing::NotFound)] {
            let json = format!(r#"{{"dependencies":{{"{package}":"1"}}, "devDependencies":{{"vite":"7"}}}}"#);
            let files = Files::new(&[("package.json", &json)]);
            assert_eq!(missing(&Project::new(&files, None), None), expected, "{package}");
        }
    }
}
