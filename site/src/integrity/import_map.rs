//! Import maps with the hashes of modules: the edge's own map, inserted into a page, and the page's map. Pure.

use devanture_config::Sha256;
use serde_json::Value;

use super::bounds::{ADDRESS_BYTES_MAX, NAMES_MAX, PREFIXES_MAX};
use super::{HASH_CHARACTERS, metadata};

/// Start of an import map of the edge. No tool writes the space, so the start is unambiguous.
const OWN_BEGIN: &[u8] = b"<script type=\"importmap\">{\"integrity\" :{";
/// End of an import map of the edge.
const OWN_END: &[u8] = b"}}</script>";
/// Start of the hashes in the import map of a page; unambiguous by the tab.
const MERGED_BEGIN: &[u8] = b"\"integrity\"\t:{";
/// Bytes of an entry beside its address.
const ENTRY_BYTES: usize = HASH_CHARACTERS + 13;

/// The hashes of modules, in the syntax of an import map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleHashes(String);

impl ModuleHashes {
    /// Adds the module at an address, which begins with a slash. An address that would need escaping is left out.
    pub fn add(&mut self, address: &str, hash: &Sha256) {
        if !is_plain(address.as_bytes()) {
            return;
        }
        let comma = if self.0.is_empty() { "" } else { "," };
        self.0.push_str(&format!("{comma}\"{address}\":\"{}\"", metadata(hash)));
    }

    /// Returns true without any hash.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the entry for an address.
    #[must_use]
    pub const fn bytes_of(address: &str) -> usize {
        address.len().saturating_add(ENTRY_BYTES)
    }

    /// An import map with the hashes alone, as an element.
    pub(super) fn element(&self) -> String {
        format!("{}{}{}", String::from_utf8_lossy(OWN_BEGIN), self.0, String::from_utf8_lossy(OWN_END))
    }

    /// The text for insertion after the first brace of a page's own import map.
    pub(super) fn merged(&self, is_empty: bool) -> String {
        let comma = if is_empty { "" } else { "," };
        format!("{}{}}}{comma}", String::from_utf8_lossy(MERGED_BEGIN), self.0)
    }
}

/// Returns true if an address needs no escaping in a map.
fn is_plain(address: &[u8]) -> bool {
    let is_own = address.starts_with(b"/") && !address.starts_with(b"//");
    is_own && address.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>".contains(byte))
}

/// The length of the edge's import map at the start of `html`, if present.
pub(super) fn own_bytes(html: &[u8]) -> usize {
    let after = || {
        let rest = html.strip_prefix(OWN_BEGIN)?;
        entries(rest)?.strip_prefix(OWN_END)
    };
    after().map_or(0, |after| html.len().saturating_sub(after.len()))
}

/// The length of the edge's insertion at the start of `json`, the import map of a page after its first brace.
pub(super) fn merged_bytes(json: &[u8]) -> usize {
    let after = || {
        let rest = entries(json.strip_prefix(MERGED_BEGIN)?)?.strip_prefix(b"}")?;
        Some(rest.strip_prefix(b",").unwrap_or(rest))
    };
    after().map_or(0, |after| json.len().saturating_sub(after.len()))
}

/// The rest after at least one hash of a module.
fn entries(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let inner = rest.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let (address, after) = inner.split_at_checked(end)?;
        let (hash, after) = after.strip_prefix(b"\":\"sha256-")?.split_at_checked(HASH_CHARACTERS)?;
        let is_base64 = hash.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
        let after = after.strip_prefix(b"\"").filter(|_| is_base64 && is_plain(address))?;
        match after.strip_prefix(b",") {
            Some(more) => rest = more,
            None => return Some(after),
        }
    }
}

/// A prefix in an import map, which maps names to addresses with the same rest; both prefixes end with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapPrefix {
    /// The table of the prefix: `imports`, or one of `scopes`.
    pub table: usize,
    /// The prefix of names.
    pub name: String,
    /// The prefix of addresses.
    pub address: String,
}

/// The import map of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageMap {
    /// The addresses in the map.
    pub addresses: Vec<String>,
    /// The name prefixes.
    pub prefixes: Vec<MapPrefix>,
    /// The addresses with a hash in the map.
    pub hashed: Vec<String>,
    /// True if the map is valid.
    pub(super) is_map: bool,
    /// True if hashes can be inserted: a valid map without hashes.
    pub(super) takes_hashes: bool,
    /// True if the map is an empty object.
    pub(super) is_empty: bool,
}

impl PageMap {
    /// Parses a map.
    pub(super) fn read(json: &[u8]) -> Self {
        let Ok(Value::Object(map)) = serde_json::from_slice::<Value>(json) else { return Self::default() };
        let mut page = Self {
            is_map: true,
            is_empty: map.is_empty(),
            takes_hashes: !map.contains_key("integrity"),
            ..Self::default()
        };
        let hashed = map.get("integrity").and_then(Value::as_object);
        page.hashed = hashed.into_iter().flat_map(|hashed| hashed.keys().cloned()).collect();
        let scopes = map.get("scopes").and_then(Value::as_object);
        let tables = map.get("imports").into_iter().chain(scopes.into_iter().flat_map(serde_json::Map::values));
        let tables = tables.filter_map(Value::as_object).enumerate();
        for (table, (name, address)) in tables.flat_map(|(table, names)| names.iter().map(move |name| (table, name))) {
            // A `data:` address contains the module itself, and needs no request.
            let Some(address) = address.as_str().filter(|address| !address.starts_with("data:")) else { continue };
            if name.ends_with('/') && address.ends_with('/') {
                page.prefixes.push(MapPrefix { table, name: name.clone(), address: address.to_owned() });
            } else {
                page.addresses.push(address.to_owned());
            }
        }
        page
    }

    /// Returns true if the map exceeds the bounds.
    pub(super) fn is_too_large(&self) -> bool {
        let is_long = |text: &String| text.len() > ADDRESS_BYTES_MAX;
        self.addresses.len().max(self.hashed.len()) > NAMES_MAX
            || self.prefixes.len() > PREFIXES_MAX
            || self
                .addresses
                .iter()
                .chain(self.prefixes.iter().flat_map(|prefix| [&prefix.name, &prefix.address]))
                .any(is_long)
    }
}
