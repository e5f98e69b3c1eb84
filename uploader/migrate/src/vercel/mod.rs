//! `vercel.json`: <https://vercel.com/docs/project-configuration>.

use devanture_config::parsing::Mistakes;
use devanture_config::site_toml::{HtmlHandling, NotFound};

use super::around::{Around, folder, unread_rule_files};
use super::clean_urls::{self, Way};
use super::exclude::{self, PathKind};
use super::moved::{Headers, Justified, Moved, Rule};
use super::source::{Capture, INSTEAD, TargetPattern, for_headers, for_redirects};
use super::syntax::{path_to_regexp, takes_everything};
use super::value::{Entry, Node, read_json};

/// The name of the file.
pub(crate) const FILE: &str = "vercel.json";
/// Lists of paths that are not uploaded; the first existing file is read.
pub(crate) const IGNORE_FILES: [&str; 2] = [".vercelignore", ".nowignore"];
/// Files in the folder of the configuration that were not served, even if that is the folder of the pages.
const UNSERVED: [(&str, PathKind); 4] = [
    ("api", PathKind::Folder),
    ("middleware.js", PathKind::File),
    ("middleware.ts", PathKind::File),
    ("package.json", PathKind::File),
];
/// Files that Vercel does not upload by default, without names that begin with a dot, which are not served here:
/// <https://vercel.com/docs/builds/build-features#ignored-files-and-folders>.
const BY_DEFAULT: [&str; 6] = ["npm-debug.log", "config.gypi", "node_modules", "__pycache__", "venv", "CVS"];
/// A configuration that is a program.
pub(crate) const PROGRAM: &str = "vercel.ts";
const ROUTES: &str = "run it as a backend, and send its paths there with [[routes]]";
const SCHEDULES: &str = "a command of your backend in [server.schedule.NAME] runs by the clock";
const BUILD: &str = "build with your own tools, then `devanture push`";

/// Reads the file.
///
/// # Errors
/// The place at which the file is not JSON.
pub(crate) fn read(text: &str, around: &Around<'_>) -> Result<Moved, Mistakes> {
    let mut moved = Moved::new(FILE);
    let root = read_json(FILE, text)?;
    clean_urls::read(&mut moved, &root, html_handling);
    for entry in root.entries() {
        top(&mut moved, entry);
    }
    if (around.has)("api") {
        moved.lost(0, "api/", "functions of the folder `api` do not run at the edge", Some(ROUTES));
    }
    unread_rule_files(&mut moved, "Vercel", around);
    exclude::by_default(&mut moved, around, &BY_DEFAULT);
    for (path, what) in UNSERVED {
        if (around.has)(path) {
            exclude::hide(&mut moved, around, path, what);
        }
    }
    for function in root.get("functions").map(Node::entries).unwrap_or_default() {
        exclude::hide(&mut moved, around, &function.key, PathKind::File);
    }
    Ok(moved)
}

/// Maps `cleanUrls` and `trailingSlash`, with differences.
pub(crate) const fn html_handling(clean_urls: bool, trailing_slash: Option<bool>) -> Way {
    match (clean_urls, trailing_slash) {
        (true, Some(false)) => (HtmlHandling::DropTrailingSlash, None),
        (true, Some(true)) => (HtmlHandling::ForceTrailingSlash, None),
        (true, None) => {
            (HtmlHandling::DropTrailingSlash, Some("`/page/` answered there, and is redirected to `/page` here"))
        }
        (false, None) => (HtmlHandling::AsIs, Some("`/page` was a 404 there, and answers with `page.html` here")),
        (false, Some(true)) => (
            HtmlHandling::AutoTrailingSlash,
            Some("`/page.html` answered there, and is redirected to `/page` here; folders are the same"),
        ),
        (false, Some(false)) => (
            HtmlHandling::DropTrailingSlash,
            Some("`/page.html` answered there, and is redirected to `/page` here; folders are the same"),
        ),
    }
}

