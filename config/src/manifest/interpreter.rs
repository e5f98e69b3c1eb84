//! Links of the backend's folder to an interpreter of the edge, for example in a virtual environment of Python.
//!
//! Links out of the folder are refused, with one exception: `/interpreters/python3.11` stands for the interpreter of
//! this name, located by each edge's settings. The form is an absolute path: edges without the feature refuse the
//! bundle, and no link of an earlier bundle has the form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// Prefix of link targets to an interpreter.
const PREFIX: &str = "/interpreters/";
/// Families of interpreters, for virtual environments and for backends.
const FAMILIES: &[&str] = &["bun", "deno", "node", "perl", "php", "pypy", "python", "ruby"];
/// Maximum number of characters of a version.
const VERSION_CHARACTERS_MAX: usize = 16;

/// Name of an interpreter: the program with a version, for example `python3.11` or `node`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterpreterName(String);

impl InterpreterName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the interpreter behind a link, if any.
    #[must_use]
    pub fn of_link(target: &str) -> Option<Self> {
        target.strip_prefix(PREFIX)?.parse().ok()
    }

    /// Returns the target of a link to the interpreter.
    #[must_use]
    pub fn link(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }
}

/// Error for an invalid interpreter name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an interpreter is named by its program and its version, such as python3.11 or node; one of {}", FAMILIES.join(", "))]
pub struct BadInterpreterName;

impl FromStr for InterpreterName {
    type Err = BadInterpreterName;

    fn from_str(text: &str) -> Result<Self, BadInterpreterName> {
        let version = FAMILIES.iter().find_map(|family| text.strip_prefix(family)).ok_or(BadInterpreterName)?;
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_version = version.is_empty() || version.split('.').all(is_number);
        match is_version && version.len() <= VERSION_CHARACTERS_MAX {
            true => Ok(Self(text.to_owned())),
            false => Err(BadInterpreterName),
        }
    }
}

text_form!(InterpreterName, BadInterpreterName);

impl fmt::Display for InterpreterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interpreter_is_a_program_and_its_version() {
        for name in ["python3.11", "python3", "python", "node", "node20", "pypy3.10", "php8.2"] {
            let parsed: InterpreterName = name.parse().unwrap();
            assert_eq!(InterpreterName::of_link(&parsed.link()), Some(parsed), "{name}");
        }
        for bad in ["", "bash", "python3.", "python.3", "python3..1", "python3.11-config", "Python3", "python3/../sh"] {
            bad.parse::<InterpreterName>().unwrap_err();
            assert_eq!(InterpreterName::of_link(&format!("/interpreters/{bad}")), None, "{bad}");
        }
        for target in ["python3", "/usr/bin/python3", "interpreters/python3", "/interpreters//python3"] {
            assert_eq!(InterpreterName::of_link(target), None, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_name_holds_what_leads_elsewhere(target in "/interpreters/(python|node)?[0-9a-z./\0-]{0,12}") {
            if let Some(name) = InterpreterName::of_link(&target) {
                prop_assert!(!name.as_str().contains(['/', '\0', '-']) && !name.as_str().contains(".."));
            }
        }
    }
}
