//! What a diagnosis finds: a level, what was looked at, and what to do about it.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Ok,
    /// The edge works, and something should be looked at.
    Warn,
    /// The edge does not work, or will not for long.
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

/// Whether findings name hostnames and apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// They do.
    Shown,
    /// They say how many there are.
    Counted,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, such as `disk`.
    pub check: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it.
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

    /// The finding as one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { level, check, found, advice } = self;
        // A mistake of a file may have lines of its own.
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
