//! Conditions of Netlify's rules on the query of a request and on its visitor.

use devanture_config::parsing::nearest;
use percent_encoding::percent_decode_str;

use crate::rules::lines::{File, quoted};
use crate::rules::pattern::is_name;
use crate::rules::redirect::{QueryRule, QueryValue};

/// Maximum parameters, and maximum conditions, of a rule.
const PAIRS_MAX: usize = 100;
/// The conditions that Netlify knows.
const CONDITIONS: [&str; 5] = ["Language", "Cookie", "Country", "Role", "Sign"];

/// `key` or `key=value`.
pub(super) type Pair<'t> = (&'t str, Option<&'t str>);

/// The parsed conditions of a rule.
#[derive(Default)]
pub(super) struct Conditions {
    pub(super) languages: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) is_unknowable: bool,
}

/// `key=value` of each token; of two with the same key the later value counts.
pub(super) fn pairs<'t>(file: &mut File<'_>, line: usize, tokens: &[&'t str]) -> Option<Vec<Pair<'t>>> {
    if tokens.len() > PAIRS_MAX {
        file.mistake(
            line,
            format!("the line has too many parts: {PAIRS_MAX} parameters or conditions are the most"),
            None,
        );
        return None;
    }
    let mut pairs: Vec<Pair<'t>> = Vec::new();
    for token in tokens {
        let mut texts = token.split('=');
        let (key, value) = (texts.next().unwrap_or_default(), texts.next());
        if texts.next().is_some() {
            let message = format!("{} has several `=`: what follows the second is dropped", quoted(token));
            file.doubt(
                line,
                message,
                Some("what belongs to a value is written %3D, and parameters are parted by spaces"),
            );
        }
        match pairs.iter_mut().find(|(known, _)| *known == key) {
            Some((_, earlier)) => {
                file.doubt(line, format!("{} is said twice: the last one counts", quoted(key)), None);
                *earlier = value;
            }
            None => pairs.push((key, value)),
        }
    }
    Some(pairs)
}

/// The required parameters of the query; `None` if no query can match, with a report.
pub(super) fn query(file: &mut File<'_>, line: usize, pairs: &[Pair<'_>]) -> Option<Vec<QueryRule>> {
    let mut rules = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let Some(value) = value.filter(|_| !key.is_empty()) else {
            let message = format!(
                "{} is no parameter with a value, which Netlify does not match reliably: the rule has no effect",
                quoted(key)
            );
            let hint = if is_name(key) {
                format!("write `{key}=:{key}` for any value")
            } else {
                "write `name=value`".to_owned()
            };
            file.doubt(line, message, Some(&hint));
            return None;
        };
        if value.contains('&') || key.contains('?') {
            let message = format!(
                "{} is never the value of one parameter: the rule has no effect",
                quoted(&format!("{key}={value}"))
            );
            file.doubt(line, message, Some("write the parameters apart, as in `a=1 b=2`"));
            return None;
        }
        let value = match value.strip_prefix(':').filter(|name| !name.is_empty()) {
            Some(name) => QueryValue::Capture(name.to_owned()),
            None => QueryValue::Text(decoded(value)),
        };
        rules.push(QueryRule { name: decoded(key), value });
    }
    Some(rules)
}

/// A name or a value as in a parsed query.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Parses conditions; each condition without effect here is reported.
pub(super) fn conditions(file: &mut File<'_>, line: usize, pairs: &[Pair<'_>]) -> Conditions {
    let mut conditions = Conditions::default();
    for (key, value) in pairs {
        let Some(value) = value else {
            let hint = if *key == "!" {
                "write `!` directly behind the status"
            } else {
                "a condition is written `Name=value`"
            };
            file.doubt(line, format!("{} behind the status is no condition, and is ignored", quoted(key)), Some(hint));
            continue;
        };
        let known = match *key {
            "language" => "Language",
            "country" => "Country",
            "role" => "Role",
            "signed" => "Sign",
            other => other,
        };
        match known {
            "Language" | "Cookie" => {
                let list: Vec<String> = list(value).map(str::to_owned).collect();
                if list.is_empty() {
                    file.doubt(line, format!("`{key}=` names nothing: the rule never applies"), None);
                    conditions.is_unknowable = true;
                } else if known == "Cookie" {
                    conditions.cookies = list;
                } else {
                    conditions.languages = list.iter().map(|tag| tag.to_ascii_lowercase()).collect();
                }
            }
            "Country" | "Role" => {
                conditions.is_unknowable = true;
                let (what, hint) = match known {
                    "Country" => ("the visitor's country", "`Language=…` is known here"),
                    _ => ("a visitor's roles at Netlify", "`Basic-Auth` in _headers asks for a password"),
                };
                let message = format!(
                    "`{key}={value}` has no effect here: {what} cannot be known, so that the rule never applies"
                );
                file.doubt(line, shortened(message), Some(hint));
            }
            "Sign" => {
                let message =
                    format!("`{key}=` has no effect here: requests are passed on without a signature of Netlify's");
                file.doubt(line, message, None);
            }
            _ => {
                conditions.is_unknowable = true;
                let lower = known.to_ascii_lowercase();
                let names = CONDITIONS.map(str::to_ascii_lowercase);
                let meant = nearest(&lower, names.iter().map(String::as_str))
                    .and_then(|near| CONDITIONS.into_iter().find(|name| name.eq_ignore_ascii_case(near)));
                let hint = match meant {
                    Some(name) => format!("did you mean `{name}=`?"),
                    None => format!("one of {}", CONDITIONS.join(", ")),
                };
                let message = format!("{} is not a condition that is known: the rule never applies", quoted(key));
                file.doubt(line, message, Some(&hint));
            }
        }
    }
    conditions
}

fn shortened(message: String) -> String {
    if message.len() > 400 { message.chars().take(400).chain(['…']).collect() } else { message }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}
