//! `firebase.json`, its part `hosting`: <https://firebase.google.com/docs/hosting/full-config>.

use devanture_config::parsing::Mistakes;
use devanture_config::site_toml::{HtmlHandling, NotFound};

use super::around::{Around, folder, unread_rule_files};
use super::clean_urls::{self, Way};
use super::exclude::{self, PathKind};
use super::moved::{Justified, Moved, Rule};
use super::source::{INSTEAD, Item, Refused, for_headers, for_redirects, refused};
use super::syntax::{glob, regex};
use super::value::{Entry, Node, Value, read_json};
use super::vercel::add_headers;

/// The name of the file.
pub(crate) const FILE: &str = "firebase.json";
/// Files that are never served here, so that `ignore` may name them.
const IGNORED: [&str; 2] = ["firebase.json", "**/.*"];
/// Files that the tool of Firebase leaves in the project and never uploads; `.firebase` is left out of every push.
const BY_DEFAULT: [&str; 2] = ["firebase-debug.log", "firebase-debug.*.log"];
/// Files of other services, and the default folder of functions.
const OTHERS: [(&str, &[&str]); 3] =
    [("database", &["rules"]), ("firestore", &["indexes", "rules"]), ("storage", &["rules"])];
const FUNCTIONS: &str = "functions";

/// Reads the file; of several sites the one with the `target` or `site` `wanted`, else the first.
///
/// # Errors
/// The place at which the file is not JSON.
pub(crate) fn read(text: &str, wanted: Option<&str>, around: &Around<'_>) -> Result<Moved, Mistakes> {
    let mut moved = Moved::new(FILE);
    let root = read_json(FILE, text)?;
    for entry in root.entries() {
        if !matches!(entry.key.as_str(), "hosting" | "$schema") {
            moved.lost(entry.line, &entry.key, "it is no part of the hosting", None);
        }
    }
    let nothing = Node { line: 0, value: Value::Null };
    let hosting = root.get("hosting").map_or(&nothing, |hosting| site(&mut moved, hosting, wanted));
    clean_urls::read(&mut moved, hosting, html_handling);
    for entry in hosting.entries() {
        part(&mut moved, entry);
    }
    unread_rule_files(&mut moved, "Firebase", around);
    others(&mut moved, &root, around);
    exclude::by_default(&mut moved, around, &BY_DEFAULT);
    Ok(moved)
}

/// Excludes code and settings of other services that are among the pages.
fn others(moved: &mut Moved, root: &Node, around: &Around<'_>) {
    // Some services may have a list.
    let each = |node: &Node| match node.items() {
        [] => vec![node.clone()],
        items => items.to_vec(),
    };
    for codebase in root.get(FUNCTIONS).map(each).unwrap_or_default() {
        exclude::hide(moved, around, codebase.text_of("source").unwrap_or(FUNCTIONS), PathKind::Folder);
    }
    for (service, keys) in OTHERS {
        for one in root.get(service).map(each).unwrap_or_default() {
            for file in keys.iter().filter_map(|key| one.text_of(key)) {
                exclude::hide(moved, around, file, PathKind::File);
            }
        }
    }
}

/// Selects a site of several.
fn site<'h>(moved: &mut Moved, hosting: &'h Node, wanted: Option<&str>) -> &'h Node {
    let name = |site: &'h Node| site.first(&["target", "site"]).and_then(Node::text);
    let is_wanted = |site: &&Node| wanted.is_some() && [site.text_of("target"), site.text_of("site")].contains(&wanted);
    let sites = hosting.items();
    let Some(chosen) = sites.iter().find(is_wanted).or_else(|| sites.first()) else { return hosting };
    for other in sites.iter().filter(|other| !std::ptr::eq(*other, chosen)) {
        let name = name(other).unwrap_or("another site");
        let instead = format!("`devanture init --from firebase --app {name}` in a folder of its own");
        moved.lost(
            other.line,
            "hosting",
            format!("`{name}` is a site of its own, and one app is one site"),
            Some(&instead),
        );
    }
    chosen
}