fn top(moved: &mut Moved, entry: &Entry) {
    let (line, node, key) = (entry.line, &entry.node, entry.key.as_str());
    match key {
        "$schema" | "version" | "cleanUrls" | "trailingSlash" => {}
        "name" => moved.app = node.text().map(str::to_owned),
        "outputDirectory" => moved.www = node.text().map(folder),
        "redirects" => node.items().iter().for_each(|item| redirect(moved, item)),
        "rewrites" => rewrites(moved, node),
        "headers" => node.items().iter().for_each(|item| headers(moved, item)),
        "routes" => routes(moved, node),
        "functions" => moved.lost(line, key, "functions do not run at the edge", Some(ROUTES)),
        "crons" => {
            moved.lost(line, key, "functions do not run at the edge", Some(SCHEDULES));
        }
        "buildCommand" => {
            // With an empty command the folder is served as uploaded.
            moved.is_built = node.text().map(|command| !command.trim().is_empty());
            moved.lost(line, key, "nothing is built here", Some(BUILD));
        }
        "installCommand" | "devCommand" | "framework" | "ignoreCommand" | "builds" | "build" => {
            moved.lost(line, key, "nothing is built here", Some(BUILD));
        }
        "env" => moved.lost(line, key, "files know no variables", Some("set them where you build")),
        "images" => moved.lost(line, key, "images are served as they are", Some("make the sizes when you build")),
        "alias" => {
            moved.lost(line, key, "hostnames belong to an environment", Some("hostnames = […] below [env.prod]"));
        }
        "regions" => moved.lost(line, key, "an edge is where you run it", None),
        "git" | "github" => {
            moved.lost(line, key, "nothing is deployed from a repository", Some("`devanture push` in your CI"));
        }
        _ => moved.lost(line, key, "it is about Vercel's service", None),
    }
}

/// The supported conditions of a rule.
#[derive(Default)]
struct Conditions {
    host: Option<String>,
    query: Vec<(String, String)>,
    cookies: Vec<String>,
    captures: Vec<String>,
}

type Why = (String, Option<&'static str>);

fn conditions(item: &Node) -> Result<Conditions, Why> {
    if item.get("missing").is_some_and(|missing| !missing.items().is_empty()) {
        return Err(("it has `missing`, and here no rule is for what is not there".to_owned(), None));
    }
    let mut conditions = Conditions::default();
    for has in item.get("has").map(Node::items).unwrap_or_default() {
        let (kind, key) = (has.text_of("type").unwrap_or_default(), has.text_of("key").unwrap_or_default().to_owned());
        let value = has.text_of("value");
        match (kind, value) {
            ("host", Some(value)) => match literal(value) {
                Some(host) if conditions.host.is_none() => conditions.host = Some(host),
                _ => {
                    return Err((
                        format!("it is for hosts like `{value}`"),
                        Some("from = \"https://HOST/…\", a rule for each host"),
                    ));
                }
            },
            ("query", None) => {
                let name = capture(&mut conditions, &key);
                conditions.query.push((key, name));
            }
            ("query", Some(value)) => match (group_name(value), literal(value)) {
                (Some(name), _) => {
                    let name = capture(&mut conditions, &name);
                    conditions.query.push((key, name));
                }
                (None, Some(value)) => conditions.query.push((key, value)),
                (None, None) => {
                    return Err((
                        format!("it is for values of `{key}` like `{value}`"),
                        Some("query = { … } takes one value, or any"),
                    ));
                }
            },
            ("cookie", None) => conditions.cookies.push(key),
            ("cookie", Some(_)) => {
                return Err((
                    format!("it is for one value of the cookie `{key}`"),
                    Some("cookies = [\"NAME\"] asks whether it is there"),
                ));
            }
            ("header", _) if key.eq_ignore_ascii_case("accept-language") => {
                return Err(("it is for visitors by their Accept-Language".to_owned(), Some("languages = [\"de\"]")));
            }
            (kind, _) => return Err((format!("it has a condition on `{kind} {key}`"), None)),
        }
    }
    if conditions.cookies.len() > 1 {
        return Err(("it wants several cookies at once, and here one of them is enough".to_owned(), None));
    }
    Ok(conditions)
}

/// Records a name that a query captures, and returns the form of the capture here.
fn capture(conditions: &mut Conditions, name: &str) -> String {
    conditions.captures.push(name.to_owned());
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => format!(":{name}"),
        false => format!(":q{name}"),
    }
}

/// Returns the name in `(?<name>.*)`, and in similar groups for any text.
fn group_name(value: &str) -> Option<String> {
    let (name, pattern) = value.strip_prefix("(?<")?.strip_suffix(')')?.split_once('>')?;
    matches!(pattern, ".*" | ".+" | "[^/]+").then(|| name.to_owned())
}

/// Returns the text of an expression without special characters.
fn literal(value: &str) -> Option<String> {
    let value = value.strip_prefix('^').unwrap_or(value);
    let value = value.strip_suffix('$').unwrap_or(value).replace("\\.", ".").replace("\\-", "-");
    let is_plain =
        !value.is_empty() && !value.contains(['\\', '(', ')', '[', ']', '*', '+', '?', '|', '{', '}', '^', '$']);
    is_plain.then_some(value)
}

