//! Effective tables of an environment, and the origin of each effective value.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::layer::{Explained, Layer, Origin, PlaceLines};
use super::serving::{HtmlHandling, NotFound, Rules};
use super::site_file::SiteFile;
use crate::names::PlaceName;
use crate::rules::{At, RuleTable};

/// Keys merged entry by entry, as by [`Serving::overlaid_by`].
const MERGED: [&str; 3] = ["cache", "server", "upstreams"];

impl SiteFile {
    /// Returns the positions of the rules for `env`, or for every environment if `None`: merged like
    /// [`Serving::overlaid_by`].
    #[must_use]
    pub fn lines_in(&self, env: Option<&PlaceName>) -> PlaceLines {
        let mut lines: BTreeMap<RuleTable, Vec<At>> = BTreeMap::new();
        let mut cache: BTreeMap<&str, At> = BTreeMap::new();
        for layer in self.layers.iter().filter(|layer| layer.applies_in(env)) {
            let serving = &layer.serving;
            let mut list = |table, key, count: Option<usize>| {
                if let Some(count) = count {
                    lines.insert(table, (0..count).map(|index| layer.item(key, index)).collect());
                }
            };
            list(RuleTable::Headers, "headers", serving.headers.as_ref().map(Vec::len));
            list(RuleTable::Redirects, "redirects", serving.redirects.as_ref().map(Vec::len));
            list(RuleTable::Rewrites, "rewrites", serving.rewrites.as_ref().map(Vec::len));
            let paths = serving.cache.iter().flatten().map(|(path, _)| path);
            cache.extend(paths.map(|path| (path.as_str(), layer.entry("cache", path))));
        }
        lines.insert(RuleTable::Cache, cache.into_values().collect());
        PlaceLines(lines)
    }

    /// Returns every value for `env`, or for every environment if `None`, with its origin. `guessed` is the provider
    /// assumed for rule files, if present while `rules` is not set.
    ///
    /// Values are collected table by table, from weak to strong; a test checks that the result equals
    /// [`Manifest::serving_for`](crate::Manifest::serving_for).
    #[must_use]
    pub fn explain(&self, env: Option<&PlaceName>, guessed: Option<Rules>) -> Vec<Explained> {
        let mut found: BTreeMap<String, BTreeMap<String, Explained>> = BTreeMap::new();
        for layer in self.layers.iter().filter(|layer| layer.applies_in(env)) {
            let declared = match serde_json::to_value(&layer.serving) {
                Ok(Value::Object(declared)) => declared,
                _ => Map::new(),
            };
            for (key, value) in declared {
                let entries = explained(layer, &key, value);
                let known = found.entry(key.clone()).or_default();
                if !MERGED.contains(&key.as_str()) {
                    known.clear();
                }
                known.extend(entries);
            }
        }
        let mut all = self.explain_base();
        all.extend(found.into_values().flat_map(BTreeMap::into_values));
        all.extend(defaults(&all, guessed));
        all.sort_by_key(|one| one.key.split(['[', '.']).next().unwrap_or_default().to_owned());
        all
    }

    /// Returns the position of `www`.
    #[must_use]
    pub fn line_of_www(&self) -> At {
        self.layers.first().map(|base| base.key("www")).unwrap_or_default()
    }

    /// Returns the position of `server.dir`.
    #[must_use]
    pub fn line_of_server_dir(&self) -> At {
        self.layers.first().map(|base| base.entry("server", "dir")).unwrap_or_default()
    }

    /// Returns the position of `server.image`.
    #[must_use]
    pub fn line_of_server_image(&self) -> At {
        self.layers.first().map(|base| base.entry("server", "image")).unwrap_or_default()
    }

    /// Returns the settings common to every environment.
    fn explain_base(&self) -> Vec<Explained> {
        let Some(base) = self.layers.first() else { return Vec::new() };
        let text = |key: &str, value: Option<String>| {
            Some(Explained { key: key.to_owned(), value: value?.into(), origin: Origin::File(base.key(key)) })
        };
        let declared = [text("app", self.app.as_ref().map(ToString::to_string)), text("url", self.url.clone())];
        let mut all: Vec<Explained> = declared.into_iter().flatten().collect();
        all.extend(text("www", self.www.clone()));
        all.extend(self.types.declared().map(|(name, media_type)| Explained {
            key: format!("types.\"{name}\""),
            value: media_type.into(),
            origin: Origin::File(base.entry("types", &name)),
        }));
        all
    }
}

/// Returns the values of a layer under one key: each item of a list, each entry of a table.
fn explained(layer: &Layer, key: &str, value: Value) -> BTreeMap<String, Explained> {
    let one = |key: String, value, at| Explained { key, value, origin: Origin::File(at) };
    match value {
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => items
            .into_iter()
            .enumerate()
            // Padded numbers keep their order in comparisons of texts.
            .map(|(index, item)| (format!("{index:08}"), one(format!("{key}[{index}]"), item, layer.item(key, index))))
            .collect(),
        Value::Object(entries) if MERGED.contains(&key) => entries
            .into_iter()
            .map(|(name, value)| {
                let full = if key == "cache" { format!("{key}.\"{name}\"") } else { format!("{key}.{name}") };
                let at = layer.entry(key, &name);
                (name, one(full, value, at))
            })
            .collect(),
        value => BTreeMap::from([(String::new(), one(key.to_owned(), value, layer.key(key)))]),
    }
}

