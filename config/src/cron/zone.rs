//! Time zones by IANA name. A copy of the database is part of the program, so all nodes have the same rules.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::text::{shown, text_form};

/// Bundled database, independent of the machine's.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Maximum length of a name, in bytes.
const BYTES_MAX: usize = 64;

/// Time zone, for example `Europe/Paris`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

/// Error for an unknown time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone, such as UTC or Europe/Paris")]
pub struct BadZone(pub String);

impl Zone {
    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the rules of the zone.
    pub(super) fn rules(&self) -> TimeZone {
        // The parser already found the name.
        DATABASE.get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl FromStr for Zone {
    type Err = BadZone;

    fn from_str(text: &str) -> Result<Self, BadZone> {
        let bad = || BadZone(shown(text));
        if text.len() > BYTES_MAX {
            return Err(bad());
        }
        let found = DATABASE.get(text).map_err(|_unknown| bad())?;
        // The database ignores case; here a name has a single spelling.
        if found.iana_name() == Some(text) { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(Zone, BadZone);
