//! `netlify.toml`: <https://docs.netlify.com/configure-builds/file-based-configuration/>.

use devanture_config::parsing::Mistakes;
use devanture_config::site_toml::{NotFound, Rules};
use devanture_site::rules::check::takes_all_of;
use devanture_site::rules::pattern::Segment;
use devanture_site::rules::{HEADERS_FILE, Pattern, REDIRECTS_FILE, Redirect, RuleTable};

use super::around::{Around, folder};
use super::exclude::{self, PathKind};
use super::moved::{Headers, Justified, Moved, Rule};
use super::value::{Entry, Node, Value, read_toml, status_of};

/// The name of the file.
pub(crate) const FILE: &str = "netlify.toml";
const ROUTES: &str = "run it as a backend, and send its paths there with [[routes]]";
const BUILD: &str = "build with your own tools, then `devanture push`";

/// Reads the file; without a file, returns the defaults of a Netlify site.
///
/// # Errors
/// All places at which the file is not TOML.
pub(crate) fn read(text: Option<&str>, around: &Around<'_>) -> Result<Moved, Mistakes> {
    let mut moved = Moved { rules: Some(Rules::Netlify), ..Moved::new(FILE) };
    match text {
        Some(text) => {
            let root = read_toml(FILE, text)?;
            for entry in root.entries() {
                top(&mut moved, entry);
            }
            hide_functions(&mut moved, &root, around);
        }
        None => moved.stays(0, "file", "it is not there, so that only Netlify's own meaning is written", None),
    }
    for file in [REDIRECTS_FILE, HEADERS_FILE] {
        if around.in_www(moved.www.as_deref(), file) {
            let what = "it stays as it is in the site's folder, with Netlify's meaning, and goes before the tables";
            moved.stays(0, file, what, None);
        }
    }
    Ok(moved)
}

/// Excludes functions in a folder among the pages.
fn hide_functions(moved: &mut Moved, root: &Node, around: &Around<'_>) {
    let build = root.get("build");
    let base = build.and_then(|build| build.text_of("base")).unwrap_or_default();
    let named = [
        build.and_then(|build| build.text_of("functions")),
        build.and_then(|build| build.text_of("edge_functions")),
        root.get("functions").and_then(|functions| functions.text_of("directory")),
    ];
    for path in named.into_iter().flatten() {
        exclude::hide(moved, around, &format!("{base}/{path}"), PathKind::Folder);
    }
}

fn top(moved: &mut Moved, entry: &Entry) {
    let (line, node) = (entry.line, &entry.node);
    match entry.key.as_str() {
        "build" => build(moved, node),
        "redirects" => redirects(moved, node),
        "headers" => node.items().iter().for_each(|item| headers(moved, item)),
        "context" => {
            for context in node.entries() {
                let setting = format!("context.{}", context.key);
                let why = "contexts set up builds, which are yours here";
                moved.lost(
                    context.line,
                    &setting,
                    why,
                    Some("what is served differs by [env.NAME], for previews by [env.preview]"),
                );
            }
        }
        "functions" => moved.lost(line, "functions", "functions do not run at the edge", Some(ROUTES)),
        "edge_functions" => moved.lost(line, "edge_functions", "code does not run at the edge", Some(ROUTES)),
        "plugins" => moved.lost(line, "plugins", "plugins belong to Netlify's build", Some(BUILD)),
        "dev" => moved.lost(
            line,
            "dev",
            "it sets up Netlify's local server",
            Some("`devanture check` finds mistakes without an edge"),
        ),
        "images" => moved.lost(line, "images", "images are served as they are", Some("make the sizes when you build")),
        name => moved.lost(line, name, "it is about Netlify's service", None),
    }
}

fn build(moved: &mut Moved, build: &Node) {
    let base = build.text_of("base").unwrap_or_default();
    for entry in build.entries() {
        let setting = format!("build.{}", entry.key);
        match entry.key.as_str() {
            "base" => {}
            "publish" => match entry.node.text() {
                Some(publish) => moved.www = Some(folder(&format!("{base}/{publish}"))),
                None => moved.lost(entry.line, &setting, "it is no text", Some("www = \"dist\"")),
            },
            "command" | "environment" | "ignore" => {
                moved.lost(entry.line, &setting, "nothing is built here", Some(BUILD));
            }
            "functions" | "edge_functions" => {
                moved.lost(entry.line, &setting, "functions do not run at the edge", Some(ROUTES));
            }
            "processing" => processing(moved, &entry.node),
            _ => moved.lost(entry.line, &setting, "it is about Netlify's build", None),
        }
    }
}

