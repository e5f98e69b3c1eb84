//! `[[smoke]]`: checks of a version's responses before the version goes live.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mistaken::{EntryMistake, is_token};
use crate::parsing::reader::Table;
use crate::text::shown;

/// Maximum number of checks of a table; the edge's own limit may be lower.
pub const SMOKE_CHECKS_MAX: usize = 1_000;
/// Default timeout of a check in milliseconds.
pub const SMOKE_TIMEOUT_MS: u64 = 10_000;
/// Maximum timeout of a check, in milliseconds; the edge's own limit may be lower.
pub const SMOKE_TIMEOUT_MS_MAX: u64 = 600_000;
/// Default of the expected status.
pub const SMOKE_STATUS: u16 = 200;
/// Maximum length of a check's path, in bytes.
const PATH_BYTES_MAX: usize = 4_096;
/// Maximum length of a required text, and of a field's value, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;
/// Maximum number of required fields.
const FIELDS_MAX: usize = 32;
const METHODS: &[(&str, SmokeMethod)] = &[("GET", SmokeMethod::Get), ("HEAD", SmokeMethod::Head)];

/// The method of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SmokeMethod {
    /// Requests the whole response.
    #[default]
    Get,
    /// Requests the head.
    Head,
}

impl SmokeMethod {
    /// Returns the text as sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// Request with an expected response, required before a version goes live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmokeCheck {
    /// Text required in the decoded body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Required fields of the response, with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<SmokeMethod>,
    /// Path, with an optional query.
    pub path: String,
    /// Expected status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Timeout in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl SmokeCheck {
    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> SmokeMethod {
        self.method.unwrap_or_default()
    }

    /// Returns the expected status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(SMOKE_STATUS)
    }

    /// Returns the timeout in milliseconds.
    #[must_use]
    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms.unwrap_or(SMOKE_TIMEOUT_MS)
    }

    /// Returns all mistakes.
    #[must_use]
    pub fn mistakes(&self) -> Vec<EntryMistake> {
        let mut found = Vec::new();
        let mut wrong = |key, message: &str| found.push(EntryMistake { key, message: message.to_owned() });
        if !is_target(&self.path) {
            wrong("path", "is not a path: it begins with one /, and holds neither spaces nor a #");
        }
        // An interim response (1xx) is never final.
        if !(200..=599).contains(&self.status()) {
            wrong("status", "must lie between 200 and 599");
        }
        if !(1..=SMOKE_TIMEOUT_MS_MAX).contains(&self.timeout_ms()) {
            wrong("timeout_ms", &format!("must lie between 1 and {SMOKE_TIMEOUT_MS_MAX}"));
        }
        match &self.contains {
            Some(text) if text.is_empty() || text.len() > TEXT_BYTES_MAX => {
                wrong("contains", &format!("must have 1 to {TEXT_BYTES_MAX} bytes"));
            }
            Some(_) if self.method() == SmokeMethod::Head => {
                wrong("contains", "cannot be looked for: the answer to HEAD has no body");
            }
            _ => {}
        }
        if self.headers.len() > FIELDS_MAX {
            wrong("headers", &format!("has more than {FIELDS_MAX} fields"));
        }
        for (name, value) in &self.headers {
            if !is_token(name) {
                wrong("headers", &format!("holds `{}`, which is not the name of a field", shown(name)));
            } else if value.len() > TEXT_BYTES_MAX || value.chars().any(char::is_control) {
                wrong("headers", &format!("holds a value for {name} that cannot be one"));
            }
        }
        found
    }
}

