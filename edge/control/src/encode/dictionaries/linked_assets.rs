//! Assets linked by pages: scripts, modules and style sheets, in document order. Pure.
//!
//! The scan is no HTML parser: an overlooked asset only costs a delta, and every found asset is only a guess.

use std::collections::HashMap;

use devanture_config::path::BundlePath;
use devanture_site::media::extension;

use super::scripts::resolved;
use super::scripts::{ImportMap, Scope};

/// Bytes scanned per page: the first loads are at the beginning.
const LOOKED_AT_BYTES: usize = 256 * 1024;
/// Files per page.
const NAMED_MAX: usize = 64;

/// Links to each file: page, file extension, and position among links of the same extension.
pub(super) struct Places<'n>(pub(super) HashMap<&'n BundlePath, Vec<(&'n str, String, usize)>>);

/// Assets linked by the pages of a version.
#[derive(Debug, Clone, Default)]
pub(super) struct Named(Vec<(BundlePath, Vec<BundlePath>)>);

/// Modules loaded by a page, with imports not yet read.
#[derive(Debug, Clone)]
pub(super) struct Modules {
    /// Number of the page.
    page: usize,
    scope: Scope,
    /// Modules.
    pub(super) paths: Vec<BundlePath>,
}

impl Named {
    /// Adds a page, and those of its links known to `is_there`. Returns the modules among them.
    pub(super) fn add(&mut self, page: &BundlePath, html: &[u8], is_there: &dyn Fn(&BundlePath) -> bool) -> Modules {
        let html = html.get(..html.len().min(LOOKED_AT_BYTES)).unwrap_or_default();
        let references = references(html);
        let mut scope = Scope { base: page.clone(), imports: ImportMap::default() };
        for reference in &references {
            match reference {
                Reference::Base(address) => scope.base = based(page, address).unwrap_or(scope.base),
                Reference::ImportMap(json) => scope.imports.add(json),
                Reference::File(_) | Reference::Module(_) | Reference::Inline(_) => {}
            }
        }
        let number = self.0.len();
        self.0.push((page.clone(), Vec::new()));
        let mut modules = Modules { page: number, scope, paths: Vec::new() };
        for reference in &references {
            let found: Vec<BundlePath> = match reference {
                Reference::File(address) | Reference::Module(address) => {
                    resolved(&modules.scope.base, address).into_iter().collect()
                }
                Reference::Inline(source) => modules.scope.named_inline(source),
                Reference::Base(_) | Reference::ImportMap(_) => continue,
            };
            let found = self.take(number, found, is_there);
            if !matches!(reference, Reference::File(_)) {
                modules.paths.extend(found.into_iter().filter(is_module));
            }
        }
        modules
    }

    /// Adds the imports of one of `modules` to its page. Returns the newly found modules.
    pub(super) fn add_imports(
        &mut self,
        modules: &Modules,
        module: &BundlePath,
        source: &[u8],
        is_there: &dyn Fn(&BundlePath) -> bool,
    ) -> Modules {
        let found = self.take(modules.page, modules.scope.imported_by(module, source), is_there);
        Modules { paths: found.into_iter().filter(is_module).collect(), ..modules.clone() }
    }

    /// Adds files to a page, and returns the new ones.
    fn take(&mut self, page: usize, found: Vec<BundlePath>, is_there: &dyn Fn(&BundlePath) -> bool) -> Vec<BundlePath> {
        let Some((_, files)) = self.0.get_mut(page) else { return Vec::new() };
        let mut new = Vec::new();
        for path in found {
            if files.len() < NAMED_MAX && is_there(&path) && !files.contains(&path) {
                files.push(path.clone());
                new.push(path);
            }
        }
        new
    }

    /// Returns every file with its page, extension, and position among links of the same extension.
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

    /// Returns every position of each file, for look-ups.
    pub(super) fn places(&self) -> Places<'_> {
        let mut places = Places(HashMap::new());
        for (page, ending, place, path) in self.entries() {
            places.0.entry(path).or_default().push((page, ending, place));
        }
        places
    }

    /// Returns every file once, first by the first pages.
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

/// File loaded by a page.
#[derive(Debug, PartialEq, Eq)]
enum Reference {
    /// Base of relative addresses.
    Base(String),
    /// Classic script or style sheet.
    File(String),
    /// Module, also if only preloaded.
    Module(String),
    /// Text of an inline script.
    Inline(String),
    /// Text of an import map.
    ImportMap(String),
}

/// Returns the scripts and style sheets loaded by a page.
fn references(html: &[u8]) -> Vec<Reference> {
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
        if !matches!(name.as_str(), "script" | "link" | "base") {
            continue;
        }
        let (attributes, after) = attributes(tag);
        rest = after;
        let value = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        match name.as_str() {
            "script" => {
                // Script text contains no tags.
                let (source, after) = split_script(rest);
                rest = after;
                found.extend(script(value("type"), value("src"), source));
            }
            "link" => found.extend(link(value("rel"), value("href"))),
            _ => found.extend(value("href").map(|address| Reference::Base(address.to_owned()))),
        }
    }
    found
}