fn processing(moved: &mut Moved, processing: &Node) {
    for entry in processing.entries() {
        let setting = format!("build.processing.{}", entry.key);
        match entry.key.as_str() {
            "html" if entry.node.bool_of("pretty_urls") == Some(true) => {
                let why = "links in pages are not rewritten; `/page` answers with `page.html` in any case";
                let instead = "html_handling = \"auto-trailing-slash\" also redirects `/page.html` to `/page`";
                moved.lost(entry.line, &setting, why, Some(instead));
            }
            "html" | "skip_processing" => {}
            _ => {
                moved.lost(
                    entry.line,
                    &setting,
                    "files are served as they are",
                    Some("make them small when you build"),
                );
            }
        }
    }
}

fn redirects(moved: &mut Moved, list: &Node) {
    let mut before = EarlierRules::default();
    for item in list.items() {
        match redirect(moved, item) {
            Ok(found) => before.add(moved, item.line, found),
            Err((why, instead)) => moved.lost(item.line, "redirects", why, instead),
        }
    }
}

type Why = (String, Option<&'static str>);

/// A converted entry of `[[redirects]]`.
struct Found {
    rule: Rule,
    is_rewrite: bool,
}

/// Reads an entry of `[[redirects]]`; older names of its keys are accepted too.
fn redirect(moved: &mut Moved, item: &Node) -> Result<Found, Why> {
    let text = |keys: &[&str]| item.first(keys).and_then(Node::text).map(str::to_owned);
    let from = text(&["from", "origin"]).ok_or_else(|| ("`from` is missing".to_owned(), None))?;
    let (status, is_marked) = status(item)?;
    let force = is_marked || item.bool_of("force").unwrap_or(false);
    let to = match text(&["to", "destination"]) {
        Some(to) => to,
        // Netlify's short form: the same path.
        None if status == 200 && from.ends_with("/*") => format!("{}:splat", from.trim_end_matches('*')),
        None => return Err((format!("`{from}` leads nowhere: `to` is missing"), None)),
    };
    if to.starts_with("/.netlify/") {
        return Err((format!("`{from}` leads to `{to}`, which runs at Netlify alone"), Some(ROUTES)));
    }
    let mut rule = Rule { line: item.line, from, to, force, ..Rule::default() };
    let is_rewrite = status == 200;
    if !is_rewrite {
        rule.status = Some(status);
    }
    let query = item.first(&["query", "params", "parameters"]).map(Node::entries).unwrap_or_default();
    rule.query = query.iter().filter_map(|entry| Some((entry.key.clone(), entry.node.written()?))).collect();
    conditions(&mut rule, item)?;
    for entry in item.entries() {
        match entry.key.as_str() {
            "from" | "origin" | "to" | "destination" | "status" | "force" | "conditions" => {}
            "query" | "params" | "parameters" => {}
            "signed" | "signing" | "sign" => {
                let how = format!("`{}` goes to its site without Netlify's signature", rule.from);
                moved.differs(
                    entry.line,
                    "redirects.signed",
                    how,
                    Some("let the backend trust the edge's address instead"),
                );
            }
            "headers" if entry.node.entries().is_empty() => {}
            "headers" => {
                let why = format!("`{}` cannot add fields to what it sends on", rule.from);
                moved.lost(entry.line, "redirects.headers", why, None);
            }
            name => {
                moved.lost(entry.line, &format!("redirects.{name}"), format!("`{}` goes without it", rule.from), None);
            }
        }
    }
    Ok(Found { rule, is_rewrite })
}

/// Returns the status, and the mark of a forced rule.
fn status(item: &Node) -> Result<(u16, bool), Why> {
    let Some(written) = item.get("status").and_then(Node::written) else { return Ok((301, false)) };
    let number = written.strip_suffix('!').unwrap_or(&written);
    match status_of(number) {
        Some(status) => Ok((status, written.ends_with('!'))),
        None => Err((format!("`{written}` is no status"), None)),
    }
}

fn conditions(rule: &mut Rule, item: &Node) -> Result<(), Why> {
    for entry in item.get("conditions").map(Node::entries).unwrap_or_default() {
        let values: Vec<String> =
            entry.node.texts().iter().flat_map(|text| text.split(',')).map(|t| t.trim().to_owned()).collect();
        match entry.key.to_ascii_lowercase().as_str() {
            "language" => rule.languages = values,
            "cookie" => rule.cookies = values,
            "country" => {
                let why = format!("`{}` is for visitors of a country, which the edge does not know", rule.from);
                return Err((why, Some("languages = [\"de\"] chooses by the visitor's language")));
            }
            "role" => {
                let why = format!("`{}` is for people with a role, whom the edge does not know", rule.from);
                return Err((why, Some("[[headers]] with basic_auth, or a backend behind [[routes]]")));
            }
            name => return Err((format!("`{}` has the condition `{name}`, which is not known here", rule.from), None)),
        }
    }
    Ok(())
}

/// The earlier rules: at Netlify the first match counts, and here redirects precede rewrites.
#[derive(Default)]
struct EarlierRules {
    /// Each rule with its line, and set for a rewrite.
    rules: Vec<(Redirect, usize, bool)>,
}

impl EarlierRules {
    fn add(&mut self, moved: &mut Moved, line: usize, found: Found) {
        let Found { rule, is_rewrite } = found;
        let kind = if is_rewrite { RuleTable::Rewrites } else { RuleTable::Redirects };
        let Ok(redirect) = rule.as_redirect(kind) else {
            // The mistake is reported with the rule.
            return if is_rewrite { moved.rewrite("redirects", rule) } else { moved.redirect("redirects", rule) };
        };
        if let Some((_, earlier, _)) = self.rules.iter().find(|(earlier, ..)| takes_all_of(earlier, &redirect)) {
            let why = format!("`{}` never applied: line {earlier} takes its paths first", rule.from);
            return moved.stays(line, "redirects", why, Some("leave it out"));
        }
        let crossed = self
            .rules
            .iter()
            .find(|(earlier, _, rewrites)| *rewrites && !is_rewrite && overlap(&earlier.from, &redirect.from));
        if let Some((_, earlier, _)) = crossed {
            let how = format!("`{}` goes before the rewrite of line {earlier} here, which came first", rule.from);
            moved.differs(line, "redirects", how, Some("in a _redirects file both keep their order"));
        }
        self.rules.push((redirect, line, is_rewrite));
        let is_shell = rule.from == "/*" && rule.to == "/index.html" && !rule.force && rule.is_unconditional();
        if is_rewrite && is_shell {
            let because =
                format!("{FILE}:{line}: every path that is no file leads to /index.html. Here only navigations do.");
            moved.not_found = Some(Justified { word: NotFound::SinglePageApplication, because });
        } else if is_rewrite {
            moved.rewrite("redirects", rule);
        } else {
            moved.redirect("redirects", rule);
        }
    }
}

/// Returns true if some path may match both; considers only patterns of whole segments.
fn overlap(one: &Pattern, other: &Pattern) -> bool {
    use devanture_site::rules::pattern::Ending;

    let ((own, own_ending), (others, others_ending)) = (one.steps(), other.steps());
    let meets = own.iter().zip(others).all(|pair| match pair {
        (Segment::Text(one), Segment::Text(other)) => one == other,
        (Segment::Name(_), _) | (_, Segment::Name(_)) => true,
    });
    let reaches = match own.len().cmp(&others.len()) {
        std::cmp::Ordering::Less => own_ending != Ending::Exact,
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => others_ending != Ending::Exact,
    };
    meets && reaches
}

fn headers(moved: &mut Moved, item: &Node) {
    let Some(path) = item.first(&["for", "path"]).and_then(Node::text) else {
        return moved.lost(item.line, "headers", "`for` is missing", Some("for = \"/*\""));
    };
    // Netlify looks at the segments alone.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut rule = Headers { line: item.line, path, ..Headers::default() };
    for entry in item.get("values").map(Node::entries).unwrap_or_default() {
        if entry.key.eq_ignore_ascii_case("basic-auth") {
            let users = entry.node.texts().join(" ");
            rule.basic_auth.extend(users.split_whitespace().map(str::to_owned));
            let what = "its passwords stand in devanture.toml, as they stood in netlify.toml";
            moved.stays(entry.line, "headers.Basic-Auth", what, Some("keep the file to yourself"));
            continue;
        }
        let values: Vec<String> = match &entry.node.value {
            Value::List(items) => {
                items.iter().filter_map(Node::written).map(|value| with_tidy_commas(&value)).collect()
            }
            _ => entry.node.written().iter().map(|value| with_tidy_commas(value)).collect(),
        };
        rule.set.push((entry.key.clone(), values));
    }
    moved.fields("headers", rule);
}

/// Joins a value over several lines, with its commas in Netlify's form.
fn with_tidy_commas(value: &str) -> String {
    let parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let joined = parts.join(", ");
    joined.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
