//! Removes secrets from texts before publication, and names of apps and hostnames from metrics.

use std::collections::BTreeMap;

use devanture_config::api::{CREDENTIAL_PREFIXES, Secret};
use devanture_config::edge_toml::HIDDEN;

/// Prefixes of credentials other than tokens of an edge.
const SCHEMES: [&str; 4] = ["Bearer ", "bearer ", "Basic ", "basic "];
/// Parts of names whose values are secrets, in lower case.
const SECRET_NAMES: [&str; 6] = ["cookie", "credential", "passwd", "password", "secret", "token"];
/// Longest name searched before a value, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// A shorter value is not a secret, and may occur anywhere.
const SECRET_CHARACTERS_MIN: usize = 6;
/// A word of a secrets file with at least this length is a secret of its own.
const WORD_CHARACTERS_MIN: usize = 16;
/// Labels of metrics whose values are names chosen by an app's owner.
const NAMES: [&str; 5] = ["app", "environment", "name", "process", "upstream"];
/// Label values that identify no app.
const COMMON: [&str; 2] = ["_other", "prod"];

/// Values that must not be published.
#[derive(Default)]
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds each line of a text, as in key files, and each long word, as in JSON files.
    pub(super) fn add(&mut self, text: &str) {
        let lines = text.lines().map(str::trim).filter(|line| line.len() >= SECRET_CHARACTERS_MIN);
        self.0.extend(lines.map(Secret::new));
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-' | '.');
        let words = text.split(|c| !is_of_word(c)).filter(|word| word.len() >= WORD_CHARACTERS_MIN);
        self.0.extend(words.map(Secret::new));
    }

    /// Returns the text without the secret values, tokens, credentials, values with secret names, and queries and users
    /// of URLs.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for secret in &self.0 {
            hidden = hidden.replace(secret.expose(), HIDDEN);
        }
        for prefix in CREDENTIAL_PREFIXES {
            let mark = format!("{prefix}_");
            hidden = without(&hidden, &mark, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        }
        for scheme in SCHEMES {
            hidden = without(&hidden, scheme, |c| !c.is_whitespace() && !matches!(c, '"' | '\'' | '('));
        }
        // A query may contain any other character (RFC 3986 §3.4), and does.
        hidden = without(&hidden, "?", |c| !c.is_whitespace() && !matches!(c, '"' | '\\'));
        without_named(&without_users(&hidden))
    }
}

/// Hides the characters after each `mark`, as long as `belongs` returns true.
fn without(text: &str, mark: &str, belongs: impl Fn(char) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(mark) {
        kept.push_str(before);
        kept.push_str(mark);
        let end = after.find(|c| !belongs(c)).unwrap_or(after.len());
        let (secret, after) = after.split_at_checked(end).unwrap_or((after, ""));
        if !secret.is_empty() {
            kept.push_str(HIDDEN);
        }
        rest = after;
    }
    kept + rest
}

/// Returns the text without users and passwords of URLs (RFC 3986 §3.2.1).
fn without_users(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"'));
        let authority = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
        rest = match authority.rfind('@') {
            Some(at) => {
                kept.push_str(HIDDEN);
                after.get(at..).unwrap_or_default()
            }
            None => after,
        };
    }
    kept + rest
}

/// Returns the text without values of secret names, such as `password=…`, `Cookie: …` and `"auth_token":"…"`.
fn without_named(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at_checked(at.saturating_add(1)).unwrap_or((rest, ""));
        kept.push_str(before);
        rest = after;
        let name = name_before(before.get(..at).unwrap_or_default());
        if !SECRET_NAMES.iter().any(|part| name.contains(part)) {
            continue;
        }
        let value = after.trim_start_matches([' ', '"', '\'']);
        let opening = after.len().saturating_sub(value.len());
        let is_of_value = |c: char| match name.contains("cookie") {
            // One field has several values, separated by spaces.
            true => !matches!(c, '\n' | '\r' | '"'),
            false => !c.is_whitespace() && !matches!(c, '"' | '\'' | ',' | ';' | '&' | '}'),
        };
        let end = value.find(|c: char| !is_of_value(c)).unwrap_or(value.len());
        if end > 0 && !value.starts_with(HIDDEN) {
            kept.push_str(after.get(..opening).unwrap_or_default());
            kept.push_str(HIDDEN);
            rest = value.get(end..).unwrap_or_default();
        }
    }
    kept + rest
}

