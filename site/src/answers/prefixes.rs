//! Prefixes of names in a page's import map.

use std::collections::{BTreeSet, HashMap};

use url::Url;

use super::steps::{Steps, TooMany};
use crate::integrity::PageMap;

/// The prefixes, of all tables of a map.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// For each prefix, its tables with the targets.
    by_name: HashMap<String, Vec<(usize, Url)>>,
    longest: usize,
}

impl Prefixes {
    /// The prefixes of a map in a page at `base`.
    pub(super) fn of(map: &PageMap, base: &Url, steps: &Steps) -> Result<Self, TooMany> {
        let mut prefixes = Self::default();
        for prefix in &map.prefixes {
            steps.take(1)?;
            let Ok(url) = base.join(&prefix.address) else { continue };
            prefixes.longest = prefixes.longest.max(prefix.name.len());
            prefixes.by_name.entry(prefix.name.clone()).or_default().push((prefix.table, url));
        }
        Ok(prefixes)
    }

    /// A digest of the prefixes.
    pub(super) fn key(&self) -> [u8; 32] {
        let mut names: Vec<_> = self.by_name.iter().collect();
        names.sort_by_key(|(name, _)| name.as_str());
        let mut hasher = blake3::Hasher::new();
        for (name, tables) in names {
            for (table, url) in tables {
                for part in [name.as_bytes(), url.as_str().as_bytes()] {
                    hasher.update(&part.len().to_le_bytes()).update(part);
                }
                hasher.update(&table.to_le_bytes());
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// The possible targets of a name: in each table, the longest prefix counts, as in browsers.
    pub(super) fn urls(&self, name: &str, steps: &Steps) -> Result<Vec<Url>, TooMany> {
        let (mut urls, mut seen) = (Vec::new(), BTreeSet::new());
        if self.by_name.is_empty() {
            return Ok(urls);
        }
        let slashes = name.bytes().enumerate().take(self.longest).filter(|(_, byte)| *byte == b'/');
        let ends: Vec<usize> = slashes.map(|(at, _)| at.saturating_add(1)).collect();
        for end in ends.into_iter().rev() {
            steps.take(1)?;
            let Some((begin, rest)) = name.split_at_checked(end) else { continue };
            for (table, url) in self.by_name.get(begin).into_iter().flatten() {
                steps.take(1)?;
                if seen.insert(*table) {
                    urls.extend(url.join(rest).ok());
                }
            }
        }
        Ok(urls)
    }
}
