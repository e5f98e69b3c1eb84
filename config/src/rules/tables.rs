//! Tables of `devanture.toml` as rules: `[[redirects]]`, `[[rewrites]]`, `[[headers]]`, `[cache]`.
//!
//! The same code runs twice: during parsing, for mistakes with line and key, and for rules from a manifest, which may
//! come from an author without such a file.

use super::headers::{Change, User, is_field_name, is_field_value, reserved, unremovable};
use super::pattern::{Dialect, Pattern, has_plain_star};
use super::redirect::{BadTarget, QueryRule, QueryValue, Target};
use super::template::Template;
use super::{At, HeaderRule, Redirect, RuleTable};
use crate::parsing::reader::nearest;
use crate::site_toml::rules::{CacheTable, HeadersTable, RedirectTable};

/// Permitted statuses of `[[redirects]]`.
const STATUSES: [u16; 8] = [301, 302, 303, 307, 308, 404, 410, 451];
/// Maximum time in `Cache-Control`, in seconds (RFC 9111 §1.2.2).
const CACHE_SECONDS_MAX: u64 = 1 << 31;
/// Directives of a whole `Cache-Control` (RFC 9111 §5.2.2, RFC 5861, RFC 8246), each with true if a number is required.
const DIRECTIVES: [(&str, bool); 13] = [
    ("immutable", false),
    ("max-age", true),
    ("must-revalidate", false),
    ("must-understand", false),
    ("no-cache", false),
    ("no-store", false),
    ("no-transform", false),
    ("private", false),
    ("proxy-revalidate", false),
    ("public", false),
    ("s-maxage", true),
    ("stale-if-error", true),
    ("stale-while-revalidate", true),
];
const CACHE_HINT: &str =
    "\"30s\", \"5m\", \"1h\", \"7d\", \"1y\", \"immutable\", \"revalidate\", \"no-store\", or a whole Cache-Control";

/// Error in a key of a table.
#[derive(Debug)]
pub struct TableMistake {
    /// The key.
    pub key: &'static str,
    /// The error.
    pub message: String,
    /// The correction.
    pub hint: Option<String>,
}

/// Collector of the mistakes of a table.
#[derive(Default)]
struct MistakeCollector(Vec<TableMistake>);

impl MistakeCollector {
    fn add(&mut self, key: &'static str, message: impl Into<String>, hint: Option<&str>) {
        self.0.push(TableMistake { key, message: message.into(), hint: hint.map(str::to_owned) });
    }

    fn or<T>(self, rule: Option<T>) -> Result<T, Vec<TableMistake>> {
        match rule {
            Some(rule) if self.0.is_empty() => Ok(rule),
            _ => Err(self.0),
        }
    }
}

/// Maximum number of entries of a rule: fields and users, or parameters, languages and cookies.
const ENTRIES_MAX: usize = 100;
/// Maximum length of a parameter, language or cookie name, in bytes.
const ENTRY_BYTES_MAX: usize = 256;

/// Makes the rule of an entry of `[[redirects]]` or `[[rewrites]]`.
///
/// # Errors
/// All mistakes.
pub fn redirect(table: &RedirectTable, kind: RuleTable, at: At) -> Result<Redirect, Vec<TableMistake>> {
    let mut wrong = MistakeCollector::default();
    let entries = table.query.len() + table.languages.len() + table.cookies.len();
    let texts =
        table.query.iter().flat_map(|(name, value)| [name, value]).chain(&table.languages).chain(&table.cookies);
    if entries > ENTRIES_MAX || texts.into_iter().any(|text| text.len() > ENTRY_BYTES_MAX) {
        let message =
            format!("its conditions are too many or too long: {ENTRIES_MAX} of {ENTRY_BYTES_MAX} bytes are the most");
        wrong.add("query", message, None);
        return wrong.or(None);
    }
    check_from(&table.from, &mut wrong);
    let from = match Pattern::parse(&table.from, Dialect::Netlify) {
        Ok(from) => Some(from),
        Err(error) => {
            wrong.add("from", error.to_string(), Some("from = \"/old/*\""));
            None
        }
    };
    let query = query(table, &mut wrong);
    let status = status(table, kind, &mut wrong);
    if let Some(from) = &from {
        let mut names = Redirect::names(from, &query);
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
            wrong.add("from", format!("`:{name}` is captured twice"), Some("give one of them another name"));
        }
    }
    let names = from.as_ref().map(|from| Redirect::names(from, &query)).unwrap_or_default();
    let to = target(table, &names, status, &mut wrong);
    if table.host.is_some() && (kind != RuleTable::Rewrites || to.as_ref().is_some_and(|to| to.origin().is_none())) {
        let hint = "host = \"keep\", \"target\" or a host, below [[rewrites]] with to = \"https://other.example/…\"";
        wrong.add("host", "is for rewrites that lead elsewhere", Some(hint));
    }
    for language in &table.languages {
        if !is_language(language) {
            wrong.add(
                "languages",
                format!("`{language}` is not the tag of a language"),
                Some("languages = [\"de\", \"pt-BR\"]"),
            );
        }
    }
    for cookie in &table.cookies {
        if !is_field_name(cookie) {
            wrong.add("cookies", format!("`{cookie}` is not the name of a cookie"), Some("cookies = [\"beta\"]"));
        }
    }
    let rule = from.zip(to).map(|(from, to)| Redirect {
        at,
        from,
        query: query.into(),
        to,
        status,
        force: table.force,
        host: table.host.clone(),
        languages: table.languages.iter().map(|language| language.to_ascii_lowercase()).collect(),
        cookies: table.cookies.as_slice().into(),
        is_unknowable: false,
        follows_html_handling: false,
    });
    wrong.or(rule)
}

