//! Secrets, recognised by the forms of their makers: keys, tokens, settings files, sources.
//!
//! Only certain forms are searched: a guess by randomness would report every hash and every image. A found secret is
//! never printed in full; a person finds the secret by its position.

use std::io::Read as _;
use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devanture_config::parsing::Weight;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::check::{CheckTable, SECRET, SOURCE_MAP};
use devanture_config::text::counted;
use devanture_project::beneath::FilePath;
use regex::bytes::Regex;

use super::analyze::FILE_BYTES_MAX;

/// Upper bound of findings reported for one file.
const TOLD_MAX: usize = 20;
/// Bytes at a file's beginning that distinguish text from binary.
const HEAD_BYTES: usize = 8_192;

/// A found secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    /// The offset of the first byte.
    pub(crate) at: usize,
    /// The code.
    pub(crate) code: &'static str,
    /// The certainty that the text is secret.
    pub(crate) weight: Weight,
    /// The kind, as a part of a sentence.
    pub(crate) what: String,
}

/// A form, with its expression and certainty.
struct Form {
    expression: &'static str,
    what: &'static str,
    weight: Weight,
}

const fn mistake(expression: &'static str, what: &'static str) -> Form {
    Form { expression, what, weight: Weight::Mistake }
}

const fn doubt(expression: &'static str, what: &'static str) -> Form {
    Form { expression, what, weight: Weight::Doubt }
}

/// The indexes in [`FORMS`] of forms with a second check.
const AWS: usize = 1;
const JWT: usize = 2;
const SLACK_HOOK: usize = 3;

/// Every form; each begins with distinctive letters, so that a file without such letters is skipped at once.
const FORMS: [Form; 20] = [
    // Every library for such keys contains the words alone.
    mistake(
        r#"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[\s"'+,`]|\\n|\\r){0,20}(?:[A-Za-z-]{1,40}: [^\n\\]{0,100}(?:\s|\\n|\\r){1,4}){0,5}[A-Za-z0-9+/=]{40}"#,
        "a private key",
    ),
    mistake("(?:AKIA|ASIA)[A-Z2-7]{16}", "a key of AWS (AKIA…)"),
    mistake(
        r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{20,2000}",
        "a bearer token, which gives access to anyone who holds it (eyJ…)",
    ),
    mistake(
        r"hooks\.slack\.com/services/T[A-Z0-9]{6,20}/B[A-Z0-9]{6,20}/[A-Za-z0-9]{16,40}",
        "a webhook of Slack (hooks.slack.com/services/…)",
    ),
    mistake("ghp_[A-Za-z0-9]{36}", "a token of GitHub (ghp_…)"),
    mistake("gho_[A-Za-z0-9]{36}", "a token of GitHub (gho_…)"),
    mistake("ghu_[A-Za-z0-9]{36}", "a token of GitHub (ghu_…)"),
    mistake("ghs_[A-Za-z0-9]{36}", "a token of GitHub (ghs_…)"),
    mistake("ghr_[A-Za-z0-9]{36}", "a token of GitHub (ghr_…)"),
    mistake("github_pat_[A-Za-z0-9_]{60,100}", "a token of GitHub (github_pat_…)"),
    mistake("glpat-[A-Za-z0-9_-]{20}", "a token of GitLab (glpat-…)"),
    mistake("xox[abeoprs]-[0-9A-Za-z]{1,20}-[A-Za-z0-9-]{10,200}", "a token of Slack (xox…)"),
    mistake("sk_live_[A-Za-z0-9]{20,200}", "a secret key of Stripe (sk_live_…)"),
    mistake("rk_live_[A-Za-z0-9]{20,200}", "a secret key of Stripe (rk_live_…)"),
    doubt("sk_test_[A-Za-z0-9]{20,200}", "a secret key of Stripe for tests (sk_test_…)"),
    mistake("whsec_[A-Za-z0-9+/]{32,100}", "the secret of a webhook (whsec_…)"),
    // Many sites publish such a key on purpose: Google limits the key by the page that uses it.
    doubt("AIza[A-Za-z0-9_-]{35}", "a key of Google (AIza…)"),
    mistake("npm_[A-Za-z0-9]{36}", "a token of npm (npm_…)"),
    mistake(r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", "a key of SendGrid (SG.…)"),
    mistake("dvt_[0-9a-f]{12}_[0-9a-f]{64}", "a token of an edge (dvt_…)"),
];

/// All forms in a single expression, so that a file is searched once.
static ANY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let all: Vec<String> = FORMS.iter().map(|form| format!("({})", form.expression)).collect();
    Regex::new(&format!("(?-u){}", all.join("|"))).ok()
});

