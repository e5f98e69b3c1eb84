//! `_redirects` in Netlify's meaning: `from [parameters] [to] [status[!]] [conditions]`, and the first match counts.

use std::collections::HashMap;

use super::LINE_BYTES_MAX;
use super::conditions::{Conditions, Pair, conditions, pairs, query};
use crate::rules::lines::{File, check_destination, lines, quoted, write};
use crate::rules::pattern::{Dialect, Pattern, has_plain_star, next_name};
use crate::rules::redirect::{BadTarget, STATUSES, Target};
use crate::rules::{Findings, REDIRECTS_FILE, Redirect};

/// Netlify's default status.
const STATUS: u16 = 301;
/// A line in its parts, as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Parts<'t> {
    from: &'t str,
    query: Vec<Pair<'t>>,
    to: String,
    status: Option<i64>,
    force: bool,
    conditions: Vec<Pair<'t>>,
}

/// Parses the file, up to one rule more than `rules_max`.
pub(super) fn read(text: &str, rules_max: usize, findings: &mut Findings) -> Vec<Redirect> {
    let mut file = File::new(REDIRECTS_FILE, findings);
    let mut rules: Vec<(Parts<'_>, Redirect)> = Vec::new();
    for (line, content) in lines(text) {
        if content.len() > LINE_BYTES_MAX {
            file.mistake(line, format!("the line is too long: {LINE_BYTES_MAX} bytes are the most"), None);
            continue;
        }
        if rules.len() > rules_max {
            // The caller reports the excess.
            break;
        }
        if let Some(parts) = parts(&mut file, line, content)
            && let Some(rule) = rule(&mut file, line, &parts)
        {
            rules.push((parts, rule));
        }
    }
    let rules = without_duplicates(&mut file, rules);
    file.sort();
    rules
}

/// Of equal rules the last one stays.
fn without_duplicates(file: &mut File<'_>, rules: Vec<(Parts<'_>, Redirect)>) -> Vec<Redirect> {
    let mut last = HashMap::new();
    let mut kept = Vec::with_capacity(rules.len());
    for (parts, rule) in rules.into_iter().rev() {
        let line = rule.at.line;
        if let Some(later) = last.get(&parts) {
            let message = format!("line {later} says the same: the rule counts there, and not here");
            file.doubt(line, message, Some("remove one of the two"));
            continue;
        }
        last.insert(parts, line);
        kept.push(rule);
    }
    kept.reverse();
    kept
}

/// Splits a line into its parts.
fn parts<'t>(file: &mut File<'_>, line: usize, content: &'t str) -> Option<Parts<'t>> {
    let tokens: Vec<&str> = content.split_whitespace().take_while(|token| !token.starts_with('#')).collect();
    let (from, rest) = tokens.split_first()?;
    let Some(second) = rest.first() else {
        let hint = match from.starts_with('/') {
            true => write(&format!("{from} /where-to")),
            false => Some("a rule is written `/from /to 301`".to_owned()),
        };
        file.mistake(line, format!("the rule for {} does not say where to", quoted(from)), hint.as_deref());
        return None;
    };
    let (query, to, last): (_, _, &[&str]) = match leading_integer(second) {
        Some(status) => (Vec::new(), forwarded(file, line, from, second, status)?, rest),
        None => {
            let is_destination = |token: &&str| token.starts_with('/') || is_url(token);
            let Some(at) = rest.iter().position(is_destination) else {
                no_destination(file, line, from, rest);
                return None;
            };
            let (query, last) = rest.split_at(at);
            let (to, last) = last.split_first()?;
            (pairs(file, line, query)?, (*to).to_owned(), last)
        }
    };
    let (status, force, conditions) = match last.split_first() {
        None => (None, false, last),
        Some((text, conditions)) => {
            let status = status(file, line, content, text)?;
            (Some(status), text.ends_with('!'), conditions)
        }
    };
    Some(Parts { from, query, to, status, force, conditions: pairs(file, line, conditions)? })
}

