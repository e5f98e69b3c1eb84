//! `wrangler.toml`, `wrangler.json` and `wrangler.jsonc`, of Workers with assets and of Pages:
//! <https://developers.cloudflare.com/workers/wrangler/configuration/> and
//! <https://developers.cloudflare.com/pages/functions/wrangler-configuration/>.

use devanture_config::parsing::Mistakes;
use devanture_config::site_toml::{HtmlHandling, NotFound, Rules};
use devanture_site::rules::{HEADERS_FILE, REDIRECTS_FILE};

use super::around::{Around, folder};
use super::exclude::{self, PathKind};
use super::moved::{Justified, Moved};
use super::value::{Entry, Node, read_json, read_toml};

/// The names of the file, in the search order of wrangler.
pub(crate) const FILES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];
/// The list of paths that are not uploaded, in the folder of the pages.
pub(crate) const IGNORE_FILE: &str = ".assetsignore";
/// The folder of functions of Pages.
const FUNCTIONS: &str = "functions";
const SCHEDULES: &str = "a command of your backend in [server.schedule.NAME] runs by the clock";
const ROUTES: &str = "run it as a backend, and send its paths there with [[routes]]";
const HTML_HANDLING: [HtmlHandling; 4] = [
    HtmlHandling::AutoTrailingSlash,
    HtmlHandling::DropTrailingSlash,
    HtmlHandling::ForceTrailingSlash,
    HtmlHandling::None,
];
const NOT_FOUND: [NotFound; 3] = [NotFound::None, NotFound::Page404, NotFound::SinglePageApplication];

/// Reads the file, which is TOML or JSON by its name; without a file, returns the defaults of a site of Pages.
///
/// # Errors
/// All invalid places of the file.
pub(crate) fn read(file: Option<(&str, &str)>, around: &Around<'_>) -> Result<Moved, Mistakes> {
    let name = file.map_or("wrangler.toml", |(name, _)| name);
    let mut moved = Moved { rules: Some(Rules::Cloudflare), ..Moved::new(name) };
    let (mut is_pages, mut main) = (true, None);
    match file {
        Some((_, text)) => {
            let root = if name.ends_with(".toml") { read_toml(name, text)? } else { read_json(name, text)? };
            is_pages = root.first(&["assets", "site", "main"]).is_none();
            main = root.text_of("main").map(str::to_owned);
            for entry in root.entries() {
                top(&mut moved, entry);
            }
        }
        None => moved.stays(0, "file", "it is not there, so that only the meaning of Pages is written", None),
    }
    if is_pages {
        pages(&mut moved, around);
    }
    if let Some(main) = main {
        exclude::hide(&mut moved, around, &main, PathKind::File);
    }
    for file in [REDIRECTS_FILE, HEADERS_FILE] {
        if around.in_www(moved.www.as_deref(), file) {
            moved.stays(0, file, "it stays as it is in the site's folder, with Cloudflare's meaning", None);
        }
    }
    Ok(moved)
}

/// Returns true if there is a folder of functions, or a worker among the pages, which only Cloudflare's sites have.
pub(crate) fn has_functions(around: &Around<'_>) -> bool {
    (around.has)("functions") || around.in_www(None, "_worker.js")
}

/// Files of Pages in the folders.
fn pages(moved: &mut Moved, around: &Around<'_>) {
    let www = moved.www.clone();
    if has_functions(around) || around.in_www(www.as_deref(), "_worker.js") {
        moved.lost(0, "functions", "functions do not run at the edge", Some(ROUTES));
    }
    // Pages uploads none of them, even in the published folder.
    if around.in_www(www.as_deref(), FUNCTIONS) {
        exclude::hide_page(moved, FUNCTIONS, PathKind::Folder);
    }
    if !around.is_built(www.as_deref()) {
        let what =
            "whether there is a 404.html decides at Pages what answers a missing path, and the folder is not there yet";
        moved.stays(
            0,
            "404.html",
            what,
            Some("not_found = \"single-page-application\" where there is none, else nothing"),
        );
    } else if !around.in_www(www.as_deref(), "404.html") {
        let because =
            "Pages: there is no 404.html, so that missing paths lead to /index.html. Here only navigations do."
                .to_owned();
        moved.not_found = Some(Justified { word: NotFound::SinglePageApplication, because });
    }
}

