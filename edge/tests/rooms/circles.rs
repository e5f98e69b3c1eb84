//! Limits import cycles between files: a cycle of files can only be read as a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{CRATES, Source, is_word, sources_of};

/// Maximum number of files in an import cycle.
pub(super) const CIRCLE_FILES_MAX: usize = 3;

/// Maximum number of re-exports followed for an import, since a re-export may lead back to itself.
const HOPS_MAX: usize = 8;

/// Path through modules, such as `["crate", "live", "Live"]`.
type Words = Vec<String>;

/// Modules of a crate, by path from the crate root.
pub(super) struct Modules {
    by_path: BTreeMap<Words, Module>,
}

struct Module {
    file: String,
    /// Paths in the code, without the paths of re-exports.
    imports: Vec<Words>,
    /// Re-exports by name. An import counts for the file that defines the item.
    exports: BTreeMap<String, Words>,
}

impl Modules {
    pub(super) fn of(sources: &[Source]) -> Self {
        let modules = sources.iter().map(|source| (module_path(&source.path), Module::of(source)));
        Self { by_path: modules.collect() }
    }

    /// File that defines the item of `path`, as written in `module`; `None` for items of other crates.
    fn file_of(&self, module: &[String], path: &[String]) -> Option<&str> {
        self.file_within(module, path, HOPS_MAX)
    }

    fn file_within(&self, module: &[String], path: &[String], hops: usize) -> Option<&str> {
        let hops = hops.checked_sub(1)?;
        let mut at = module.to_vec();
        for (index, word) in path.iter().enumerate() {
            match word.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => {
                    let below: Words = at.iter().chain([word]).cloned().collect();
                    if self.by_path.contains_key(&below) {
                        at = below;
                        continue;
                    }
                    if let Some(exported) = self.by_path.get(&at).and_then(|module| module.exports.get(word)) {
                        return self.file_within(&at, exported, hops);
                    }
                    if index == 0 {
                        return None;
                    }
                    break;
                }
            }
        }
        self.by_path.get(&at).map(|module| module.file.as_str())
    }

    /// Imported files for each file.
    pub(super) fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let edges = self.by_path.iter().map(|(path, module)| {
            let own = module.file.as_str();
            let used = module.imports.iter().filter_map(|import| self.file_of(path, import));
            (own, used.filter(|used| *used != own).collect())
        });
        edges.collect()
    }
}

impl Module {
    fn of(source: &Source) -> Self {
        let (mut imports, mut exports) = (Vec::new(), BTreeMap::new());
        let mut rest = String::new();
        for statement in source.code.split_inclusive(';') {
            // Text before the import belongs to the previous item.
            let Some((before, tree)) = use_tree(statement) else {
                rest.push_str(statement);
                continue;
            };
            rest.push_str(before);
            let paths = expand(tree);
            if before.trim_end().rsplit(['\n', '{', '}']).next().is_some_and(|line| line.trim().starts_with("pub")) {
                exports.extend(paths.into_iter().filter_map(|path| Some((path.last()?.clone(), path))));
            } else {
                imports.extend(paths);
            }
        }
        imports.extend(paths_in(&rest));
        Self { file: source.path.clone(), imports, exports }
    }
}

fn module_path(file: &str) -> Words {
    let mut words: Words = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if words.last().is_some_and(|word| word == "mod") {
        words.pop();
    }
    words
}

/// Text before `use` in a statement, and the use tree.
fn use_tree(statement: &str) -> Option<(&str, &str)> {
    let (at, _) = statement.match_indices("use ").find(|(at, _)| {
        let before = statement[..*at].chars().next_back();
        before.is_none_or(|c| !is_word(c) && c != '\'')
    })?;
    Some((&statement[..at], statement[at + 4..].trim_end_matches(';')))
}