/// A map within a program.
static INLINE_MAP: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?-u)[#@] sourceMappingURL=data:application/json[^\r\n]{100}").ok());
/// Sources within a map, and the first existing one.
static SOURCES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?-u)"sourcesContent"\s{0,9}:\s{0,9}\[(?:\s|null|,){0,5000}""#).ok());
/// A line of a file of settings.
static SETTING: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?-u)^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*\S").ok());

/// Words in the names of secret settings.
const SECRET_WORDS: [&str; 7] = ["ACCESS_KEY", "API_KEY", "CREDENTIAL", "PASSW", "PRIVATE", "SECRET", "TOKEN"];

/// Returns true for binary content, which is not searched.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(HEAD_BYTES).any(|byte| *byte == 0)
}

/// Searches for secrets in the file at `path` of the bundle.
pub(crate) fn scan(path: &str, bytes: &[u8]) -> Vec<Secret> {
    let mut found = Vec::new();
    if is_binary(bytes) {
        return found;
    }
    if let Some(any) = &*ANY {
        for captures in any.captures_iter(bytes) {
            let hit = (0..FORMS.len()).find_map(|number| Some((number, captures.get(number + 1)?.range())));
            let Some((number, range)) = hit else { continue };
            if let Some(form) = FORMS.get(number).filter(|_| is_one(number, bytes, range.clone())) {
                let (at, what) = (range.start, form.what.to_owned());
                found.push(Secret { at, code: SECRET, weight: form.weight, what });
            }
            if found.len() >= TOLD_MAX {
                break;
            }
        }
    }
    found.extend(settings(path, bytes));
    found.extend(repository(path, bytes));
    found.extend(sources(path, bytes));
    found
}

/// Returns true if a text with the form of a secret is a secret.
fn is_one(number: usize, bytes: &[u8], range: Range<usize>) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let before = range.start.checked_sub(1).and_then(|at| bytes.get(at));
    // A part of a longer text, such as an image in base64, is not a secret. An escape, `\n`, ends before the secret.
    let is_escape = |at: usize| at >= 2 && bytes.get(at - 2) == Some(&b'\\');
    if number != SLACK_HOOK && before.is_some_and(is_word) && !is_escape(range.start) {
        return false;
    }
    let text = bytes.get(range.clone()).unwrap_or_default();
    match number {
        // The example of AWS in its own documents.
        AWS => !text.ends_with(b"EXAMPLE") && !bytes.get(range.end).is_some_and(is_word),
        JWT => is_of_a_service(text),
        _ => true,
    }
}

/// Returns true if a token states that it is a service's own; other tokens are for browsers.
fn is_of_a_service(token: &[u8]) -> bool {
    const ROLES: [&str; 4] = ["admin", "service", "service_role", "supabase_admin"];
    let payload = token.split(|byte| *byte == b'.').nth(1).unwrap_or_default();
    let Ok(json) = URL_SAFE_NO_PAD.decode(payload) else { return false };
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(&json) else { return false };
    let role = claims.get("role").and_then(serde_json::Value::as_str);
    role.is_some_and(|role| ROLES.contains(&role))
}

/// Detects a settings file, such as `.env`, under a different name.
fn settings(path: &str, bytes: &[u8]) -> Option<Secret> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let is_named = name.ends_with(".env")
        || matches!(name.as_str(), "env" | "env.txt" | "dotenv" | "dotenv.txt")
        || name.starts_with("env.") && !name.rsplit('.').next().is_some_and(is_code);
    if !is_named {
        return None;
    }
    let setting = SETTING.as_ref()?;
    let mut names = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        // A single line that is not a setting makes the file a different kind.
        let name = setting.captures(line)?.get(1)?.as_bytes();
        names.push(String::from_utf8_lossy(name).to_uppercase());
    }
    let first = names.first()?;
    let secret = names.iter().find(|name| SECRET_WORDS.iter().any(|word| name.contains(word)));
    let (weight, name) = match secret {
        Some(name) => (Weight::Mistake, name),
        None => (Weight::Doubt, first),
    };
    Some(Secret { at: 0, code: SECRET, weight, what: format!("a file of settings, with {name} among them") })
}

