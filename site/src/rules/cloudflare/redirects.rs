//! `_redirects` in Cloudflare's meaning: rules precede files, and rules of a single path precede rules with `*` or
//! `:name`.

use std::collections::HashMap;

use devanture_config::site_toml::HtmlHandling;

use super::{is_too_long, repeated_capture, url_of};
use crate::rules::lines::{File, check_destination, lines, quoted, write};
use crate::rules::pattern::{Dialect, next_name};
use crate::rules::redirect::{BadTarget, Target};
use crate::rules::{Findings, REDIRECTS_FILE, Redirect};

/// Cloudflare's default status.
const STATUS: u16 = 302;
/// The statuses that Cloudflare accepts.
const STATUSES: [u16; 6] = [200, 301, 302, 303, 307, 308];
/// Maximum rules of a single path.
const STATIC_MAX: usize = 2_000;
/// Maximum rules with `*` or `:name`, including all rules after the first of them.
const DYNAMIC_MAX: usize = 100;

/// The rules so far.
struct Rules {
    html_handling: Option<HtmlHandling>,
    statics: Vec<Redirect>,
    dynamics: Vec<Redirect>,
    statics_seen: usize,
    dynamics_seen: usize,
    /// The line of each path.
    paths: HashMap<String, usize>,
}

/// A destination in comparable form, and as followed.
struct Destination {
    text: String,
    is_absolute: bool,
}

/// Parses the file in the order of Cloudflare's steps: a line that a later step drops has already been counted.
pub(super) fn read(text: &str, html_handling: Option<HtmlHandling>, findings: &mut Findings) -> Vec<Redirect> {
    let mut file = File::new(REDIRECTS_FILE, findings);
    let mut rules = Rules {
        html_handling,
        statics: Vec::new(),
        dynamics: Vec::new(),
        statics_seen: 0,
        dynamics_seen: 0,
        paths: HashMap::new(),
    };
    for (line, content) in lines(text) {
        let Some((from, to, status)) = tokens(&mut file, line, content) else { continue };
        let Some(from) = path(&mut file, line, from, to) else { continue };
        let is_static = rules.dynamics_seen == 0 && !from.contains('*') && next_name(&from).is_none();
        if is_static {
            rules.statics_seen += 1;
            if rules.statics_seen > STATIC_MAX {
                let message =
                    format!("the rule is dropped: {STATIC_MAX} rules for one path each are the most at Cloudflare");
                file.doubt(line, message, Some("put several into one with * or :name"));
                continue;
            }
        } else {
            rules.dynamics_seen += 1;
            if rules.dynamics_seen > DYNAMIC_MAX {
                let message = format!(
                    "this line and all below are dropped: {DYNAMIC_MAX} rules with * or :name, and those after the \
                     first of them, are the most at Cloudflare"
                );
                file.doubt(line, message, Some("write rules for one path each at the top of the file"));
                break;
            }
        }
        if let Some(rule) = rule(&mut file, &mut rules, line, from, to, status) {
            if is_static { &mut rules.statics } else { &mut rules.dynamics }.push(rule);
        }
    }
    file.sort();
    rules.statics.append(&mut rules.dynamics);
    rules.statics
}

fn tokens<'t>(file: &mut File<'_>, line: usize, content: &'t str) -> Option<(&'t str, &'t str, Option<&'t str>)> {
    if is_too_long(content) {
        let message = format!("the line is dropped: {} characters are the most at Cloudflare", super::LINE_UNITS_MAX);
        file.doubt(line, message, None);
        return None;
    }
    let tokens: Vec<&str> = content.split_whitespace().take_while(|token| !token.starts_with('#')).collect();
    match tokens.as_slice() {
        [from, to] => Some((from, to, None)),
        [from, to, status] => Some((from, to, Some(status))),
        others => {
            let message = format!("a rule has two or three parts, `from to [status]`; this line has {}", others.len());
            let hint = match others {
                [from] if from.starts_with('/') => write(&format!("{from} /where-to")),
                [name, ..] if name.ends_with(':') => Some("fields of answers are written in _headers".to_owned()),
                [_, rest @ ..] if rest.iter().any(|token| token.contains('=')) => Some(
                    "Cloudflare has neither parameters nor conditions; `rules = \"netlify\"` in devanture.toml has"
                        .to_owned(),
                ),
                _ => Some("a space in a path is written %20".to_owned()),
            };
            file.mistake(line, message, hint.as_deref());
            None
        }
    }
}

/// The path of a rule, in the form of a URL.
fn path(file: &mut File<'_>, line: usize, from: &str, to: &str) -> Option<String> {
    if from.starts_with("https://") || from.starts_with("http://") {
        let message = format!(
            "the rule is dropped: {} is for a host, and at Cloudflare a rule is for a path of all hosts",
            quoted(from)
        );
        let path = from.splitn(4, '/').nth(3).unwrap_or_default();
        file.doubt(line, message, write(&format!("/{path} {to}")).as_deref());
        return None;
    }
    let slashed = if from.starts_with('/') { from.to_owned() } else { format!("/{from}") };
    let Some(url) = url_of(&slashed) else {
        file.mistake(line, format!("{} is no path", quoted(from)), None);
        return None;
    };
    if url.query().is_some() || url.fragment().is_some() {
        let path = slashed.split(['?', '#']).next().unwrap_or_default();
        let message =
            format!("the rule for {} holds for every {}: Cloudflare drops the rest", quoted(from), quoted(path));
        file.doubt(line, message, Some("`rules = \"netlify\"` in devanture.toml has parameters"));
    }
    Some(url.path().to_owned())
}