/// Returns the reference of a `<script>`; `None` for a data block.
fn script(kind: Option<&str>, src: Option<&str>, source: &str) -> Option<Reference> {
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    match (kind.as_str(), src) {
        ("module", Some(src)) => Some(Reference::Module(src.to_owned())),
        (_, Some(src)) => Some(Reference::File(src.to_owned())),
        ("importmap", None) => Some(Reference::ImportMap(source.to_owned())),
        ("" | "module" | "text/javascript" | "application/javascript", None) => {
            Some(Reference::Inline(source.to_owned()))
        }
        _ => None,
    }
}

/// Returns the URL of a `<link>`.
fn link(rel: Option<&str>, href: Option<&str>) -> Option<Reference> {
    let (rel, href) = (rel?.to_ascii_lowercase(), href?.to_owned());
    let has = |wanted: &str| rel.split_ascii_whitespace().any(|word| word == wanted);
    match (has("modulepreload"), has("stylesheet")) {
        (true, _) => Some(Reference::Module(href)),
        (_, true) => Some(Reference::File(href)),
        _ => None,
    }
}

/// Splits off the text of a script.
fn split_script(rest: &str) -> (&str, &str) {
    let end = rest.as_bytes().windows(8).position(|bytes| bytes.eq_ignore_ascii_case(b"</script"));
    end.and_then(|end| rest.split_at_checked(end)).unwrap_or((rest, ""))
}

/// Parses the attributes of a tag after its name, with names in lower case; returns the rest after the tag.
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
        // A leading `=` is part of the attribute's name.
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

/// Returns true for scripts, whose imports can be read.
fn is_module(path: &BundlePath) -> bool {
    matches!(extension(path.as_str()).as_deref(), Some("js" | "mjs"))
}

/// Returns the base path of a page's relative addresses, if `<base>` names a folder.
fn based(page: &BundlePath, address: &str) -> Option<BundlePath> {
    // A folder is no bundle path, so an arbitrary file name is appended.
    let (folder, _) = address.split(['?', '#']).next()?.rsplit_once('/')?;
    resolved(page, &format!("{folder}/index.html"))
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
    fn inline_scripts_name_files_by_the_import_map_and_the_base_of_the_page() {
        let html = r#"<base href="/app/"><script type=importmap>{"imports": {"lib": "./lib.mjs"}}</script>
            <script type=module>import "lib"; import "/other.js"</script><script>load("./classic.js")</script>
            <script type="application/json">{"x": "./no.js"}</script><link rel=stylesheet href=a.css>"#;
        assert_eq!(files("index.html", html), ["app/lib.mjs", "other.js", "app/classic.js", "app/a.css"]);
        // A base on another origin does not concern the bundle's files.
        assert_eq!(files("x/index.html", "<base href=https://cdn.example/y/><script src=a.js></script>"), ["x/a.js"]);
    }

    #[test]
    fn what_modules_import_follows_what_the_page_names() {
        let mut named = Named::default();
        let html =
            b"<script type=module src=a.js></script><script src=classic.js></script><link rel=modulepreload href=b.js>";
        let modules = named.add(&"index.html".parse().unwrap(), html, &|_| true);
        let names = |paths: &[BundlePath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&modules.paths), ["a.js", "b.js"]);
        let next = named.add_imports(&modules, &modules.paths[0], b"import './b.js';import './x/c.mjs'", &|_| true);
        assert_eq!(names(&next.paths), ["x/c.mjs"]);
        let last = named
            .add_imports(&next, &next.paths[0], b"import '../a.js';import './d.js'", &|path| path.as_str() != "x/d.js");
        assert!(last.paths.is_empty());
        let files: Vec<String> = named.files().into_iter().map(ToString::to_string).collect();
        assert_eq!(files, ["a.js", "classic.js", "b.js", "x/c.mjs"]);
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
        /// Terminates for any page, and finds only valid bundle paths.
        #[test]
        fn any_bytes_are_a_page(html in "[<>a-c='\"/ !.-]{0,60}(<script |<link rel=stylesheet )?[<>a-cé='\"/ sref.-]{0,80}") {
            for path in files("a/index.html", &html) {
                prop_assert!(path.parse::<BundlePath>().is_ok());
            }
        }
    }
}