/// Maps `cleanUrls` and `trailingSlash`, with differences.
pub(crate) const fn html_handling(clean_urls: bool, trailing_slash: Option<bool>) -> Way {
    match (clean_urls, trailing_slash) {
        (true, Some(false)) => (HtmlHandling::DropTrailingSlash, None),
        (true, Some(true)) => (HtmlHandling::ForceTrailingSlash, None),
        (true, None) => {
            (HtmlHandling::DropTrailingSlash, Some("`/folder/` answered there, and is redirected to `/folder` here"))
        }
        (false, Some(false)) => (
            HtmlHandling::DropTrailingSlash,
            Some("`/page.html` answered there, and is redirected to `/page` here; folders are the same"),
        ),
        (false, None | Some(true)) => (
            HtmlHandling::AutoTrailingSlash,
            Some("`/page.html` answered there, and is redirected to `/page` here; folders are the same"),
        ),
    }
}

fn part(moved: &mut Moved, entry: &Entry) {
    let (line, node, key) = (entry.line, &entry.node, entry.key.as_str());
    match key {
        "cleanUrls" | "trailingSlash" | "target" => {}
        "public" => moved.www = node.text().map(folder),
        "site" => moved.app = node.text().map(str::to_owned),
        "redirects" => node.items().iter().for_each(|item| redirect(moved, item)),
        "rewrites" => rewrites(moved, node),
        "headers" => node.items().iter().for_each(|item| headers(moved, item)),
        "ignore" => ignore(moved, node),
        "source" | "frameworksBackend" => {
            moved.lost(
                line,
                key,
                "nothing is built or run here",
                Some("build with your own tools, a static export or a backend"),
            );
        }
        "predeploy" | "postdeploy" => {
            moved.lost(
                line,
                key,
                "a push runs no commands",
                Some("run them in your CI before or after `devanture push`"),
            );
        }
        "i18n" => moved.lost(
            line,
            key,
            "folders by language and country are not chosen",
            Some("[[rewrites]] with languages = [\"de\"], one for each language"),
        ),
        "appAssociation" => moved.lost(
            line,
            key,
            "the files of app links are not made",
            Some("put them into .well-known/ of the site's folder"),
        ),
        _ => moved.lost(line, key, "it is about Firebase's service", None),
    }
}

/// Converts `ignore`; there the globs have no order.
fn ignore(moved: &mut Moved, node: &Node) {
    let mut folders = Vec::new();
    for pattern in node.items().iter().filter(|item| item.text().is_none_or(|text| !IGNORED.contains(&text))) {
        let (written, at) = (pattern.written().unwrap_or_default(), (pattern.line, "ignore"));
        match exclude::of_firebase(&written) {
            Some(glob) if glob.ends_with('/') => folders.push((glob, at)),
            Some(glob) => {
                exclude::add(moved, &glob, at);
                // Firebase uploads a folder of such a name.
                if moved.exclude.last() == Some(&glob) {
                    exclude::add(moved, &format!("!{glob}/"), at);
                }
            }
            None => {
                let why = format!("`{written}` is not left out");
                moved.lost(at.0, at.1, why, Some("exclude = [\"…\"], which takes what .gitignore does"));
            }
        }
    }
    // After the other globs: their exceptions would include these again.
    for (glob, at) in folders {
        exclude::add(moved, &glob, at);
    }
}

/// Returns the pattern of a rule, which is a glob or an expression, and its text.
fn source(item: &Node) -> Result<(String, Vec<Item>), Refused> {
    if let Some(source) = item.first(&["source", "glob"]).and_then(Node::text) {
        let read = glob(source).map_err(|refused| Refused(format!("`{source}`: {refused}")));
        return Ok((source.to_owned(), read?));
    }
    match item.text_of("regex") {
        Some(source) => {
            let read = regex(source).map_err(|refused| Refused(format!("`{source}`: {refused}")));
            Ok((source.to_owned(), read?))
        }
        None => refused("`source` is missing"),
    }
}