fn rule(
    file: &mut File<'_>,
    rules: &mut Rules,
    line: usize,
    from: String,
    to: &str,
    status: Option<&str>,
) -> Option<Redirect> {
    let to = destination(file, line, to)?;
    let status = self::status(file, line, status)?;
    if !to.is_absolute && is_loop(file, line, &from, &to.text, rules.html_handling) {
        return None;
    }
    if let Some(earlier) = rules.paths.get(&from) {
        let message = format!("the rule is dropped: line {earlier} has the path {} already", quoted(&from));
        file.doubt(line, message, Some("remove one of the two"));
        return None;
    }
    rules.paths.insert(from.clone(), line);
    if status == 200 && to.is_absolute {
        let message = format!(
            "the rule is dropped: at Cloudflare status 200 cannot lead to another site, as to {}",
            quoted(&to.text)
        );
        file.doubt(line, message, Some("write `[[rewrites]]` and `[upstreams]` in devanture.toml"));
        return None;
    }
    if let Some(twice) = repeated_capture(&from) {
        let message = format!("{} never matches: `{twice}` can stand in it only once at Cloudflare", quoted(&from));
        file.doubt(line, message, None);
        return None;
    }
    let from = file.pattern(line, &from, Dialect::Cloudflare)?;
    let names = from.names();
    check_destination(file, line, &to.text, &names);
    let to = match Target::parse(&to.text, &names) {
        Ok(to) => to,
        Err(error) => {
            file.mistake(line, error.to_string(), None);
            return None;
        }
    };
    Some(Redirect {
        at: file.at(line),
        from,
        query: Box::default(),
        to,
        status,
        // Rules precede files.
        force: true,
        host: None,
        languages: Box::default(),
        cookies: Box::default(),
        is_unknowable: false,
        follows_html_handling: true,
    })
}

fn destination(file: &mut File<'_>, line: usize, to: &str) -> Option<Destination> {
    if let Some(rest) = to.strip_prefix("https://") {
        let rest = rest.trim_start_matches('/');
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let slashed = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let Some(url) = url_of(&slashed).filter(|_| !host.is_empty()) else {
            file.mistake(line, BadTarget::Host(to.to_owned()).to_string(), None);
            return None;
        };
        return Some(Destination { text: format!("https://{host}{}", rest_of(&url)), is_absolute: true });
    }
    if to.starts_with('/') {
        let url = url_of(to);
        return url.map(|url| Destination { text: rest_of(&url), is_absolute: false });
    }
    match Target::parse(to, &[]) {
        Ok(_) => {
            let message =
                format!("the rule is dropped: at Cloudflare it leads to a path or to https://, not to {}", quoted(to));
            let rest = to.split_once("://").map_or(to, |(_, rest)| rest);
            file.doubt(line, message, write(&format!("https://{rest}")).as_deref());
        }
        Err(BadTarget::ForeignScheme(_)) => {
            let message = format!("{} leads to another scheme than https", quoted(to));
            file.mistake(line, message, Some("a rule leads to a path or to a page of another site"));
        }
        Err(_) => {
            let message =
                format!("{} is neither a path, which begins with /, nor a URL, which begins with https://", quoted(to));
            file.mistake(line, message, write(&format!("/{to}")).as_deref());
        }
    }
    None
}

/// The part of a URL after its host.
fn rest_of(url: &url::Url) -> String {
    url.as_str().strip_prefix("relative://").unwrap_or_default().to_owned()
}

fn status(file: &mut File<'_>, line: usize, text: Option<&str>) -> Option<u16> {
    let Some(text) = text else { return Some(STATUS) };
    let status = text.parse().ok().filter(|status| STATUSES.contains(status));
    if status.is_none() {
        let known = STATUSES.map(|status| status.to_string()).join(", ");
        let hint = match text.ends_with('!') || ["404", "410", "451"].contains(&text) || text.contains('=') {
            true => format!("one of {known}; `rules = \"netlify\"` in devanture.toml has more"),
            false => format!("one of {known}"),
        };
        file.mistake(line, format!("{} is not a status of Cloudflare's rules", quoted(text)), Some(&hint));
    }
    status
}

/// Returns true if Cloudflare drops a rule whose pages would be redirected back to their source.
fn is_loop(file: &mut File<'_>, line: usize, from: &str, to: &str, html_handling: Option<HtmlHandling>) -> bool {
    let is_index = to.ends_with("/index") || to.ends_with("/index.html");
    // Without page redirects, a folder may lead to its page.
    let has_redirects = !matches!(html_handling, Some(HtmlHandling::AsIs | HtmlHandling::None));
    let hint = match from {
        _ if !is_index => return false,
        "/*" => "remove the line: `not_found = \"single-page-application\"` in devanture.toml does what was meant"
            .to_owned(),
        _ if from.ends_with("/*") => {
            let folder = to.trim_end_matches("index.html").trim_end_matches("index");
            format!("write `{folder}`, which shows the same page")
        }
        _ if from.ends_with('/') && has_redirects => {
            format!("remove the line: {} shows the page by itself", quoted(from))
        }
        _ => return false,
    };
    let message = format!(
        "the rule is dropped: {} would lead to itself, since {} is redirected to its folder",
        quoted(from),
        quoted(to)
    );
    file.doubt(line, message, Some(&hint));
    true
}