/// Returns the rules for an item of `redirects` or `rewrites`.
fn rules(moved: &mut Moved, item: &Node, setting: &str) -> Result<Vec<Rule>, Why> {
    let text = |key: &str| item.text_of(key).ok_or_else(|| (format!("`{key}` is missing"), None));
    let (source, destination) = (text("source")?, text("destination")?);
    let why = |refused: &dyn std::fmt::Display| (format!("`{source}`: {refused}"), Some(INSTEAD));
    let conditions = conditions(item).map_err(|(why, instead)| (format!("`{source}`: {why}"), instead))?;
    let ours = path_to_regexp(source).and_then(|items| for_redirects(&items)).map_err(|refused| why(&refused))?;
    if !conditions.query.is_empty() {
        let how = format!("`{source}` is for exactly these parameters here, and was for others beside them too");
        moved.differs(item.line, setting, how, None);
    }
    let mut rules = Vec::new();
    for mut one in ours {
        add_query_captures(&mut one, &conditions);
        let host = conditions.host.as_ref().map(|host| format!("https://{host}")).unwrap_or_default();
        let to = one.fill(destination).map_err(|refused| why(&refused))?;
        let rule = Rule {
            line: item.line,
            query: conditions.query.clone(),
            cookies: conditions.cookies.clone(),
            takes_folder: one.takes_folder,
            ..Rule::default()
        };
        let folder = one.folder(&to);
        for (from, to) in folder.into_iter().chain([(one.pattern, to)]) {
            rules.push(Rule { from: format!("{host}{from}"), to, ..rule.clone() });
        }
    }
    Ok(rules)
}

fn add_query_captures(one: &mut TargetPattern, conditions: &Conditions) {
    let captured = conditions.query.iter().map(|(_, value)| value).filter(|value| value.starts_with(':'));
    for (name, value) in conditions.captures.iter().zip(captured) {
        // Captures of conditions precede captures of the path.
        one.values.insert(0, (Capture { name: Some(name.clone()), number: 0 }, value.clone()));
    }
}

fn redirect(moved: &mut Moved, item: &Node) {
    let status = match (item.bool_of("permanent"), item.get("statusCode").and_then(Node::status)) {
        (Some(true), _) | (None, None) => 308,
        (Some(false), _) => 307,
        (None, Some(status)) => status,
    };
    match rules(moved, item, "redirects") {
        // Vercel's redirects precede files.
        Ok(rules) => rules.into_iter().for_each(|rule| {
            moved.redirect("redirects", Rule { status: Some(status), force: true, ..rule });
        }),
        Err((why, instead)) => moved.lost(item.line, "redirects", why, instead),
    }
}

fn rewrites(moved: &mut Moved, node: &Node) {
    let (mut items, mut fallback) = (Vec::from_iter(node.items()), Vec::new());
    if let Some(phases) = ["beforeFiles", "afterFiles", "fallback"].iter().find_map(|phase| node.get(phase)) {
        // The three lists are Next.js's own form.
        moved.differs(
            phases.line,
            "rewrites",
            "all rewrites go after files here",
            Some("force = true goes before them"),
        );
        for phase in ["beforeFiles", "afterFiles"] {
            items.extend(node.get(phase).map(Node::items).unwrap_or_default());
        }
        fallback.extend(node.get("fallback").map(Node::items).unwrap_or_default());
    }
    let mut shell: Option<(usize, Option<String>)> = None;
    for item in items.into_iter().chain(fallback) {
        if let Some((line, excluded)) = &shell
            && !excluded.as_ref().is_some_and(|excluded| may_be_of(item, excluded))
        {
            moved.stays(
                item.line,
                "rewrites",
                format!("it never applied: line {line} takes every path first"),
                Some("leave it out"),
            );
            continue;
        }
        if let Some(excluded) = shell_of(moved, item) {
            shell = Some((item.line, excluded));
            continue;
        }
        match rules(moved, item, "rewrites") {
            Ok(rules) => rules.into_iter().for_each(|rule| moved.rewrite("rewrites", rule)),
            Err((why, instead)) => moved.lost(item.line, "rewrites", why, instead),
        }
    }
}