fn rules(item: &Node, destination: &str) -> Result<Vec<Rule>, Refused> {
    let (source, items) = source(item)?;
    let ours = for_redirects(&items).map_err(|refused| Refused(format!("`{source}`: {refused}")))?;
    let mut rules = Vec::new();
    for one in ours {
        let to = one.fill(destination)?;
        let is_path = to.starts_with('/') || to.contains("://");
        let to = if is_path { to } else { format!("/{to}") };
        let folder = one.folder(&to);
        let rule = Rule { line: item.line, takes_folder: one.takes_folder, ..Rule::default() };
        for (from, to) in folder.into_iter().chain([(one.pattern, to)]) {
            rules.push(Rule { from, to, ..rule.clone() });
        }
    }
    Ok(rules)
}

fn redirect(moved: &mut Moved, item: &Node) {
    let Some(destination) = item.text_of("destination") else {
        return moved.lost(item.line, "redirects", "`destination` is missing", None);
    };
    let status = item.get("type").and_then(Node::status).unwrap_or(301);
    match rules(item, destination) {
        // Firebase's redirects precede files.
        Ok(rules) => rules.into_iter().for_each(|rule| {
            moved.redirect("redirects", Rule { status: Some(status), force: true, ..rule });
        }),
        Err(refused) => moved.lost(item.line, "redirects", refused.to_string(), Some(INSTEAD)),
    }
}

fn rewrites(moved: &mut Moved, node: &Node) {
    let mut shell = None;
    for item in node.items() {
        if let Some(line) = shell {
            moved.stays(
                item.line,
                "rewrites",
                format!("it never applied: line {line} takes every path first"),
                Some("leave it out"),
            );
            continue;
        }
        let written = item.first(&["source", "glob", "regex"]).and_then(Node::text).unwrap_or_default();
        let Some(destination) = item.text_of("destination") else {
            rewrite_elsewhere(moved, item, written);
            continue;
        };
        let is_everything =
            matches!(written, "**" | "/**" | "**/**" | "/**/*" | "**/*" | ".*" | "/.*" | "^/.*$" | "^.*$");
        if is_everything && matches!(destination, "/index.html" | "index.html" | "/") {
            shell = Some(item.line);
            let because = format!(
                "{FILE}:{}: every path that is no file leads to /index.html. Here only navigations do.",
                item.line
            );
            moved.not_found = Some(Justified { word: NotFound::SinglePageApplication, because });
            continue;
        }
        match rules(item, destination) {
            Ok(rules) => rules.into_iter().for_each(|rule| moved.rewrite("rewrites", rule)),
            Err(refused) => moved.lost(item.line, "rewrites", refused.to_string(), Some(INSTEAD)),
        }
    }
}

/// Notes a rewrite to a service of Google.
fn rewrite_elsewhere(moved: &mut Moved, item: &Node, source: &str) {
    let path = glob(source).and_then(|items| for_redirects(&items)).ok();
    let path = path.as_deref().and_then(<[_]>::first).map_or("/api/*", |one| one.pattern.as_str()).to_owned();
    if let Some(target) = item.first(&["run", "function"]) {
        let name = target
            .first(&["serviceId", "functionId"])
            .and_then(Node::text)
            .or_else(|| target.text())
            .unwrap_or_default();
        let instead = format!("[[routes]] path = \"{path}\" to = \"https://…\", with the address of {name}");
        return moved.lost(
            item.line,
            "rewrites",
            format!("`{source}` leads to {name}, which runs at Google's"),
            Some(&instead),
        );
    }
    if item.get("dynamicLinks").is_some() {
        return moved.lost(
            item.line,
            "rewrites",
            format!("`{source}` makes dynamic links, a service of Firebase"),
            None,
        );
    }
    moved.lost(item.line, "rewrites", format!("`{source}` leads nowhere: `destination` is missing"), None);
}

fn headers(moved: &mut Moved, item: &Node) {
    let read = source(item).and_then(|(source, items)| Ok((source, for_headers(&items)?)));
    match read {
        Ok((source, ours)) => ours.iter().for_each(|one| add_headers(moved, item, &source, one)),
        Err(refused) => moved.lost(item.line, "headers", refused.to_string(), Some(INSTEAD)),
    }
}

#[cfg(test)]
mod tests;
