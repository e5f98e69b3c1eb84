//! Files loaded by scripts: imports of modules, names in inline scripts, import maps. Pure.
//!
//! The scan is no JavaScript parser: an overlooked file only costs a delta, and every found file is only a guess.

use std::borrow::Cow;
use std::collections::BTreeMap;

use devanture_config::path::BundlePath;
use serde_json::Value;

/// Bytes scanned per module.
const SCANNED_BYTES: usize = 2 * 1024 * 1024;
/// Longest address in a script, in bytes.
const ADDRESS_BYTES_MAX: usize = 1_024;

/// Use of a string literal in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// `import … from "x"`, `import "x"`, `export … from "x"`.
    StaticImport,
    /// `import("x")`.
    DynamicImport,
    /// `new URL("x", import.meta.url)`: mostly a worker.
    BesideModule,
    /// Any other use.
    Other,
}

/// Import map of a page: addresses by imported name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImportMap(BTreeMap<String, String>);

impl ImportMap {
    /// Adds the `imports` of an import map; `scopes` and malformed maps are ignored.
    pub(super) fn add(&mut self, json: &str) {
        let Ok(Value::Object(map)) = serde_json::from_str::<Value>(json) else { return };
        let Some(Value::Object(imports)) = map.get("imports") else { return };
        let text = |(name, address): (&String, &Value)| Some((name.clone(), address.as_str()?.to_owned()));
        for (name, address) in imports.iter().filter_map(text) {
            // The first of two maps has precedence.
            self.0.entry(name).or_insert(address);
        }
    }

    /// Returns the address of a name: an exact entry, or that of the longest prefix ending in a slash.
    fn address(&self, name: &str) -> Option<String> {
        if let Some(address) = self.0.get(name) {
            return Some(address.clone());
        }
        let prefixes = self.0.iter().filter(|(prefix, _)| prefix.ends_with('/'));
        let found =
            prefixes.filter_map(|(prefix, address)| Some((prefix, address, name.strip_prefix(prefix.as_str())?)));
        let (_, address, rest) = found.max_by_key(|(prefix, ..)| prefix.len())?;
        Some(format!("{address}{rest}"))
    }
}

/// Page of a script.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Base of the page's relative addresses.
    pub(super) base: BundlePath,
    /// Import map.
    pub(super) imports: ImportMap,
}

impl Scope {
    /// Returns the files named by an inline script: its imports, and every script address, for example of a worker.
    pub(super) fn named_inline(&self, source: &str) -> Vec<BundlePath> {
        let found = literals(source).into_iter().filter_map(|(used, address)| match used {
            Use::Other if !is_script(address) => None,
            Use::Other | Use::BesideModule => relative(&self.base, address),
            Use::StaticImport | Use::DynamicImport => self.imported(&self.base, address),
        });
        found.collect()
    }

    /// Returns the files needed by a module at load time: static imports, and files relative to the module, for example
    /// workers.
    pub(super) fn imported_by(&self, module: &BundlePath, source: &[u8]) -> Vec<BundlePath> {
        let source = String::from_utf8_lossy(source.get(..source.len().min(SCANNED_BYTES)).unwrap_or_default());
        let found = literals(&source).into_iter().filter_map(|(used, address)| match used {
            Use::StaticImport => self.imported(module, address),
            Use::BesideModule if is_script(address) => relative(module, address),
            Use::BesideModule | Use::DynamicImport | Use::Other => None,
        });
        found.collect()
    }

    /// Resolves `name` as imported by `importer`.
    fn imported(&self, importer: &BundlePath, name: &str) -> Option<BundlePath> {
        match self.imports.address(name) {
            Some(address) => relative(&self.base, &address),
            None => relative(importer, name),
        }
    }
}

/// Resolves a relative address; other names need an import map.
fn relative(from: &BundlePath, address: &str) -> Option<BundlePath> {
    let is_relative = ["./", "../", "/"].iter().any(|begin| address.starts_with(begin));
    if is_relative { resolved(from, address) } else { None }
}

/// Returns true for addresses with the extension of a script.
fn is_script(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    path.ends_with(".js") || path.ends_with(".mjs")
}

/// Returns the string literals of a script that may be addresses, in order. A regular expression with a quote or two
/// slashes is misread up to the end of its line. Each byte is visited at most twice, for any script, since a bundle may
/// contain the worst case.
fn literals(source: &str) -> Vec<(Use, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    let rest_of = |at: usize| source.get(at..).unwrap_or_default();
    while let Some(next) = rest_of(at).find(['"', '\'', '`', '/']) {
        let start = at.saturating_add(next);
        let rest = rest_of(start);
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end.saturating_add(2))
        } else if let Some(text) = literal(rest) {
            let end = start.saturating_add(text.len()).saturating_add(2);
            if !text.is_empty() && text.len() <= ADDRESS_BYTES_MAX && !text.contains(['\\', '$', '\n']) {
                found.push((used(source.get(..start).unwrap_or_default(), rest_of(end)), text));
            }
            text.len().saturating_add(2)
        } else if rest.starts_with('/') {
            1
        } else if rest.starts_with('`') {
            rest.len()
        } else {
            rest.find('\n').unwrap_or(rest.len())
        };
        at = start.saturating_add(skipped.max(1));
    }
    found
}