/// Rejects texts that are valid patterns, but unlikely to be meant literally.
fn check_from(from: &str, wrong: &mut MistakeCollector) {
    let path = ["https://", "http://"].iter().find_map(|scheme| from.strip_prefix(scheme));
    let path = path.map_or(from, |rest| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default());
    if path.contains(['?', '#']) {
        wrong.add(
            "from",
            format!("`{from}` holds more than a path"),
            Some("write a query as query = { id = \":id\" }"),
        );
    }
    if has_plain_star(path) {
        wrong.add(
            "from",
            format!("`{from}` holds a * that does not end a segment"),
            Some("\"/old/*\", \"/old-*\", or \"/old/:name/rest\" for one segment"),
        );
    }
}

fn query(table: &RedirectTable, wrong: &mut MistakeCollector) -> Vec<QueryRule> {
    let mut rules = Vec::with_capacity(table.query.len());
    for (name, value) in &table.query {
        if name.is_empty() {
            wrong.add("query", "a parameter has no name", Some("query = { id = \":id\" }"));
        }
        let value = match value.strip_prefix(':').filter(|name| !name.is_empty()) {
            Some(name) => QueryValue::Capture(name.to_owned()),
            None => QueryValue::Text(value.clone()),
        };
        rules.push(QueryRule { name: name.clone(), value });
    }
    rules
}

fn status(table: &RedirectTable, kind: RuleTable, wrong: &mut MistakeCollector) -> u16 {
    match (kind, table.status) {
        (RuleTable::Rewrites, None) => 200,
        (RuleTable::Rewrites, Some(_)) => {
            wrong.add("status", "a rewrite has no status", Some("write it below [[redirects]]"));
            200
        }
        (_, None) => 301,
        (_, Some(status)) => {
            if status == 200 {
                wrong.add(
                    "status",
                    "200 is the status of a rewrite",
                    Some("write it below [[rewrites]], without a status"),
                );
            } else if !STATUSES.contains(&status) {
                wrong.add(
                    "status",
                    format!("{status} is not a status of a redirect"),
                    Some("one of 301, 302, 303, 307, 308, 404, 410, 451"),
                );
            }
            status
        }
    }
}

fn target(table: &RedirectTable, names: &[&str], status: u16, wrong: &mut MistakeCollector) -> Option<Target> {
    if !is_field_value(&table.to) {
        wrong.add("to", "it is too long or holds control characters", None);
        return None;
    }
    match Target::parse(&table.to, names) {
        Ok(to) => {
            if to.origin().is_some() && status >= 400 {
                wrong.add(
                    "to",
                    format!("with status {status} it must be a page of the site, a path"),
                    Some("to = \"/gone.html\""),
                );
            }
            Some(to)
        }
        Err(error) => {
            let hint = match error {
                BadTarget::ForeignScheme(_) => Some("a redirect leads to a path, to http or to https"),
                BadTarget::Host(_) | BadTarget::NotAPath(_) => {
                    Some("to = \"/new/:splat\", or \"https://other.example/\"")
                }
            };
            wrong.add("to", error.to_string(), hint);
            None
        }
    }
}

