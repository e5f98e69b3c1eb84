//! Checks that a `Content-Security-Policy` allows the script that reloads a page, as far as rules of fields show the
//! policy.

use devanture_site::rules::RuleSet;
use devanture_site::rules::headers::Change;

/// The field.
const FIELD: &str = "content-security-policy";

/// Returns the position of a rule with a policy under which pages do not reload by themselves: the file and the line.
pub(super) fn forbidden_by(rules: &RuleSet) -> Option<String> {
    rules.headers.iter().find_map(|rule| {
        let is_forbidding = rule.changes.iter().any(|change| match change {
            Change::Set { name, value } => name == FIELD && forbids(&value.to_string()),
            Change::Remove(_) => false,
        });
        is_forbidding.then(|| format!("{}:{}", rule.at.file, rule.at.line))
    })
}

/// Returns true if one of the policies forbids a script or a connection of the page's own origin (Content Security
/// Policy Level 3, §6.1, §6.7).
fn forbids(policies: &str) -> bool {
    policies.split(',').any(|policy| {
        let directives: Vec<(String, Vec<String>)> = policy.split(';').filter_map(directive).collect();
        let first = |names: &[&str]| {
            names.iter().find_map(|name| directives.iter().find(|(own, _)| own == name)).map(|(_, sources)| sources)
        };
        let is_closed = |sources: Option<&Vec<String>>| sources.is_some_and(|sources| !lets_own_origin(sources));
        let is_sandboxed =
            first(&["sandbox"]).is_some_and(|allowed| !allowed.iter().any(|word| word == "allow-scripts"));
        let script = first(&["script-src-elem", "script-src", "default-src"]);
        is_sandboxed || is_closed(script) || is_closed(first(&["connect-src", "default-src"]))
    })
}

fn directive(text: &str) -> Option<(String, Vec<String>)> {
    let mut words = text.split_ascii_whitespace().map(str::to_ascii_lowercase);
    Some((words.next()?, words.collect()))
}

/// Returns true if the sources include the page's own origin. With `strict-dynamic`, only nonces and hashes count.
fn lets_own_origin(sources: &[String]) -> bool {
    let has = |word: &str| sources.iter().any(|source| source == word);
    !has("'strict-dynamic'") && (has("'self'") || has("*") || has("https:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_lets_a_script_of_its_own_origin_run_or_not() {
        for open in [
            "",
            "script-src 'self'",
            "default-src 'self'",
            "default-src 'none'; script-src 'self'; connect-src *",
            "img-src 'none'",
            "script-src https:",
            "script-src 'SELF' 'nonce-a'; frame-ancestors 'none'",
            "sandbox allow-scripts allow-same-origin",
        ] {
            assert!(!forbids(open), "{open}");
        }
        for closed in [
            "default-src 'none'",
            "script-src 'none'",
            "script-src 'nonce-a'",
            "script-src 'self'; script-src-elem 'sha256-a'",
            "default-src 'self'; connect-src https://api.example.org",
            "script-src 'self' 'strict-dynamic' 'nonce-a'",
            "script-src 'self', default-src 'none'",
            "sandbox",
            "script-src",
        ] {
            assert!(forbids(closed), "{closed}");
        }
    }
}
