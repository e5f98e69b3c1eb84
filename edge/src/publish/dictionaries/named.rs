//! What pages name: scripts and style sheets, in the order in which they stand. Pure.
//!
//! This is no parser of HTML: what it does not see costs a delta, and nothing that it sees is more than a guess.

use std::borrow::Cow;
use std::collections::HashMap;

use devanture_config::path::BundlePath;

use crate::site::media::extension;

/// Bytes of a page that are looked at: what a page loads first stands at its beginning.
const LOOKED_AT_BYTES: usize = 256 * 1024;
/// Files of one page that are taken.
const NAMED_MAX: usize = 64;

/// The places in which pages name each file: the page, the file's ending, and its place among those of that ending.
pub(super) struct Places<'n>(pub(super) HashMap<&'n BundlePath, Vec<(&'n str, String, usize)>>);

/// What the pages of a version name.
#[derive(Debug, Clone, Default)]
pub(super) struct Named(Vec<(BundlePath, Vec<BundlePath>)>);

impl Named {
    /// Adds a page; of the files that it names those that `is_there` knows.
    pub(super) fn add(&mut self, page: &BundlePath, html: &[u8], is_there: &dyn Fn(&BundlePath) -> bool) {
        let html = html.get(..html.len().min(LOOKED_AT_BYTES)).unwrap_or_default();
        let mut files: Vec<BundlePath> = Vec::new();
        for reference in references(html) {
            let Some(path) = resolved(page, &reference) else { continue };
            if files.len() < NAMED_MAX && is_there(&path) && !files.contains(&path) {
                files.push(path);
            }
        }
        self.0.push((page.clone(), files));
    }

    /// Every file with the page that names it, its ending, and its place among those of that ending.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, String, usize, &BundlePath)> {
        self.0.iter().flat_map(|(page, files)| {
            let mut places: HashMap<String, usize> = HashMap::new();
            files.iter().filter_map(move |path| {
                let ending = extension(path.as_str())?;
                let next = places.entry(ending.clone()).or_default();
                let place = *next;
                *next = next.saturating_add(1);
                Some((page.as_str(), ending, place, path))
            })
        })
    }

    /// Every place of each file, for look-ups.
    pub(super) fn places(&self) -> Places<'_> {
        let mut places = Places(HashMap::new());
        for (page, ending, place, path) in self.entries() {
            places.0.entry(path).or_default().push((page, ending, place));
        }
        places
    }

    /// Every file once, those first that the first pages name first.
    pub(super) fn files(&self) -> Vec<&BundlePath> {
        let mut files: Vec<&BundlePath> = Vec::new();
        for path in self.0.iter().flat_map(|(_, files)| files) {
            if !files.contains(&path) {
                files.push(path);
            }
        }
        files
    }
}

/// The addresses of the scripts and style sheets that a page loads.
fn references(html: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(html);
    let mut found = Vec::new();
    let mut rest: &str = &text;
    while let Some((_, after)) = rest.split_once('<') {
        rest = after;
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let name_bytes = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let Some((name, tag)) = rest.split_at_checked(name_bytes) else { continue };
        let name = name.to_ascii_lowercase();
        if name != "script" && name != "link" {
            continue;
        }
        let (attributes, after) = attributes(tag);
        rest = after;
        let value = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let is_loaded = |rel: &str| {
            let mut words = rel.split_ascii_whitespace().map(str::to_ascii_lowercase);
            words.any(|word| word == "stylesheet" || word == "modulepreload")
        };
        if name == "script" {
            found.extend(value("src").map(str::to_owned));
            // What a script says is no tag.
            rest = past_script(rest);
        } else if value("rel").is_some_and(is_loaded) {
            found.extend(value("href").map(str::to_owned));
        }
    }
    found
}

fn past_script(rest: &str) -> &str {
    let end = rest.as_bytes().windows(8).position(|bytes| bytes.eq_ignore_ascii_case(b"</script"));
    end.and_then(|end| rest.get(end..)).unwrap_or_default()
}

/// The attributes of a tag after its name, with names in lower case, and what comes after the tag.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        let name_end =
            rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
        // An `=` that stands before any name is a part of one.
        let Some((name, after)) = rest.split_at_checked(name_end.max(1)).or_else(|| rest.split_at_checked(rest.len()))
        else {
            return (found, "");
        };
        rest = after.trim_start();
        let Some(after) = rest.strip_prefix('=') else {
            found.push((name.to_ascii_lowercase(), String::new()));
            continue;
        };
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(quote) => {
                let inner = after.get(1..).unwrap_or_default();
                inner.split_once(quote).unwrap_or((inner, ""))
            }
            None => {
                let end = after.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(after.len());
                after.split_at_checked(end).unwrap_or((after, ""))
            }
        };
        rest = after;
        found.push((name.to_ascii_lowercase(), value.trim().replace("&amp;", "&")));
    }
}

/// The file of the bundle that a reference of a page means, as far as the bundle alone says so.
fn resolved(page: &BundlePath, reference: &str) -> Option<BundlePath> {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    let is_elsewhere = path.starts_with("//") || path.split('/').next().is_some_and(|first| first.contains(':'));
    if path.is_empty() || is_elsewhere {
        return None;
    }
    let decoded: Cow<'_, str> = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let folder = page.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut segments: Vec<&str> = match decoded.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').filter(|segment| !segment.is_empty()).collect(),
    };
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    BundlePath::normalised(&segments.join("/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(page: &str, html: &str) -> Vec<String> {
        let mut named = Named::default();
        named.add(&page.parse().unwrap(), html.as_bytes(), &|_| true);
        named.files().into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn scripts_and_style_sheets_are_found_as_pages_write_them() {
        let html = r#"<!doctype html><!-- <script src=no.js></script> --><HEAD>
            <link rel="icon" href="/icon.svg"><LINK href='./a%20b.css?v=1' REL='preload StyleSheet'>
            <link rel=modulepreload href=/x/c.js><script type=module async src = "d.js"></script>
            <script>const s = "<script src=no2.js>";</SCRIPT><script src=https://else.where/e.js></script>
            <script src="//else.where/f.js"></script><script src="../g.js#h"></script><script src=d.js></script>"#;
        assert_eq!(files("docs/index.html", html), ["docs/a b.css", "x/c.js", "docs/d.js", "g.js"]);
        assert_eq!(files("index.html", "<script src=\"a.js"), ["a.js"]);
        assert_eq!(files("index.html", "<script src=/></script><script src=../../../a.js>"), ["a.js"]);
    }

    #[test]
    fn a_file_has_its_place_among_those_of_its_ending() {
        let mut named = Named::default();
        let html = b"<link rel=stylesheet href=a.css><script src=b.js></script><script src=c.js></script>";
        named.add(&"index.html".parse().unwrap(), html, &|_| true);
        let places: Vec<(String, usize)> = named.entries().map(|(_, ending, place, _)| (ending, place)).collect();
        assert_eq!(places, [("css".to_owned(), 0), ("js".to_owned(), 0), ("js".to_owned(), 1)]);
    }

    proptest! {
        /// It ends, and finds nothing that no bundle could hold, whatever a page is.
        #[test]
        fn any_bytes_are_a_page(html in "[<>a-c='\"/ !.-]{0,60}(<script |<link rel=stylesheet )?[<>a-cé='\"/ sref.-]{0,80}") {
            for path in files("a/index.html", &html) {
                prop_assert!(path.parse::<BundlePath>().is_ok());
            }
        }
    }
}