fn is_code(ending: &str) -> bool {
    matches!(ending, "css" | "html" | "js" | "json" | "map" | "md" | "mjs" | "svg" | "ts" | "wasm")
}

/// Detects a git folder under a different name.
fn repository(path: &str, bytes: &[u8]) -> Option<Secret> {
    let is_one = match path.rsplit('/').next().unwrap_or(path) {
        "HEAD" => bytes.starts_with(b"ref: refs/heads/"),
        "config" => bytes.trim_ascii_start().starts_with(b"[core]") && contains(bytes, b"repositoryformatversion"),
        _ => false,
    };
    let what = "a part of a git repository, whose history then is public".to_owned();
    is_one.then_some(Secret { at: 0, code: SECRET, weight: Weight::Mistake, what })
}

/// The sources of a program.
fn sources(path: &str, bytes: &[u8]) -> Option<Secret> {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let expression = match ending.as_str() {
        "map" => SOURCES.as_ref()?,
        "css" | "js" | "mjs" => INLINE_MAP.as_ref()?,
        _ => return None,
    };
    let at = expression.find(bytes)?.start();
    let what = "the sources that the program was made of, comments included".to_owned();
    Some(Secret { at, code: SOURCE_MAP, weight: Weight::Doubt, what })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).take(HEAD_BYTES).any(|window| window == wanted)
}

/// Returns a line about secrets in files to be uploaded; `None` if there are none.
pub fn secrets_among<'f>(
    files: impl Iterator<Item = (&'f BundlePath, &'f FilePath, u64)>,
    table: &CheckTable,
) -> Option<String> {
    let mut found = SecretFiles::new(table);
    for (path, real, bytes) in files {
        if !found.is_looked_at(path.as_str(), bytes) {
            continue;
        }
        // The upload reports unreadable files.
        let mut read = Vec::new();
        if real.open().and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut read)).is_ok() {
            found.look(path.as_str(), &read);
        }
    }
    found.line()
}

/// Collects files with secrets from files to be uploaded, file by file.
pub struct SecretFiles<'t> {
    table: &'t CheckTable,
    first: Option<String>,
    count: u64,
}

impl<'t> SecretFiles<'t> {
    /// Creates an empty collection; files that `table` ignores are skipped.
    pub fn new(table: &'t CheckTable) -> Self {
        Self { table, first: None, count: 0 }
    }

    /// Returns true if a file of `bytes` bytes is searched for secrets.
    pub fn is_looked_at(&self, path: &str, bytes: u64) -> bool {
        bytes <= FILE_BYTES_MAX && !self.table.ignores(SECRET, path, None)
    }

    /// Looks at a file.
    pub fn look(&mut self, path: &str, bytes: &[u8]) {
        let found = scan(path, bytes);
        if let Some(secret) = found.into_iter().find(|s| s.code == SECRET && s.weight == Weight::Mistake) {
            self.count += 1;
            self.first.get_or_insert_with(|| format!("{path} holds {}", secret.what));
        }
    }

