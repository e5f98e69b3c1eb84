//! Manifests from clients, read in two steps: first the files and the text of all other members, whose length is
//! checked; then the content of this text.
//!
//! An entry of a file takes at most some four times its text in memory, while a table of settings can take a hundred
//! times its text. With a bound on the length of the settings, the memory for a manifest is bounded by its length.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::files::Entries;
use super::{BadManifest, FileEntry, Manifest, ServerFile, ServerFolder};
use crate::names::PlaceName;
use crate::parsing::unique_keys;
use crate::site_toml::Rules;

/// Maximum bytes of memory for each byte of text of a manifest's files, including the bookkeeping of a push.
pub const FILES_MEMORY_FACTOR: u64 = 4;
/// Maximum bytes of memory for each byte of text of the settings.
pub const SETTINGS_MEMORY_FACTOR: u64 = 32;
/// Maximum number of environment tables in a manifest: an empty table takes a hundred times its text.
const TABLES_MAX: usize = 10_000;

/// Manifest with unread settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncomingManifest {
    #[serde(default)]
    base: Option<Box<RawValue>>,
    #[serde(default)]
    env: Option<Box<RawValue>>,
    files: Entries<FileEntry>,
    format: u32,
    #[serde(default)]
    guessed_rules: Option<Rules>,
    #[serde(default)]
    server: Option<IncomingFolder>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IncomingFolder {
    files: Entries<ServerFile>,
    #[serde(default)]
    links: Option<Box<RawValue>>,
}

impl IncomingManifest {
    /// Returns the length of the settings and of the links of the backend's folder, in bytes.
    #[must_use]
    pub fn settings_bytes(&self) -> u64 {
        let links = self.server.as_ref().and_then(|folder| folder.links.as_ref());
        let texts = [self.base.as_ref(), self.env.as_ref(), links];
        texts.into_iter().flatten().map(|text| u64::try_from(text.get().len()).unwrap_or(u64::MAX)).sum()
    }

    /// Reads the settings, and returns the unchecked manifest.
    ///
    /// # Errors
    /// [`BadManifest::Twice`]; [`BadManifest::Settings`] if the settings are longer than `settings_bytes_max`;
    /// [`BadManifest::Json`], with the member.
    pub fn read(self, settings_bytes_max: u64) -> Result<Manifest, BadManifest> {
        let bytes = self.settings_bytes();
        if bytes > settings_bytes_max {
            return Err(BadManifest::Settings { bytes, bytes_max: settings_bytes_max });
        }
        let files = self.files.each_once().map_err(BadManifest::Twice)?;
        let server = match self.server {
            Some(IncomingFolder { files, links }) => {
                let links: Entries<String> = member("server.links", links.as_deref())?;
                let (files, links) = (files.each_once(), links.each_once());
                let twice = BadManifest::Twice;
                Some(ServerFolder { files: files.map_err(twice)?, links: links.map_err(twice)? })
            }
            None => None,
        };
        let tables: BTreeMap<PlaceName, &RawValue> = member("env", self.env.as_deref())?;
        if tables.len() > TABLES_MAX {
            return Err(BadManifest::Tables { count: tables.len(), count_max: TABLES_MAX });
        }
        let env = tables.into_iter().map(|(name, table)| {
            let table = member(&format!("env.{name}"), Some(table))?;
            Ok((name, table))
        });
        let env = env.collect::<Result<_, BadManifest>>()?;
        let base = member("base", self.base.as_deref())?;
        for (name, table) in [("base", &self.base), ("env", &self.env)] {
            let checked = table.as_ref().map_or(Ok(()), |table| unique_keys::check(table.get().as_bytes()));
            checked.map_err(|error| BadManifest::Json(format!("`{name}`: {error}")))?;
        }
        Ok(Manifest { base, env, files, format: self.format, guessed_rules: self.guessed_rules, server })
    }
}