/// The destination of a rule without a destination: the same path, if the rule matches all paths below a folder.
fn forwarded(file: &mut File<'_>, line: usize, from: &str, second: &str, status: i64) -> Option<String> {
    match from.strip_suffix("/*") {
        Some(folder) if (200..300).contains(&status) => Some(format!("{folder}/:splat")),
        _ => {
            let message =
                format!("{} is followed by the status {} and does not say where to", quoted(from), quoted(second));
            file.mistake(line, message, write(&format!("{from} /where-to {second}")).as_deref());
            None
        }
    }
}

/// Reports the reason that no part of a line is a destination.
fn no_destination(file: &mut File<'_>, line: usize, from: &str, rest: &[&str]) {
    for token in rest {
        match Target::parse(token, &[]) {
            Err(BadTarget::ForeignScheme(_)) => {
                let message = format!("{} leads to another scheme than http or https", quoted(token));
                return file.mistake(line, message, Some("a rule leads to a path or to a page of another site"));
            }
            Ok(_) => {
                let message = format!("the scheme of {} must be in small letters", quoted(token));
                return file.mistake(line, message, None);
            }
            Err(_) => {}
        }
    }
    let message =
        format!("the rule for {} does not say where to: nothing after it begins with / or https://", quoted(from));
    let bare = rest.iter().find(|token| !token.contains('='));
    let hint = match bare {
        _ if from.ends_with(':') => Some("fields of answers are written in _headers".to_owned()),
        Some(bare) => {
            let slashed =
                rest.iter().map(|token| if token == bare { format!("/{token}") } else { (*token).to_owned() });
            write(&format!("{from} {}", slashed.collect::<Vec<_>>().join(" ")))
        }
        None => write(&format!("{from} {} /where-to", rest.join(" "))),
    };
    file.mistake(line, message, hint.as_deref());
}

fn status(file: &mut File<'_>, line: usize, content: &str, text: &str) -> Option<i64> {
    let Some(status) = leading_integer(text) else {
        let hint = match (text.contains('='), content.split_once(text)) {
            (true, Some((before, after))) => write(&format!("{before}302 {text}{after}")),
            _ => Some(format!("one of {}", statuses())),
        };
        file.mistake(line, format!("{} stands where the status belongs, and is none", quoted(text)), hint.as_deref());
        return None;
    };
    let number = text.strip_suffix('!').unwrap_or(text).trim_start_matches(['-', '+']);
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        file.doubt(line, format!("{} is read as the status {status}", quoted(text)), None);
    }
    Some(status)
}

fn statuses() -> String {
    STATUSES.map(|status| status.to_string()).join(", ")
}

/// The integer at the start of a text.
fn leading_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let number = digits.get(..end)?.parse().unwrap_or(i64::MAX);
    Some(if text.starts_with('-') { -number } else { number })
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Makes a rule of the parts of a line; `None` if the rule would have no effect, with a report.
fn rule(file: &mut File<'_>, line: usize, parts: &Parts<'_>) -> Option<Redirect> {
    let from = path(file, line, parts)?;
    let query = query(file, line, &parts.query)?;
    let status = match parts.status {
        None => STATUS,
        Some(number) => match u16::try_from(number).ok().filter(|status| STATUSES.contains(status)) {
            Some(status) => status,
            None => {
                unknown_status(file, line, number);
                return None;
            }
        },
    };
    let names = Redirect::names(&from, &query);
    if parts.to.starts_with("/.netlify/") {
        let message =
            format!("{} is a service of Netlify, which is not here: the rule has no effect", quoted(&parts.to));
        file.doubt(line, message, Some("write a `[[routes]]` in devanture.toml to a server of your own"));
        return None;
    }
    let to = match Target::parse(&parts.to, &names) {
        Ok(to) => to,
        Err(error) => {
            file.mistake(line, error.to_string(), None);
            return None;
        }
    };
    if to.origin().is_some() && status >= 400 {
        let message = format!("a page with status {status} must be one of this site: the rule has no effect");
        file.doubt(line, message, Some("write the path of a page"));
        return None;
    }
    check_destination(file, line, &parts.to, &names);
    let Conditions { languages, cookies, is_unknowable } = conditions(file, line, &parts.conditions);
    let (at, force) = (file.at(line), parts.force);
    let rule = Redirect {
        at,
        from,
        query: query.into(),
        to,
        status,
        force,
        languages: languages.into(),
        cookies: cookies.into(),
        is_unknowable,
        host: None,
        follows_html_handling: false,
    };
    // The edge itself redirects every visitor from http to https of the same host.
    let is_upgrade = parts.from.strip_prefix("http://").is_some_and(|from| {
        let from = from.strip_suffix("/*").map_or_else(|| from.to_owned(), |folder| format!("{folder}/:splat"));
        parts.to.strip_prefix("https://") == Some(from.as_str())
    });
    (!is_upgrade && !is_loop(file, parts, &rule)).then_some(rule)
}

