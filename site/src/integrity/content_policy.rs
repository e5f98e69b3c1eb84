//! Effect of a `Content-Security-Policy` on an import map inserted into a page (Content Security Policy Level 3). Pure.

/// The directives for inline scripts; the first one present applies.
const DIRECTIVES: [&str; 3] = ["script-src-elem", "script-src", "default-src"];

/// Returns true if the policy refuses an unknown inline script.
pub(super) fn refuses_inline(policies: &str) -> bool {
    policies.split(',').any(|policy| {
        let is_sandboxed = policy.split(';').filter_map(words).any(|(name, sources)| {
            name == "sandbox" && !sources.iter().any(|word| word.eq_ignore_ascii_case("allow-scripts"))
        });
        is_sandboxed || deciding(policy).is_some_and(|(_, sources)| !lets_all_inline(&sources))
    })
}

/// The policy with `hash` added to its allowed scripts; `None` if the policy allows all inline scripts, or no script.
#[must_use]
pub fn with_hash(policies: &str, hash: &str) -> Option<String> {
    let mut is_changed = false;
    let policies: Vec<String> = policies
        .split(',')
        .map(|policy| {
            let Some((number, sources)) = deciding(policy) else { return policy.to_owned() };
            let is_closed = sources.iter().all(|source| source.eq_ignore_ascii_case("'none'"));
            if is_closed || lets_all_inline(&sources) {
                return policy.to_owned();
            }
            is_changed = true;
            let directives = policy.split(';').enumerate().map(|(own, directive)| match own == number {
                true => format!("{} {hash}", directive.trim_ascii_end()),
                false => directive.to_owned(),
            });
            directives.collect::<Vec<_>>().join(";")
        })
        .collect();
    is_changed.then(|| policies.join(","))
}

/// The directive of a policy for inline scripts: its number, and its sources.
fn deciding(policy: &str) -> Option<(usize, Vec<&str>)> {
    DIRECTIVES.iter().find_map(|wanted| {
        // Of two directives of a name, the first applies.
        policy.split(';').enumerate().find_map(|(number, directive)| {
            let (name, sources) = words(directive)?;
            (name == *wanted).then_some((number, sources))
        })
    })
}

fn words(directive: &str) -> Option<(String, Vec<&str>)> {
    let mut words = directive.split_ascii_whitespace();
    Some((words.next()?.to_ascii_lowercase(), words.collect()))
}

/// Returns true if sources allow every inline script (§6.7.3.2): beside a hash or a nonce, `'unsafe-inline'` has no
/// effect.
fn lets_all_inline(sources: &[&str]) -> bool {
    let sources: Vec<String> = sources.iter().map(|source| source.to_ascii_lowercase()).collect();
    let is_strict = |source: &String| {
        source == "'strict-dynamic'" || ["'nonce-", "'sha"].iter().any(|begin| source.starts_with(begin))
    };
    sources.iter().any(|source| source == "'unsafe-inline'") && !sources.iter().any(is_strict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_without_unsafe_inline_gets_the_hash() {
        for (policy, expected) in [
            ("script-src 'self'", Some("script-src 'self' #")),
            ("default-src 'self'; img-src *", Some("default-src 'self' #; img-src *")),
            ("default-src *;script-src 'SELF' ; x", Some("default-src *;script-src 'SELF' #; x")),
            ("script-src 'self'; script-src-elem https:", Some("script-src 'self'; script-src-elem https: #")),
            ("script-src 'unsafe-inline' 'nonce-a'", Some("script-src 'unsafe-inline' 'nonce-a' #")),
            (
                "img-src *, script-src 'self', default-src a.b",
                Some("img-src *, script-src 'self' #, default-src a.b #"),
            ),
            ("script-src 'unsafe-inline' *", None),
            ("script-src 'none'", None),
            ("script-src", None),
            ("img-src 'self'", None),
            ("", None),
        ] {
            assert_eq!(with_hash(policy, "#").as_deref(), expected, "{policy}");
        }
    }

    #[test]
    fn a_policy_refuses_what_it_does_not_name() {
        for policy in ["script-src 'self'", "default-src 'none'", "sandbox", "script-src 'unsafe-inline' 'sha256-x'"] {
            assert!(refuses_inline(policy), "{policy}");
        }
        for policy in ["", "img-src 'none'", "script-src 'self' 'Unsafe-Inline'", "sandbox allow-scripts"] {
            assert!(!refuses_inline(policy), "{policy}");
        }
    }
}