/// Returns the literal at the start of `rest`, without quotes; unless in backticks, a literal ends on its line.
fn literal(rest: &str) -> Option<&str> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let inner = rest.get(1..)?;
    let mut is_escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\n' if quote != '`' => return None,
            c if c == quote => return inner.get(..at),
            _ => {}
        }
    }
    None
}

/// Returns the use of a literal between `before` and `after`.
fn used(before: &str, after: &str) -> Use {
    let before = before.trim_end();
    if is_word(before, "from") || is_word(before, "import") {
        return Use::StaticImport;
    }
    let Some(callee) = before.strip_suffix('(').map(str::trim_end) else { return Use::Other };
    if is_word(callee, "import") {
        return Use::DynamicImport;
    }
    let second = after.trim_start().strip_prefix(',').map(str::trim_start);
    match is_word(callee, "URL") && second.is_some_and(|second| second.starts_with("import.meta.url")) {
        true => Use::BesideModule,
        false => Use::Other,
    }
}

/// Returns true if `text` ends with a whole word that is no field access.
fn is_word(text: &str, word: &str) -> bool {
    let Some(before) = text.strip_suffix(word) else { return false };
    !before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.'))
}

// Resolves addresses in files of a bundle.

/// Returns the bundle file of an address, as far as the bundle alone determines.
pub(super) fn resolved(from: &BundlePath, reference: &str) -> Option<BundlePath> {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    let is_elsewhere = path.starts_with("//") || path.split('/').next().is_some_and(|first| first.contains(':'));
    if path.is_empty() || is_elsewhere {
        return None;
    }
    let decoded: Cow<'_, str> = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let folder = from.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
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
    use proptest::prelude::*;

    use super::*;

    fn scope(import_map: &str) -> Scope {
        let mut imports = ImportMap::default();
        imports.add(import_map);
        Scope { base: "docs/index.html".parse().unwrap(), imports }
    }

    fn names(paths: Vec<BundlePath>) -> Vec<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn static_imports_are_found_as_people_and_tools_write_them() {
        let source = r#"/* import "./no1.js" */ // from "./no2.js"
            import a, { b as c } from "./a.mjs"; import'../b.js';import*as d from`/c.js`
            export*from"./d.js?v=1";export{x as from}from './e.js'; const s = 'import "./no3.js"';
            Array.from("./no4.js"); lib.from "./no5.js"; import("./no6.js"); transform "./no7.js";
            import bare from "bare"; import far from "https://else.where/far.js"; import t from `./${no8}.js`;
            new Worker(new URL("./worker.js", import.meta.url)); new URL("./no9.js", location); import "./f\u002ejs""#;
        let module = "lib/main.mjs".parse().unwrap();
        assert_eq!(
            names(scope("").imported_by(&module, source.as_bytes())),
            ["lib/a.mjs", "b.js", "c.js", "lib/d.js", "lib/e.js", "lib/worker.js"]
        );
    }

    #[test]
    fn an_inline_script_also_names_what_it_loads_later() {
        let source = r#"import * as pdf from "./pdf.mjs"; pdf.GlobalWorkerOptions.workerSrc = '/build/pdf.worker.mjs';
            import("./later.js"); fetch("/data.json"); const title = "see /docs/x.js"; load("vendor.js");"#;
        assert_eq!(names(scope("").named_inline(source)), ["docs/pdf.mjs", "build/pdf.worker.mjs", "docs/later.js"]);
    }

    #[test]
    fn an_import_map_says_what_names_mean() {
        let map = r#"{"imports": {"three": "../three.js", "three/": "/no/", "three/addons/": "/addons/", "x": 1}}"#;
        let scope = scope(map);
        let source = "import 'three'; import'three/addons/orbit.js';import 'x';import 'other'";
        let module = "a/b/c.js".parse().unwrap();
        assert_eq!(names(scope.imported_by(&module, source.as_bytes())), ["three.js", "addons/orbit.js"]);
        for bad in ["", "[]", "{\"imports\": 1}", "{"] {
            let mut none = ImportMap::default();
            none.add(bad);
            assert_eq!(none, ImportMap::default(), "{bad}");
        }
    }

    #[test]
    fn a_quote_that_is_none_costs_its_line_alone() {
        let source = "const quote = /['\"]/;\nimport './a.js'\nlet text = 'open\nimport './b.js'";
        let module = "main.js".parse().unwrap();
        assert_eq!(names(scope("").imported_by(&module, source.as_bytes())), ["a.js", "b.js"]);
    }

    proptest! {
        /// Terminates for any script, and finds only valid bundle paths.
        #[test]
        fn any_text_is_a_script(source in "(import|from|[\"'`/*\\\\(){}.,$é \n]|[a-c./]{1,6}){0,60}") {
            let module = "a/b.js".parse().unwrap();
            let found = scope("").imported_by(&module, source.as_bytes()).into_iter();
            for path in found.chain(scope("").named_inline(&source)) {
                prop_assert!(path.to_string().parse::<BundlePath>().is_ok());
            }
        }
    }
}