/// The paths of a rule.
fn path(file: &mut File<'_>, line: usize, parts: &Parts<'_>) -> Option<Pattern> {
    let from = parts.from;
    let (_, path) = match from.split_once("://").filter(|_| is_url(from)) {
        Some((_, rest)) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", from),
    };
    let status = parts.status.map_or_else(String::new, |status| format!(" {status}"));
    if path.starts_with("/.netlify") {
        let message = format!("{} is reserved: a rule cannot be for what begins with /.netlify", quoted(from));
        file.mistake(line, message, None);
        return None;
    }
    if !is_url(from) && !path.starts_with('/') {
        let hint = match from.ends_with(':') {
            true => Some("fields of answers are written in _headers".to_owned()),
            false => write(&format!("/{from} {}{status}", parts.to)),
        };
        file.doubt(line, format!("{} matches no path, since every path begins with /", quoted(from)), hint.as_deref());
        return None;
    }
    if let Some(at) = path.find(['?', '#']) {
        let (path, query) = (path.get(..at)?, path.get(at + 1..)?);
        let parameters = if from.contains('#') { String::new() } else { format!(" {}", query.replace('&', " ")) };
        let message = format!("{} matches no path: what follows `?` or `#` is no part of one", quoted(from));
        file.doubt(line, message, write(&format!("{path}{parameters} {}{status}", parts.to)).as_deref());
        return None;
    }
    if has_plain_star(path) {
        let message =
            format!("{} matches nothing as it is meant: `*` takes something only at the end of a part", quoted(from));
        file.doubt(line, message, Some("one part of a path is taken by `:name`"));
        return None;
    }
    if let Some((at, name)) = next_name(path)
        && !path.get(..at).is_some_and(|before| before.ends_with('/'))
    {
        let message = format!("`:{name}` in {} stands for itself: only a whole part of a path is taken", quoted(from));
        file.doubt(line, message, Some("write %3A for a colon that is meant"));
    }
    file.pattern(line, from, Dialect::Netlify)
}

fn unknown_status(file: &mut File<'_>, line: usize, status: i64) {
    let (meaning, hint) = match status {
        401 | 403 => (
            ", and what is at the path stays open to everybody",
            "write `Basic-Auth` in _headers, or leave out what nobody may see".to_owned(),
        ),
        _ => ("", format!("one of {}", statuses())),
    };
    file.doubt(line, format!("a rule with status {status} is not carried out here{meaning}"), Some(&hint));
}

/// Returns true if a rule sends every visitor of a path to the same path; Netlify ignores such a rule.
fn is_loop(file: &mut File<'_>, parts: &Parts<'_>, rule: &Redirect) -> bool {
    if !rule.is_redirect() || !rule.is_unconditional() {
        return false;
    }
    let without_slash = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    let from = match parts.from.strip_suffix("/*") {
        Some(folder) => format!("{folder}/:splat"),
        None => parts.from.to_owned(),
    };
    let end = parts.to.find(['?', '#']).unwrap_or(parts.to.len());
    let to = parts.to.get(..end).unwrap_or_default();
    // A path leads to the requested host.
    let own_path = match from.split_once("://") {
        Some((_, rest)) if !is_url(to) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        _ => from.as_str(),
    };
    if without_slash(own_path) != without_slash(to) {
        return false;
    }
    let hint = match own_path == to {
        true => "remove the line",
        false => "final slashes are set by `html_handling = \"force-trailing-slash\"` or `\"drop-trailing-slash\"`",
    };
    let why = if own_path == to { "" } else { ", since a final slash makes no difference to a rule" };
    let message = format!("{} leads to itself{why}: the rule has no effect", quoted(parts.from));
    file.doubt(rule.at.line, message, Some(hint));
    true
}