fn top(moved: &mut Moved, entry: &Entry) {
    let (line, node, key) = (entry.line, &entry.node, entry.key.as_str());
    match key {
        "$schema" => {}
        "name" => moved.app = node.text().map(str::to_owned),
        "pages_build_output_dir" => moved.www = node.text().map(folder),
        "assets" => assets(moved, node),
        "site" => {
            // Workers Sites, the predecessor of assets.
            if let Some(bucket) = node.text_of("bucket") {
                moved.www = Some(folder(bucket));
            }
            moved.not_found = Some(justified(moved, line, NotFound::Page404));
        }
        "main" => moved.lost(line, key, "a Worker does not run at the edge", Some(ROUTES)),
        "route" | "routes" | "custom_domain" => {
            moved.lost(
                line,
                key,
                "hostnames belong to an environment",
                Some("hostnames = [\"www.example.org\"] below [env.prod]"),
            );
        }
        "env" => {
            for environment in node.entries() {
                let instead = format!("html_handling and not_found below [env.{}]", environment.key);
                moved.lost(
                    environment.line,
                    &format!("env.{}", environment.key),
                    "environments are not carried over",
                    Some(&instead),
                );
            }
        }
        "build" => {
            moved.lost(line, key, "nothing is built here", Some("build with your own tools, then `devanture push`"));
        }
        "triggers" => {
            moved.lost(line, key, "functions do not run at the edge", Some(SCHEDULES));
        }
        "vars"
        | "kv_namespaces"
        | "d1_databases"
        | "r2_buckets"
        | "durable_objects"
        | "services"
        | "queues"
        | "ai"
        | "hyperdrive"
        | "vectorize"
        | "workflows"
        | "migrations"
        | "browser"
        | "send_email"
        | "analytics_engine_datasets" => {
            moved.lost(
                line,
                key,
                "it is for a Worker, which does not run at the edge",
                Some("give it to your backend"),
            );
        }
        _ => moved.lost(line, key, "it is about Cloudflare's service", None),
    }
}

fn justified<T>(moved: &Moved, line: usize, word: T) -> Justified<T> {
    Justified { word, because: format!("{}:{line}", moved.file) }
}

fn assets(moved: &mut Moved, assets: &Node) {
    if let Some(directory) = assets.text() {
        // An older form.
        moved.www = Some(folder(directory));
    }
    // By default a missing path is a plain 404 at Workers.
    let because = "Workers' own: a missing path is a plain 404.".to_owned();
    moved.not_found = Some(Justified { word: NotFound::None, because });
    for entry in assets.entries() {
        let setting = format!("assets.{}", entry.key);
        let written = entry.node.text().unwrap_or_default();
        match entry.key.as_str() {
            "directory" => moved.www = entry.node.text().map(folder),
            "html_handling" => match HTML_HANDLING.iter().find(|word| word.word() == written) {
                Some(word) => moved.html_handling = Some(justified(moved, entry.line, *word)),
                None => moved.lost(entry.line, &setting, format!("`{written}` is no way of Cloudflare's"), None),
            },
            "not_found_handling" => match NOT_FOUND.iter().find(|word| word.word() == written) {
                Some(word) => moved.not_found = Some(justified(moved, entry.line, *word)),
                None => moved.lost(entry.line, &setting, format!("`{written}` is no way of Cloudflare's"), None),
            },
            "run_worker_first" => moved.lost(entry.line, &setting, "a Worker does not run at the edge", Some(ROUTES)),
            _ => moved.lost(entry.line, &setting, "it is for a Worker, which does not run at the edge", None),
        }
    }
    if moved.not_found.as_ref().is_some_and(|justified| justified.word == NotFound::SinglePageApplication) {
        let how = "a missing script, style, image or fetch is a 404 here; navigations alone get /index.html";
        moved.differs(assets.line, "assets.not_found_handling", how, None);
    }
}

#[cfg(test)]
mod tests;