/// Returns the name at the end of a text, in lower case.
fn name_before(text: &str) -> String {
    let text = text.trim_end_matches(['"', '\'', ' ']);
    let is_of_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let length = text.chars().rev().take(NAME_BYTES_MAX).take_while(is_of_name).count();
    text.get(text.len().saturating_sub(length)..).unwrap_or_default().to_ascii_lowercase()
}

/// Returns metrics with a number instead of each name: `app="app-1"`. Equal names have equal numbers.
pub(super) fn without_names(metrics: &str) -> String {
    let mut numbers = BTreeMap::new();
    let mut text = String::with_capacity(metrics.len());
    for line in metrics.lines() {
        match line.split_once('{').filter(|_| !line.starts_with('#')) {
            Some((name, rest)) => {
                text.push_str(name);
                text.push('{');
                text.push_str(&numbered(rest, &mut numbers));
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Replaces names in labels by numbers, and leaves the rest of the line.
fn numbered(labels: &str, numbers: &mut BTreeMap<(String, String), usize>) -> String {
    let mut text = String::new();
    let mut rest = labels;
    while let Some((label, after)) = rest.split_once("=\"") {
        let end = end_of_value(after);
        let (value, after) = after.split_at_checked(end).unwrap_or((after, ""));
        // The rest of the previous value: its quote, and a comma.
        let key = label.trim_start_matches(['"', ',', ' ']);
        text.push_str(label);
        text.push_str("=\"");
        if NAMES.contains(&key) && !COMMON.contains(&value) {
            let next = numbers.keys().filter(|(known, _)| known == key).count().saturating_add(1);
            let number = numbers.entry((key.to_owned(), value.to_owned())).or_insert(next);
            text.push_str(&format!("{key}-{number}"));
        } else {
            text.push_str(value);
        }
        rest = after;
    }
    text + rest
}

/// Returns the end of a label's value: the first quote without a backslash before.
fn end_of_value(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => return at,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_credentials_queries_and_known_values_are_hidden() {
        let mut secrets = Secrets::default();
        secrets.add("# keys\n0123456789abcdef\nshort\n{\"auth\": \"dXNlcjpwYXNzd29yZA==\"}\n");
        for (text, expected) in [
            ("token dvt_18b8_Sec-ret, and dvr_x", "token dvt_(hidden), and dvr_(hidden)"),
            (
                "an invitation: https://edge/v1/invitations#dvi_61_02",
                "an invitation: https://edge/v1/invitations#dvi_(hidden)",
            ),
            ("authorization: Bearer abc.def\"", "authorization: Bearer (hidden)\""),
            ("GET /a?key=1&b=2 HTTP/1.1", "GET /a?(hidden) HTTP/1.1"),
            ("sealed by 0123456789abcdef!", "sealed by (hidden)!"),
            ("auth=dXNlcjpwYXNzd29yZA==", "auth=(hidden)"),
            ("a question? No, short", "a question? No, short"),
            ("nothing", "nothing"),
            ("/?q=(a)&token=b HTTP/1.1", "/?(hidden) HTTP/1.1"),
            ("/?name=o'neil&code=x", "/?(hidden)"),
            ("at https://ada:pw999@host/x and https://host:1/", "at https://(hidden)@host/x and https://host:1/"),
            ("password=hunter22, AWS_SECRET_ACCESS_KEY=abc", "password=(hidden), AWS_SECRET_ACCESS_KEY=(hidden)"),
            ("Cookie: a=b; c=d\nHost: x", "Cookie: (hidden)\nHost: x"),
            ("{\"auth_token\":\"abc\",\"app\":\"shop\"}", "{\"auth_token\":\"(hidden)\",\"app\":\"shop\"}"),
        ] {
            assert_eq!(secrets.hide(text), expected);
        }
    }

    #[test]
    fn names_in_metrics_become_numbers_and_values_stay() {
        let text = "# HELP devanture_requests_total {app=\"x\"}\n\
                    devanture_requests_total{app=\"shop\",environment=\"prod\",status=\"2xx\"} 7\n\
                    devanture_requests_total{app=\"bl\\\"og\",environment=\"staging\",status=\"2xx\"} 8\n\
                    devanture_response_bytes_total{app=\"shop\"} 9\n\
                    devanture_apps 2\n";
        let expected = "# HELP devanture_requests_total {app=\"x\"}\n\
                        devanture_requests_total{app=\"app-1\",environment=\"prod\",status=\"2xx\"} 7\n\
                        devanture_requests_total{app=\"app-2\",environment=\"environment-1\",status=\"2xx\"} 8\n\
                        devanture_response_bytes_total{app=\"app-1\"} 9\n\
                        devanture_apps 2\n";
        assert_eq!(without_names(text), expected);
    }
}
