//! A finding of the diagnosis: level, check, and advice.

use serde::Serialize;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No fault.
    Ok,
    /// The edge works, but needs attention.
    Warn,
    /// The edge does not work, or will soon fail.
    Fail,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Treatment of hostnames and apps in findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Findings name hostnames and apps.
    Shown,
    /// Findings only count hostnames and apps.
    Counted,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The severity.
    pub level: Level,
    /// The name of the check, such as `disk`.
    pub check: &'static str,
    /// The result.
    pub found: String,
    /// The advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, found: found.into(), advice: None }
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, check, found: found.into(), advice: Some(advice.into()) }
    }

    pub(super) fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, check, found: found.into(), advice: Some(advice.into()) }
    }

    /// Returns the finding as one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { level, check, found, advice } = self;
        // An error of a file may have several lines.
        let found = found.replace('\n', " ");
        let advice = advice.as_ref().map(|advice| format!(" – {advice}")).unwrap_or_default();
        format!("{:<4}  {check:<13}  {found}{advice}", level.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_what_to_do_at_its_end() {
        let found = Finding::warn("disk", "8 % of it\nare free", "enlarge it");
        assert_eq!(found.line(), "warn  disk           8 % of it are free – enlarge it");
        assert_eq!(Finding::ok("clock", "it is right").line(), "ok    clock          it is right");
    }
}