/// Paths of a use tree such as `a::{b, c::{self, D as E}}`.
fn expand(tree: &str) -> Vec<Words> {
    fn walk(before: &[String], tree: &str, found: &mut Vec<Words>) {
        let (head, group) = tree.split_once('{').map_or((tree, None), |(head, group)| (head, Some(group)));
        let head = head.split(" as ").next().unwrap_or_default();
        let words = head.split("::").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned);
        let path: Words = before.iter().cloned().chain(words).collect();
        let Some(group) = group else { return found.push(path) };
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        let (mut depth, mut from) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    walk(&path, &group[from..at], found);
                    from = at + 1;
                }
                _ => {}
            }
        }
        if !group[from..].trim().is_empty() {
            walk(&path, &group[from..], found);
        }
    }
    let mut found = Vec::new();
    walk(&[], tree, &mut found);
    found
}

/// Paths in the code that start at the crate root or at a parent.
fn paths_in(code: &str) -> Vec<Words> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].chars().next_back().is_none_or(|c| !is_word(c) && c != ':') {
                let path = code[at..].split(|c: char| !is_word(c) && c != ':').next().unwrap_or_default();
                found.push(path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect());
            }
        }
    }
    found
}

/// Sets of at least two files in which each file reaches all other files.
pub(super) fn circles<'f>(edges: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> Vec<BTreeSet<&'f str>> {
    let reached_from = |file: &'f str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
        while let Some(file) = next.pop() {
            let new = edges.get(file).into_iter().flatten().filter(|used| reached.insert(**used));
            next.extend(new.copied().collect::<Vec<_>>());
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reached_from(file))).collect();
    let with = |file: &'f str| -> BTreeSet<&'f str> {
        let back = |other: &&&'f str| reached.get(**other).is_some_and(|reached| reached.contains(file));
        reached.get(file).into_iter().flatten().filter(back).copied().collect()
    };
    let found: BTreeSet<BTreeSet<&str>> = edges.keys().map(|file| with(file)).filter(|files| files.len() > 1).collect();
    found.into_iter().collect()
}

#[test]
fn no_more_than_three_files_import_from_each_other_in_a_circle() {
    let mut imports = 0;
    let mut larger = Vec::new();
    for (name, _) in CRATES {
        let sources = sources_of(name);
        let modules = Modules::of(&sources);
        let edges = modules.edges();
        imports += edges.values().map(BTreeSet::len).sum::<usize>();
        let of_crate = circles(&edges).into_iter().filter(|files| files.len() > CIRCLE_FILES_MAX);
        larger.extend(of_crate.map(|files| format!("{name}: {files:?}")));
    }
    assert!(imports > 300, "the imports are not where they are looked for: {imports}");
    assert!(larger.is_empty(), "circles of imports: {larger:#?}");
}

#[test]
fn circles_are_found_through_re_exports_groups_and_paths_in_code() {
    let source = |path: &str, code: &str| Source { of: "serve", path: path.to_owned(), code: code.to_owned() };
    let modules = Modules::of(&[
        source("live/mod.rs", "mod one; mod two; pub(crate) use one::{One, Other as Renamed}; fn nothing() {}"),
        source("live/one.rs", "use std::{fs, io}; use super::two::{self, Two}; struct One;"),
        source("live/two.rs", "use super::three;\nuse super::One;"),
        source("live/three.rs", "fn three() -> crate::live::four::Four { todo() }"),
        source("live/four.rs", "use crate::blobs::Blobs;"),
        source("blobs/mod.rs", "use crate::engine::head;"),
    ]);
    let edges = modules.edges();
    let of = |file: &str| edges[file].iter().copied().collect::<Vec<_>>();
    assert_eq!(of("live/mod.rs"), Vec::<&str>::new(), "what it re-exports is no import");
    assert_eq!(of("live/one.rs"), ["live/two.rs"]);
    assert_eq!(of("live/two.rs"), ["live/one.rs", "live/three.rs"]);
    assert_eq!(of("live/three.rs"), ["live/four.rs"]);
    assert_eq!(of("live/four.rs"), ["blobs/mod.rs"]);
    assert_eq!(of("blobs/mod.rs"), Vec::<&str>::new(), "there is no such file");
    assert_eq!(circles(&edges), [BTreeSet::from(["live/one.rs", "live/two.rs"])]);
}