/// Returns the defaults.
fn defaults(declared: &[Explained], guessed: Option<Rules>) -> Vec<Explained> {
    let value_of = |key: &str| declared.iter().find(|one| one.key == key).map(|one| &one.value);
    let mut all = Vec::new();
    let mut add = |key: &str, value: Value, origin: Origin| all.push(Explained { key: key.to_owned(), value, origin });
    let rules = value_of("rules").cloned();
    let rules = rules.or_else(|| {
        let guessed = word(guessed?);
        add("rules", guessed.clone(), Origin::Guessed);
        Some(guessed)
    });
    if value_of("html_handling").is_none() {
        let is_netlify = rules == Some(word(Rules::Netlify));
        let handling = if is_netlify { HtmlHandling::AsIs } else { HtmlHandling::AutoTrailingSlash };
        add("html_handling", word(handling), Origin::Default);
    }
    if value_of("not_found").is_none() {
        add("not_found", word(NotFound::Page404), Origin::Default);
    }
    all
}

/// Returns a word as in a manifest.
fn word(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::manifest::{FileEntry, Manifest};
    use crate::site_toml::{OverlayText, Serving};
    use proptest::prelude::*;

    /// Lines about serving, selected into a table by numbers.
    const LINES: [&str; 9] = [
        "html_handling = \"none\"",
        "html_handling = \"as-is\"",
        "not_found = \"none\"",
        "rules = \"netlify\"",
        "rules = \"cloudflare\"",
        "routes = []",
        "cache = {}",
        "redirects = []",
        "not_found = \"single-page-application\"",
    ];
    const TABLES: [&str; 9] = [
        "[[PREroutes]]\npath = \"/aN/*\"\nto = \"http://127.0.0.1:100N\"\n",
        "[[PREredirects]]\nfrom = \"/bN\"\nto = \"/c\"\n",
        "[[PRErewrites]]\nfrom = \"/dN\"\nto = \"/e\"\n",
        "[[PREheaders]]\nfor = \"/fN\"\nset = { \"X-A\" = \"N\" }\n",
        "[PREcache]\n\"/gN\" = \"1h\"\n\"/same\" = \"Nh\"\n",
        "[PREserver]\ncommand = [\"N\"]\nstart_ms = 10N\n",
        "[PREupstreams]\nuN = \"http://127.0.0.1:200N\"\nsame = \"http://127.0.0.1:300N\"\n",
        "",
        "",
    ];

    /// Returns the text of one table: `lines` of [`LINES`], each key once, then `tables` of [`TABLES`], below `prefix`.
    fn text(prefix: &str, number: usize, lines: &[usize], tables: &[usize]) -> String {
        let mut text = if prefix.is_empty() { String::new() } else { format!("[{}]\n", prefix.trim_end_matches('.')) };
        let mut keys: Vec<&str> = Vec::new();
        for line in lines.iter().map(|index| LINES[*index]) {
            let key = line.split(' ').next().unwrap();
            if !keys.contains(&key) {
                keys.push(key);
                text.push_str(line);
                text.push('\n');
            }
        }
        for (position, table) in tables.iter().map(|index| TABLES[*index]).enumerate() {
            let key = table.trim_start_matches("[").trim_start_matches("PRE").split(']').next().unwrap();
            let is_list = table.starts_with("[[");
            if !keys.contains(&key) || (is_list && !lines.iter().any(|line| LINES[*line].starts_with(key))) {
                keys.push(key);
                text.push_str(&table.replace("PRE", prefix).replace('N', &format!("{number}{position}")));
            }
        }
        text
    }

    fn parsed(base: &str, overlay: &str) -> SiteFile {
        let overlay = OverlayText { file: "devanture.staging.toml", place: "staging", text: overlay };
        let parsed = SiteFile::parse_with("devanture.toml", Some(base), &[overlay]);
        parsed.unwrap_or_else(|mistakes| panic!("{mistakes}\n{base}"))
    }

    /// Rebuilds the settings from the explained values, without defaults.
    fn together(explained: &[Explained]) -> Serving {
        let mut whole = Map::new();
        for one in explained.iter().filter(|one| matches!(one.origin, Origin::File(_))) {
            if let Some((key, _)) = one.key.split_once('[') {
                let list = whole.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().unwrap().push(one.value.clone());
            } else if let Some((key, name)) = one.key.split_once('.') {
                let table = whole.entry(key).or_insert_with(|| Value::Object(Map::new()));
                table.as_object_mut().unwrap().insert(name.trim_matches('"').to_owned(), one.value.clone());
            } else {
                whole.insert(one.key.clone(), one.value.clone());
            }
        }
        serde_json::from_value(Value::Object(whole)).unwrap()
    }

    /// Drops empty tables, which have no effect and no explained entry.
    fn without_empty_tables(mut serving: Serving) -> Serving {
        serving.cache = serving.cache.filter(|cache| !cache.is_empty());
        serving.upstreams = serving.upstreams.filter(|upstreams| !upstreams.is_empty());
        serving
    }

    fn chosen(count: usize) -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(0..count, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_explained_is_what_is_served_and_stands_where_it_is_reported(
            base in (chosen(9), chosen(9)),
            env in (chosen(9), chosen(9)),
            overlay in (chosen(9), chosen(9)),
        ) {
            let base = text("", 1, &base.0, &base.1) + &text("env.staging.", 2, &env.0, &env.1);
            let overlay = text("", 3, &overlay.0, &overlay.1);
            let site = parsed(&base, &overlay);
            let file = FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
            let mut manifest = Manifest::of_files(BTreeMap::from([("index.html".parse().unwrap(), file)]));
            (manifest.base, manifest.env) = (site.base.clone(), site.env.clone());
            for place in ["prod", "staging", "preview"] {
                let explained = site.explain(Some(&place.parse().unwrap()), None);
                let served = without_empty_tables(manifest.serving_for(place));
                prop_assert_eq!(without_empty_tables(together(&explained)), served, "{}\n{}", base, overlay);
                for one in &explained {
                    let Origin::File(at) = &one.origin else { continue };
                    let text = if &*at.file == "devanture.toml" { &base } else { &overlay };
                    let line = text.lines().nth(at.line - 1).unwrap();
                    let name = one.key.split(['.', '[']).next_back().unwrap().trim_end_matches(']');
                    let is_there = match one.key.split_once('[') {
                        Some((key, _)) => line.starts_with("[[") && line.ends_with(&format!("{key}]]")),
                        None => line.starts_with(name),
                    };
                    prop_assert!(is_there, "{}: {}:{} is {line}", one.key, at.file, at.line);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_file_or_mistakes_whose_lines_are_there(
            base in pieces(), text in pieces(), place in "staging|[a-z.-]{0,5}",
        ) {
            let lines_of = |file: &str| if file == "base" { &base } else { &text }.split('\n').count();
            let overlay = OverlayText { file: "overlay", place: &place, text: &text };
            match SiteFile::parse_with("base", Some(&base), &[overlay]) {
                Err(mistakes) => {
                    prop_assert!(!mistakes.0.is_empty());
                    for mistake in mistakes.0 {
                        prop_assert!(mistake.line <= lines_of(&mistake.file), "{}", mistake);
                    }
                }
                Ok(site) => {
                    for one in site.explain(Some(&place.parse().unwrap()), None) {
                        if let Origin::File(at) = one.origin {
                            prop_assert!((1..=lines_of(&at.file)).contains(&at.line), "{}: {}", at.file, at.line);
                        }
                    }
                }
            }
        }
    }

    /// Text close to a valid file.
    fn pieces() -> impl Strategy<Value = String> {
        const PIECES: [&str; 12] = [
            "app = \"shop\"\n",
            "not_found = \"none\"\n",
            "routes = [{ path = \"/a\", to = \"http://a\" }]\n",
            "[cache]\n",
            "\"/a\" = \"1h\"\n",
            "[env.staging]\n",
            "[[redirects]]\n",
            "from = \"/a\"\nto = \"/b\"\n",
            "[types]\n",
            "\".X\" = \"a/b\"\n",
            "# word\n\n",
            "x",
        ];
        let pieces =
            prop_oneof![8 => proptest::sample::select(&PIECES[..]).prop_map(str::to_owned), 1 => "[a-z=\"é]{0,4}"];
        proptest::collection::vec(pieces, 0..8).prop_map(|pieces: Vec<String>| pieces.concat())
    }

    #[test]
    fn what_nobody_says_holds_by_default_and_passwords_are_not_shown() {
        let site = parsed("[[headers]]\nfor = \"/a\"\nbasic_auth = [\"me:secret\"]\n", "not_found = \"none\"\n");
        let explained = site.explain(Some(&"staging".parse().unwrap()), Some(Rules::Netlify));
        let found: Vec<(&str, String, &Origin)> =
            explained.iter().map(|one| (one.key.as_str(), one.shown().to_string(), &one.origin)).collect();
        let at = |file: &str, line| Origin::File(At { file: file.into(), line });
        assert_eq!(
            found,
            [
                ("headers[0]", r#"{"basic_auth":["me:(not shown)"],"for":"/a"}"#.to_owned(), &at("devanture.toml", 1)),
                ("html_handling", "\"as-is\"".to_owned(), &Origin::Default),
                ("not_found", "\"none\"".to_owned(), &at("devanture.staging.toml", 1)),
                ("rules", "\"netlify\"".to_owned(), &Origin::Guessed),
            ]
        );
        let prod = site.explain(Some(&PlaceName::prod()), None);
        assert!(prod.iter().any(|one| one.key == "not_found" && one.origin == Origin::Default), "{prod:?}");
    }
}