fn member<'a, T: Deserialize<'a> + Default>(name: &str, text: Option<&'a RawValue>) -> Result<T, BadManifest> {
    let read = text.map(|text| serde_json::from_str(text.get())).transpose();
    Ok(read.map_err(|error| BadManifest::Json(format!("`{name}`: {error}")))?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn incoming(text: &str) -> IncomingManifest {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_comes_in_is_what_was_written() {
        let hash = Digest::of(b"");
        let text = format!(
            "{{\"base\":{{\"not_found\":\"none\"}},\"env\":{{\"staging\":{{\"html_handling\":\"none\"}}}},\
             \"files\":{{\"a\":{{\"hash\":\"{hash}\",\"size\":0}}}},\"format\":1,\
             \"server\":{{\"files\":{{\"m\":{{\"hash\":\"{hash}\",\"size\":0}}}},\"links\":{{\"b\":\"m\"}}}}}}"
        );
        let whole = Manifest::read(text.as_bytes()).unwrap();
        assert_eq!(incoming(&text).read(1_000).unwrap(), whole);
        assert_eq!(String::from_utf8(whole.canonical()).unwrap(), text);
        let bytes = incoming(&text).settings_bytes();
        assert_eq!(incoming(&text).read(bytes - 1), Err(BadManifest::Settings { bytes, bytes_max: bytes - 1 }));
        assert_eq!(
            bytes,
            ["{\"not_found\":\"none\"}", "{\"staging\":{\"html_handling\":\"none\"}}", "{\"b\":\"m\"}"].concat().len()
                as u64
        );
    }

    #[test]
    fn tables_of_environments_are_counted_before_they_are_read() {
        let tables: Vec<String> = (0..=TABLES_MAX).map(|number| format!("\"place-{number}\":{{}}")).collect();
        let text = format!("{{\"files\":{{}},\"format\":1,\"env\":{{{}}}}}", tables.join(","));
        let refused = incoming(&text).read(u64::MAX).unwrap_err();
        assert_eq!(refused, BadManifest::Tables { count: TABLES_MAX + 1, count_max: TABLES_MAX });
    }

    #[test]
    fn what_is_named_twice_is_refused_and_the_path_is_reported() {
        let file = |size| format!("{{\"hash\":\"{}\",\"size\":{size}}}", Digest::of(b""));
        let (files, other) = (format!("\"a\":{},\"b\":{0},\"b\":{}", file(0), file(1)), file(2));
        let server = |files: &str, links: &str| format!("\"server\":{{\"files\":{{{files}}},\"links\":{{{links}}}}}");
        for (rest, path) in [
            (format!("\"files\":{{{files},\"a\":{other}}}"), "b"),
            (format!("\"files\":{{}},{}", server(&files, "")), "b"),
            (format!("\"files\":{{}},{}", server("", "\"l\":\"a\",\"l\":\"b\"")), "l"),
        ] {
            let refused = incoming(&format!("{{{rest},\"format\":1}}")).read(1_000).unwrap_err();
            assert_eq!(refused, BadManifest::Twice(path.parse().unwrap()));
            assert_eq!(refused.to_string(), format!("`{path}` is named twice"));
        }
        for (rest, expected) in [
            ("\"env\":{\"staging\":{},\"staging\":{}}", "`env`: `staging` is named twice"),
            ("\"base\":{\"upstreams\":{\"api\":{},\"api\":{}}}", "`base`: "),
        ] {
            let refused = incoming(&format!("{{\"files\":{{}},\"format\":1,{rest}}}")).read(1_000).unwrap_err();
            assert!(matches!(refused, BadManifest::Json(_)) && refused.to_string().contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_member() {
        let wrong =
            incoming("{\"files\":{},\"format\":1,\"env\":{\"staging\":{\"wrong\":1}}}").read(1_000).unwrap_err();
        assert!(wrong.to_string().contains("`env.staging`: unknown field `wrong`"), "{wrong}");
        let empty = incoming("{\"files\":{},\"format\":1}");
        assert_eq!(empty.settings_bytes(), 0);
        assert_eq!(empty.read(0).unwrap(), Manifest::of_files(BTreeMap::new()));
        assert!(serde_json::from_str::<IncomingManifest>("{\"files\":{},\"format\":1,\"x\":1}").is_err());
    }
}