/// Reads `[[smoke]]`.
pub(super) fn smoke(outer: &Table<'_, '_>) -> Option<Vec<SmokeCheck>> {
    let tables = outer.tables("smoke")?;
    let mut checks = Vec::with_capacity(tables.len());
    for table in &tables {
        if !table.has("path") {
            table.mistake(
                "path",
                format!("`{}` is missing", table.full("path")),
                Some("path = \"/\"  status = 200  contains = \"…\""),
            );
        }
        let path = table.string("path");
        let status = table.integer("status", 200..=599).and_then(|status| u16::try_from(status).ok());
        let contains = table.string("contains");
        let method = table.word("method", METHODS);
        let headers = table.named_strings("headers").into_iter().collect();
        let timeout_ms = table.integer("timeout_ms", 1..=SMOKE_TIMEOUT_MS_MAX);
        table.finish();
        let Some(path) = path else { continue };
        let check = SmokeCheck { contains, headers, method, path, status, timeout_ms };
        for EntryMistake { key, message } in check.mistakes() {
            table.mistake(key, format!("`{}` {message}", table.full(key)), None);
        }
        checks.push(check);
    }
    if tables.len() > SMOKE_CHECKS_MAX {
        outer.mistake("smoke", format!("there are more than {SMOKE_CHECKS_MAX} smoke checks"), None);
    }
    Some(checks)
}

/// RFC 9112 §3.2.1, for texts written by people: characters outside ASCII are encoded before sending.
fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= PATH_BYTES_MAX
        && !path.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '#' | '\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::SiteFile;
    use crate::{Manifest, manifest::FileEntry};

    #[test]
    fn a_check_is_read_with_all_that_it_may_say() {
        let text = "[[smoke]]\npath = \"/\"\n[[smoke]]\npath = \"/a?b\"\nstatus = 301\nmethod = \"HEAD\"\n\
            timeout_ms = 5\nheaders = { location = \"/b\" }\n[[env.staging.smoke]]\npath = \"/x\"\ncontains = \"y\"\n";
        let file = SiteFile::parse("devanture.toml", text).unwrap();
        let base = file.base.smoke.clone().unwrap();
        assert_eq!((base[0].status(), base[0].method(), base[0].timeout_ms()), (200, SmokeMethod::Get, 10_000));
        assert_eq!((base[1].status(), base[1].method(), base[1].timeout_ms()), (301, SmokeMethod::Head, 5));
        assert_eq!(base[1].headers["location"], "/b");
        let staging = file.base.overlaid_by(&file.env[&"staging".parse().unwrap()]);
        assert_eq!(staging.smoke.unwrap().len(), 1, "a list replaces a list");
    }

    #[test]
    fn every_mistake_of_a_check_has_its_line() {
        let text = "[[smoke]]\npath = \"x\"\nstatus = 99\n[[smoke]]\nstatus = 200\n[[smoke]]\npath = \"/\"\n\
            method = \"POST\"\ncontains = \"\"\n[[smoke]]\npath = \"/\"\nmethod = \"HEAD\"\ncontains = \"x\"\nexpect = 1\n";
        let mistakes = SiteFile::parse("devanture.toml", text).unwrap_err().0;
        let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [2, 3, 4, 8, 9, 13, 14], "{mistakes:#?}");
    }

    #[test]
    fn a_manifest_without_checks_keeps_its_id_and_one_with_them_is_checked() {
        let file = FileEntry { hash: crate::Digest::of(b"x"), size: 1, media_type: None };
        let mut manifest = Manifest::of_files([("index.html".parse().unwrap(), file)].into());
        let before = String::from_utf8(manifest.canonical()).unwrap();
        assert!(!before.contains("smoke"), "{before}");
        let check = SmokeCheck {
            contains: None,
            headers: BTreeMap::new(),
            method: None,
            path: "/".to_owned(),
            status: None,
            timeout_ms: None,
        };
        manifest.base.smoke = Some(vec![check.clone()]);
        assert!(String::from_utf8(manifest.canonical()).unwrap().contains(r#""smoke":[{"path":"/"}]"#));
        assert_eq!(Manifest::parse(&manifest.canonical()).unwrap(), manifest);
        for bad in ["", "x", "//host/", "/a b", "/a\nb", "/#x"] {
            manifest.base.smoke = Some(vec![SmokeCheck { path: bad.to_owned(), ..check.clone() }]);
            manifest.check().unwrap_err();
        }
    }
}