/// Returns true if a text has the form of a language tag (RFC 4647 §2.1).
fn is_language(text: &str) -> bool {
    let mut subtags = text.split('-');
    let first = subtags.next().unwrap_or_default();
    let is_subtag = |text: &str| (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    is_subtag(first) && first.bytes().all(|b| b.is_ascii_alphabetic()) && subtags.all(is_subtag)
}

/// Makes the rule of an entry of `[[headers]]`.
///
/// # Errors
/// All mistakes.
pub fn headers(table: &HeadersTable, at: At) -> Result<HeaderRule, Vec<TableMistake>> {
    let mut wrong = MistakeCollector::default();
    let path = pattern("for", &table.path, &mut wrong);
    if table.remove.len() + table.set.len() + table.basic_auth.len() > ENTRIES_MAX {
        wrong.add("for", format!("it has more than {ENTRIES_MAX} entries"), None);
        return wrong.or(None);
    }
    let names = path.as_ref().map(Pattern::names).unwrap_or_default();
    let mut changes = Vec::with_capacity(table.remove.len() + table.set.len());
    for name in &table.remove {
        if let Some(name) = field_name("remove", name, unremovable, &mut wrong) {
            changes.push(Change::Remove(name));
        }
    }
    for (written, values) in &table.set {
        let Some(name) = field_name("set", written, reserved, &mut wrong) else { continue };
        let value = values.join(", ");
        let is_twice = changes.iter().any(|change| matches!(change, Change::Set { name: other, .. } if *other == name));
        if is_twice {
            wrong.add("set", format!("`{written}` stands there twice, since names of fields have no case"), None);
        }
        if value.trim().is_empty() {
            wrong.add("set", format!("`{written}` has no value"), Some("remove = [\"NAME\"] takes a field away"));
        } else if !is_field_value(&value) {
            wrong.add("set", format!("the value of `{written}` is too long or holds control characters"), None);
        } else if name == "set-cookie" && values.len() > 1 {
            wrong.add("set", "several values of Set-Cookie cannot stand in one field", None);
        }
        changes.push(Change::Set { name, value: Template::parse(&value, &names) });
    }
    let users: Vec<User> = table.basic_auth.iter().filter_map(|text| user(text, &mut wrong)).collect();
    if table.set.is_empty() && table.remove.is_empty() && table.basic_auth.is_empty() {
        wrong.add("for", "nothing is set, removed or asked for", Some("set = { \"X-Frame-Options\" = \"DENY\" }"));
    }
    let rule = path.map(|path| HeaderRule { at, path, changes, users, force: table.force, joins: false });
    wrong.or(rule)
}

fn pattern(key: &'static str, text: &str, wrong: &mut MistakeCollector) -> Option<Pattern> {
    match Pattern::parse(text, Dialect::NetlifyHeaders) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            wrong.add(key, error.to_string(), Some("\"/assets/*\""));
            None
        }
    }
}

/// Returns the name in lower case, if a rule may set or remove the field.
fn field_name(
    key: &'static str,
    written: &str,
    forbidden: fn(&str) -> Option<&'static str>,
    wrong: &mut MistakeCollector,
) -> Option<String> {
    let name = written.to_ascii_lowercase();
    if let Some(why) = forbidden(&name) {
        wrong.add(key, format!("`{written}` cannot be set or removed: {why}"), None);
        return None;
    }
    if !is_field_name(&name) {
        wrong.add(key, format!("`{written}` cannot be the name of a field"), None);
        return None;
    }
    Some(name)
}

fn user(text: &str, wrong: &mut MistakeCollector) -> Option<User> {
    let user = text.split_once(':').filter(|(name, _)| !name.is_empty() && !text.chars().any(char::is_control));
    if user.is_none() {
        // The text is hidden, as a possible password.
        wrong.add(
            "basic_auth",
            "one of its texts is not a user and a password",
            Some("basic_auth = [\"user:password\"]"),
        );
    }
    user.map(|(name, password)| User { name: name.to_owned(), password: password.to_owned() })
}