/// Returns true if a rule may match some of the paths that an application's page leaves out; `excluded` is the inside
/// of a lookahead. True in doubt.
fn may_be_of(item: &Node, excluded: &str) -> bool {
    let source = item.text_of("source").unwrap_or_default();
    let path = source.strip_prefix('/').unwrap_or(source);
    let is_special =
        |c: char| matches!(c, ':' | '(' | ')' | '[' | '\\' | '*' | '+' | '?' | '{' | '.' | '|' | '^' | '$');
    let beginning = |text: &str| text.split(is_special).next().unwrap_or_default().to_owned();
    let own = beginning(path);
    let is_open = own.len() < path.len();
    let begins_so = excluded.split('|').any(|other| is_open && beginning(other).starts_with(&own));
    begins_so || regex::Regex::new(&format!("^(?:{excluded})")).map_or(true, |excluded| excluded.is_match(&own))
}

/// Converts a rewrite of every path to the application's page; returns the paths that it leaves out.
fn shell_of(moved: &mut Moved, item: &Node) -> Option<Option<String>> {
    let (source, destination) = (item.text_of("source")?, item.text_of("destination")?);
    let is_conditional = item.first(&["has", "missing"]).is_some_and(|list| !list.items().is_empty());
    if is_conditional || !matches!(destination, "/" | "/index.html" | "/index") {
        return None;
    }
    let excluded = takes_everything(source)?;
    shell(moved, item.line);
    if let Some(excluded) = &excluded {
        let how = format!(
            "paths of `{excluded}` lead to the application too, unless they belong to a route or are no navigation"
        );
        moved.differs(item.line, "rewrites", how, Some("[[routes]] for a backend's paths"));
    }
    Some(excluded)
}

fn shell(moved: &mut Moved, line: usize) {
    let because = format!("{FILE}:{line}: every path that is no file leads to /index.html. Here only navigations do.");
    moved.not_found = Some(Justified { word: NotFound::SinglePageApplication, because });
}

fn headers(moved: &mut Moved, item: &Node) {
    let Some(source) = item.text_of("source") else {
        return moved.lost(item.line, "headers", "`source` is missing", None);
    };
    if item.first(&["has", "missing"]).is_some_and(|list| !list.items().is_empty()) {
        let why = format!("`{source}` has a condition, and fields are for everybody here");
        return moved.lost(item.line, "headers", why, None);
    }
    let ours = match path_to_regexp(source).and_then(|items| for_headers(&items)) {
        Ok(ours) => ours,
        Err(refused) => return moved.lost(item.line, "headers", format!("`{source}`: {refused}"), Some(INSTEAD)),
    };
    for one in ours {
        add_headers(moved, item, source, &one);
    }
}

/// Adds the fields of an item for one of the patterns of its source.
pub(super) fn add_headers(moved: &mut Moved, item: &Node, source: &str, one: &TargetPattern) {
    if one.is_wider {
        let how = format!("`{source}` is `{}` here, whose star takes slashes too", one.pattern);
        moved.differs(item.line, "headers", how, None);
    }
    let mut rule = Headers { line: item.line, path: one.pattern.clone(), ..Headers::default() };
    for field in item.get("headers").map(Node::items).unwrap_or_default() {
        let (Some(name), Some(value)) = (field.text_of("key"), field.get("value").and_then(Node::written)) else {
            moved.lost(field.line, "headers", "a field has no `key` or no `value`", None);
            continue;
        };
        let filled = if one.is_used_by(&value) { one.fill_value(&value).map_err(|r| r.to_string()) } else { Ok(value) };
        match filled {
            // The last of equal names counts there, while several would be sent here.
            Ok(value) => {
                rule.set.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                rule.set.push((name.to_owned(), vec![value]));
            }
            Err(why) => moved.lost(field.line, "headers", format!("`{name}`: {why}"), None),
        }
    }
    moved.fields("headers", rule);
}

/// Converts `routes`, which preceded all others: the usual route to an application's page is converted, the rest is
/// noted.
fn routes(moved: &mut Moved, node: &Node) {
    for item in node.items() {
        if item.text_of("handle") == Some("filesystem") {
            continue;
        }
        let source = item.first(&["src", "source"]).and_then(Node::text).unwrap_or_default();
        let destination = item.first(&["dest", "destination"]).and_then(Node::text).unwrap_or_default();
        let is_everything = matches!(source, "/(.*)" | "/.*" | "(.*)" | ".*" | "^/(.*)$");
        if is_everything && matches!(destination, "/" | "/index.html" | "index.html") {
            shell(moved, item.line);
            continue;
        }
        let instead = "write it as redirects, rewrites or headers of vercel.json, and move again";
        moved.lost(item.line, "routes", format!("`{source}` is of the old form, which is not read"), Some(instead));
    }
}

#[cfg(test)]
mod tests;