    /// Returns the line about the files; `None` if there are none.
    pub fn line(self) -> Option<String> {
        let and = match self.count.checked_sub(1)? {
            0 => String::new(),
            more => format!(", and {} hold{} such", counted(more, "more file"), if more == 1 { "s" } else { "" }),
        };
        Some(format!("{}{and}: `devanture check` lists what nobody should read", self.first?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters and digits in place of a secret; assembled here, so that no scanner takes this file for a leak.
    fn random(characters: usize) -> String {
        "Ab3dE5gH7jK9".chars().cycle().take(characters).collect()
    }

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str, Weight)> {
        scan(path, text.as_bytes()).into_iter().map(|secret| (secret.at, secret.code, secret.weight)).collect()
    }

    #[test]
    fn every_form_is_found_and_never_reported_whole() {
        let upper: String = "ABCDEFGHIJKLMNOP".to_owned();
        let service = URL_SAFE_NO_PAD.encode(r#"{"role":"service_role","iss":"x"}"#);
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let key = "-----BEGIN RSA PRIVATE KEY-----";
        for (secret, weight) in [
            (format!("{key}\n{}", random(64)), Weight::Mistake),
            (format!("{key}\\n{}", random(64)), Weight::Mistake),
            (format!("{key}\nProc-Type: 4,ENCRYPTED\n\n{}", random(64)), Weight::Mistake),
            (format!("AKIA{upper}"), Weight::Mistake),
            (format!("{head}.{service}.{}", random(43)), Weight::Mistake),
            (format!("hooks.slack.com/services/T{upper}/B{upper}/{}", random(24)), Weight::Mistake),
            (format!("ghp_{}", random(36)), Weight::Mistake),
            (format!("github_pat_{}", random(82)), Weight::Mistake),
            (format!("glpat-{}", random(20)), Weight::Mistake),
            (format!("xoxb-123456789012-{}", random(24)), Weight::Mistake),
            (format!("sk_live_{}", random(24)), Weight::Mistake),
            (format!("sk_test_{}", random(24)), Weight::Doubt),
            (format!("whsec_{}", random(32)), Weight::Mistake),
            (format!("AIza{}", random(35)), Weight::Doubt),
            (format!("npm_{}", random(36)), Weight::Mistake),
            (format!("SG.{}.{}", random(22), random(43)), Weight::Mistake),
            (format!("dvt_{}_{}", "0a".repeat(6), "0a".repeat(32)), Weight::Mistake),
        ] {
            let text = format!("const k = \"{secret}\";\n");
            assert_eq!(found("a.js", &text), [(11, SECRET, weight)], "{secret}");
            let shown = &scan("a.js", text.as_bytes())[0].what;
            assert!(!shown.contains(&secret[12..]), "{shown}");
            // A part of a longer text is not a secret.
            if !secret.starts_with('-') && !secret.starts_with("hooks") {
                assert_eq!(found("a.js", &format!("x{secret}")), [], "{secret}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_left_alone() {
        let anon = URL_SAFE_NO_PAD.encode(r#"{"role":"anon"}"#);
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        for text in [
            "`-----BEGIN PRIVATE KEY-----\\n${key}\\n-----END PRIVATE KEY-----`".to_owned(),
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("{head}.{anon}.{}", random(43)),
            format!("pk_live_{}", random(24)),
            format!("sha512-{}", random(86)),
            "\0AKIAABCDEFGHIJKLMNOP".to_owned(),
        ] {
            assert_eq!(found("a.js", &text), [], "{text}");
        }
    }

    #[test]
    fn files_of_settings_and_repositories_are_reported_under_any_name() {
        let secret = "# x\nexport DB_PASSWORD=\"x\"\nA=1\n";
        assert_eq!(found("prod.env", secret), [(0, SECRET, Weight::Mistake)]);
        assert_eq!(found("a/env.production", "MODE=x\n"), [(0, SECRET, Weight::Doubt)]);
        for (path, text) in [("env.js", secret), ("prod.env", "not a setting\n"), ("a.txt", secret), ("x.env", "")] {
            assert_eq!(found(path, text), [], "{path}");
        }
        assert_eq!(found("git/HEAD", "ref: refs/heads/main\n"), [(0, SECRET, Weight::Mistake)]);
        assert_eq!(found("g/config", "[core]\n\trepositoryformatversion = 0\n"), [(0, SECRET, Weight::Mistake)]);
        assert_eq!(found("config", "[core]\n"), []);
    }

    #[test]
    fn sources_in_a_map_are_reported() {
        let map = |sources: &str| format!("{{\"version\":3,\"sourcesContent\":{sources},\"mappings\":\"\"}}");
        assert_eq!(found("a.js.map", &map("[null, \"let a\"]")), [(13, SOURCE_MAP, Weight::Doubt)]);
        assert_eq!(found("a.js.map", &map("[]")), []);
        assert_eq!(found("a.js.map", &map("[null]")), []);
        let inline = format!("go()\n//# sourceMappingURL=data:application/json;base64,{}", random(200));
        assert_eq!(found("a.js", &inline), [(7, SOURCE_MAP, Weight::Doubt)]);
        assert_eq!(found("a.js", "go()\n//# sourceMappingURL=a.js.map"), []);
    }
}