/// Makes the rule of a line of `[cache]`.
///
/// # Errors
/// All mistakes.
pub fn cache(path: &str, table: &CacheTable, at: At) -> Result<HeaderRule, Vec<TableMistake>> {
    let mut wrong = MistakeCollector::default();
    let pattern = pattern("path", path, &mut wrong);
    let control = match cache_control(&table.control) {
        Ok(control) => Some(control),
        Err((message, hint)) => {
            wrong.add("control", message, Some(&hint));
            None
        }
    };
    let rule = pattern.zip(control).map(|(path, control)| {
        let value = Template::parse(&control, &[]);
        let changes = vec![Change::Set { name: "cache-control".to_owned(), value }];
        HeaderRule { at, path, changes, users: Vec::new(), force: table.force, joins: false }
    });
    wrong.or(rule)
}

/// Returns the `Cache-Control` for a text of `[cache]`, or an error and a hint.
fn cache_control(text: &str) -> Result<String, (String, String)> {
    match text {
        "immutable" => return Ok("public, max-age=31536000, immutable".to_owned()),
        "no-store" => return Ok("no-store".to_owned()),
        "revalidate" => return Ok("public, max-age=0, must-revalidate".to_owned()),
        _ => {}
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            "y" => 31_536_000,
            _ => return Err((format!("`{text}` is not a time"), CACHE_HINT.to_owned())),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        return match seconds.filter(|seconds| *seconds <= CACHE_SECONDS_MAX) {
            Some(seconds) => Ok(format!("public, max-age={seconds}")),
            None => Err((format!("`{text}` is too long a time"), "68 years are the most".to_owned())),
        };
    }
    for directive in text.split(',') {
        check_directive(text, directive.trim())?;
    }
    Ok(text.to_owned())
}

fn check_directive(text: &str, directive: &str) -> Result<(), (String, String)> {
    let (name, value) = directive.split_once('=').map_or((directive, None), |(name, value)| (name, Some(value)));
    let lower = name.to_ascii_lowercase();
    let Some((_, wants_number)) = DIRECTIVES.iter().find(|(known, _)| *known == lower) else {
        let words = DIRECTIVES.iter().map(|(known, _)| *known).chain(["revalidate"]);
        let hint =
            nearest(&lower, words).map_or_else(|| CACHE_HINT.to_owned(), |word| format!("did you mean `{word}`?"));
        let what = if name.is_empty() { text } else { name };
        return Err((format!("`{what}` is neither a time nor a part of Cache-Control"), hint));
    };
    let is_number = value.is_some_and(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()));
    match value {
        None | Some(_) if *wants_number && !is_number => {
            Err((format!("`{name}` wants a number of seconds"), format!("{lower}=3600")))
        }
        Some(_) if !*wants_number => Err((format!("`{name}` takes no value"), lower)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_words_stand_for_a_cache_control() {
        for (text, expected) in [
            ("30s", "public, max-age=30"),
            ("5m", "public, max-age=300"),
            ("1h", "public, max-age=3600"),
            ("7d", "public, max-age=604800"),
            ("1y", "public, max-age=31536000"),
            ("immutable", "public, max-age=31536000, immutable"),
            ("no-store", "no-store"),
            ("revalidate", "public, max-age=0, must-revalidate"),
            ("public, max-age=60, stale-while-revalidate=30", "public, max-age=60, stale-while-revalidate=30"),
            ("Private, No-Cache", "Private, No-Cache"),
        ] {
            assert_eq!(cache_control(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_reported_with_a_hint() {
        for (text, hint) in [
            ("", "\"30s\""),
            ("1 h", "\"30s\""),
            ("60", "\"30s\""),
            ("1mo", "\"30s\""),
            ("100y", "68 years"),
            ("99999999999999999999y", "68 years"),
            ("imutable", "did you mean `immutable`?"),
            ("public, maxage=60", "did you mean `max-age`?"),
            ("max-age", "max-age=3600"),
            ("max-age=1h", "max-age=3600"),
            ("public=1", "public"),
            ("public,,private", "\"30s\""),
            ("no-store\r\nX: y", "\"30s\""),
        ] {
            let (message, found) = cache_control(text).unwrap_err();
            assert!(found.contains(hint), "{text}: {message} ({found})");
        }
    }

    #[test]
    fn a_password_is_in_no_message() {
        let table = r#"{"for":"/","basic_auth":[":secret","secret","a:sec\nret"]}"#;
        let table: HeadersTable = serde_json::from_str(table).unwrap();
        let mistakes = headers(&table, At::default()).unwrap_err();
        assert_eq!(mistakes.len(), 3);
        assert!(!format!("{mistakes:?}{table:?}").contains("sec"));
    }
}
