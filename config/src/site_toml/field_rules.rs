//! Changes to the heads of messages by a route.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mistaken::{EntryMistake, is_token};
use crate::parsing::reader::Table;
use crate::text::shown;

/// Maximum number of fields changed in a head.
const ROUTE_FIELDS_MAX: usize = 64;
/// Maximum length of a field's value set by a route, in bytes.
const ROUTE_FIELD_BYTES_MAX: usize = 8_192;

/// Changes of a head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRules {
    /// Fields to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Fields to set, in place of fields with the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

impl FieldRules {
    /// Returns true if no field is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    pub(super) fn mistakes(&self, key: &'static str, found: &mut Vec<EntryMistake>) {
        let mut wrong = |message: String| found.push(EntryMistake { key, message });
        if self.remove.len() + self.set.len() > ROUTE_FIELDS_MAX {
            wrong(format!("has more than {ROUTE_FIELDS_MAX} fields"));
        }
        for name in self.remove.iter().chain(self.set.keys()) {
            if !is_token(name) {
                wrong(format!("holds `{}`, which is not the name of a field", shown(name)));
            } else if is_reserved(name) {
                wrong(format!("holds `{name}`, which belongs to the connection or is the edge's own"));
            }
        }
        for (name, value) in &self.set {
            if value.len() > ROUTE_FIELD_BYTES_MAX || value.chars().any(char::is_control) {
                wrong(format!("holds a value for {} that cannot be one", shown(name)));
            }
        }
    }
}

/// Returns true for fields of the framing, of the connection (RFC 9110 §7.6.1), or reserved for the edge.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_named = matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "devanture-version"
            | "expect"
            | "forwarded"
            | "host"
            | "keep-alive"
            | "te"
            | "traceparent"
            | "tracestate"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-request-id"
    );
    is_named || name.starts_with("proxy-") || name.starts_with("x-forwarded-")
}

/// Reads `request_headers` or `response_headers`.
pub(super) fn field_rules(table: &Table<'_, '_>) -> FieldRules {
    let rules = FieldRules {
        remove: table.list("remove").unwrap_or_default(),
        set: table.named_strings("set").into_iter().collect(),
    };
    table.finish();
    rules
}
