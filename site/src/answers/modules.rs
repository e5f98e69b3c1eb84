//! The modules that a page reaches by imports, without a tag of their own.
//!
//! [`script_addresses`](crate::integrity::script_addresses) finds the imports, and more addresses than imports. The
//! surplus is harmless: an address counts only if every visitor gets the same file of the version there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use devanture_config::Digest;
use devanture_config::path::BundlePath;
use url::Url;

use super::SameForAll;
use super::prefixes::Prefixes;
use super::steps::{TooMany, steps};
use crate::fingerprint;
use crate::integrity::{AssetKind, ModuleHashes, PageAssets, ScriptAddress};

/// Maximum imports of all modules of a version together.
const IMPORTS_MAX: usize = 1_000_000;
/// Imports followed again in one step, for another page.
const IMPORTS_PER_STEP: usize = 64;
/// Bytes of cached addresses in scripts.
const SOURCES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest address of a classic script with cached imports, in bytes.
const SCRIPT_ADDRESS_BYTES_MAX: usize = 512;
/// Maximum classic scripts with cached imports.
const SCRIPTS_MAX: usize = 10_000;

/// A module that pages reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The address, from the first slash on.
    pub address: String,
    /// The file.
    pub file: BundlePath,
    /// The hash of the file.
    pub hash: Digest,
    /// The length of the file.
    pub size: u64,
}

/// Modules that a page reaches, shared between pages.
pub type Modules = Arc<[Arc<Module>]>;

/// Limits of the search.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Modules of a version in one environment.
    pub modules_max: usize,
    /// Bytes of the hashes of one page's modules in an import map.
    pub map_bytes_max: usize,
}

/// Finds the modules of pages. Results of one page are reused for the next.
pub struct ModuleFinder<'s> {
    same: &'s SameForAll<'s>,
    bounds: Bounds,
    /// Graphs of pages whose import maps have the same prefixes.
    graphs: HashMap<[u8; 32], Graph>,
    /// The addresses in scripts already read, by content.
    sources: HashMap<Digest, Arc<[ScriptAddress]>>,
    /// The memory of the addresses.
    sources_bytes: usize,
    modules: usize,
    imports: usize,
}

/// Returns the addresses in a script; an empty list for an unreadable script.
type ReadScript<'r> = &'r mut dyn FnMut(&BundlePath) -> Vec<ScriptAddress>;

/// The modules that some pages reach.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    by_address: HashMap<String, usize>,
    /// The modules that classic scripts import, by the scripts' addresses.
    scripts: HashMap<String, Vec<usize>>,
    /// Results by the [`Roots::key`] of the same roots.
    reached: HashMap<[u8; 32], Result<Modules, TooMany>>,
}

struct Node {
    module: Arc<Module>,
    url: Url,
    /// The imported modules; `None` until read.
    imports: Option<Arc<[usize]>>,
}

/// Roots of a page.
#[derive(Debug, Default)]
struct Roots {
    /// Modules with a tag of the page, and so with a hash there.
    named: BTreeSet<usize>,
    /// Modules imported by the page's inline and classic scripts, and modules of its import map.
    imported: BTreeSet<usize>,
}

impl Roots {
    /// A digest of the roots, smaller than the roots.
    fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for modules in [&self.named, &self.imported] {
            hasher.update(&modules.len().to_le_bytes());
            for module in modules {
                hasher.update(&module.to_le_bytes());
            }
        }
        *hasher.finalize().as_bytes()
    }
}

impl<'s> ModuleFinder<'s> {
    /// Prepares the search in pages of a version.
    #[must_use]
    pub fn new(same: &'s SameForAll<'s>, bounds: Bounds) -> Self {
        let (graphs, sources) = (HashMap::new(), HashMap::new());
        Self { same, bounds, graphs, sources, sources_bytes: 0, modules: 0, imports: 0 }
    }

    /// The modules that the page at `page` reaches without a tag, sorted by the number of imports on the way.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn of_page(
        &mut self,
        page: &BundlePath,
        assets: &PageAssets,
        read: &mut dyn FnMut(&BundlePath) -> Vec<ScriptAddress>,
    ) -> Result<Modules, TooMany> {
        // If the map's own addresses belong to another origin, none is a file of the site.
        let Some(base) = self.same.base(page, assets.base()).filter(is_own) else {
            return Ok(Arc::default());
        };
        let prefixes = Prefixes::of(assets.map(), &base, self.same.steps())?;
        let key = prefixes.key();
        let mut graph = self.graphs.remove(&key).unwrap_or_default();
        let found = Walk { finder: self, graph: &mut graph, prefixes: &prefixes }.of_page(page, &base, assets, read);
        self.graphs.insert(key, graph);
        found
    }

    /// The addresses in a script of the version: one file is read once, however many tags and addresses lead there.
    fn addresses(&mut self, file: &BundlePath, read: ReadScript<'_>) -> Result<Arc<[ScriptAddress]>, TooMany> {
        let Some(entry) = self.same.manifest().files.get(file) else { return Ok(Arc::default()) };
        if let Some(known) = self.sources.get(&entry.hash) {
            return Ok(Arc::clone(known));
        }
        self.same.steps().take_script(entry.size)?;
        let found: Arc<[ScriptAddress]> = read(file).into();
        let bytes = found.iter().map(|one| size_of::<ScriptAddress>().saturating_add(one.text.len()));
        let bytes = bytes.fold(self.sources_bytes, usize::saturating_add);
        if bytes <= SOURCES_BYTES_MAX {
            self.sources_bytes = bytes;
            self.sources.insert(entry.hash, Arc::clone(&found));
        }
        Ok(found)
    }
}

/// Search of one page.
struct Walk<'w, 's> {
    finder: &'w mut ModuleFinder<'s>,
    graph: &'w mut Graph,
    prefixes: &'w Prefixes,
}

impl Walk<'_, '_> {
    fn of_page(
        &mut self,
        page: &BundlePath,
        base: &Url,
        assets: &PageAssets,
        read: ReadScript<'_>,
    ) -> Result<Modules, TooMany> {
        let mut roots = Roots::default();
        let mut seen: HashSet<(AssetKind, Url)> = HashSet::new();
        for asset in assets.tags().iter().filter(|asset| asset.kind != AssetKind::Style) {
            self.finder.same.steps().take(1)?;
            let Some(url) = self.finder.same.url(page, asset) else { continue };
            if !seen.insert((asset.kind, url.clone())) {
                continue;
            }
            match asset.kind {
                AssetKind::Module => roots.named.extend(self.node(url)?),
                AssetKind::Script => roots.imported.extend(self.of_script(&url, read)?),
                AssetKind::Style => {}
            }
        }
        roots.imported.extend(self.nodes(base, assets.inline().iter())?);
        for address in &assets.map().addresses {
            self.finder.same.steps().take(1)?;
            let url = base.join(address).ok();
            roots.imported.extend(url.map(|url| self.node(url)).transpose()?.flatten());
        }
        let key = roots.key();
        if let Some(known) = self.graph.reached.get(&key) {
            return known.clone();
        }
        let reached = self.reached(&roots, read);
        self.graph.reached.insert(key, reached.clone());
        reached
    }

    /// The modules that the classic script at an address imports.
    fn of_script(&mut self, url: &Url, read: ReadScript<'_>) -> Result<Vec<usize>, TooMany> {
        if let Some(known) = self.graph.scripts.get(url.as_str()) {
            self.finder.same.steps().take(steps(known.len() / IMPORTS_PER_STEP))?;
            return Ok(known.clone());
        }
        let Some(file) = self.finder.same.at(url)? else { return Ok(Vec::new()) };
        let found = self.finder.addresses(file, read)?;
        let nodes = self.nodes(url, found.iter().filter(|one| one.is_import))?;
        if url.as_str().len() <= SCRIPT_ADDRESS_BYTES_MAX && self.graph.scripts.len() < SCRIPTS_MAX {
            self.graph.scripts.insert(url.as_str().to_owned(), nodes.clone());
        }
        Ok(nodes)
    }

    fn reached(&mut self, roots: &Roots, read: ReadScript<'_>) -> Result<Modules, TooMany> {
        let mut seen: HashSet<usize> = roots.named.iter().chain(&roots.imported).copied().collect();
        let mut taken: HashSet<usize> = roots.imported.clone().into_iter().collect();
        let mut order: Vec<usize> = roots.imported.iter().copied().collect();
        let mut level: Vec<usize> = seen.iter().copied().collect();
        level.sort_unstable();
        let mut bytes: usize = order.iter().map(|number| self.bytes(*number)).sum();
        while !level.is_empty() {
            let (mut next, mut followed) = (Vec::new(), level.len());
            for number in level {
                let imports = self.imports(number, read)?;
                followed = followed.saturating_add(imports.len());
                for import in imports.iter().copied() {
                    if taken.insert(import) {
                        order.push(import);
                        bytes = bytes.saturating_add(self.bytes(import));
                    }
                    if seen.insert(import) {
                        next.push(import);
                    }
                }
                if bytes > self.finder.bounds.map_bytes_max {
                    return Err(TooMany);
                }
            }
            self.finder.same.steps().take(steps(followed / IMPORTS_PER_STEP))?;
            level = next;
        }
        let modules = order.into_iter().filter_map(|number| self.graph.nodes.get(number));
        Ok(modules.map(|node| Arc::clone(&node.module)).collect())
    }

    fn bytes(&self, number: usize) -> usize {
        self.graph.nodes.get(number).map_or(0, |node| ModuleHashes::bytes_of(&node.module.address))
    }

    /// The imports of a module, read at the first call.
    fn imports(&mut self, number: usize, read: ReadScript<'_>) -> Result<Arc<[usize]>, TooMany> {
        let Some(node) = self.graph.nodes.get(number) else { return Ok(Arc::default()) };
        if let Some(known) = &node.imports {
            return Ok(Arc::clone(known));
        }
        let (file, url) = (node.module.file.clone(), node.url.clone());
        let found = if self.is_script(&file) { self.finder.addresses(&file, read)? } else { Arc::default() };
        let imports: BTreeSet<usize> = self.nodes(&url, found.iter())?.into_iter().collect();
        self.finder.imports = self.finder.imports.saturating_add(imports.len());
        if self.finder.imports > IMPORTS_MAX {
            return Err(TooMany);
        }
        let imports: Arc<[usize]> = imports.into_iter().collect();
        if let Some(node) = self.graph.nodes.get_mut(number) {
            node.imports = Some(Arc::clone(&imports));
        }
        Ok(imports)
    }

    fn is_script(&self, file: &BundlePath) -> bool {
        let declared = self.finder.same.manifest().files.get(file).and_then(|entry| entry.media_type.as_deref());
        declared.map_or_else(
            || matches!(fingerprint::extension(file.as_str()).as_deref(), Some("js" | "mjs")),
            |declared| declared.contains("javascript"),
        )
    }

    /// The modules at addresses in a script at `base`.
    fn nodes<'a>(
        &mut self,
        base: &Url,
        addresses: impl Iterator<Item = &'a ScriptAddress>,
    ) -> Result<Vec<usize>, TooMany> {
        let (mut nodes, steps) = (Vec::new(), self.finder.same.steps());
        for ScriptAddress { text, is_import } in addresses {
            steps.take(1)?;
            let is_relative = ["./", "../", "/"].iter().any(|begin| text.starts_with(begin));
            let own = is_relative.then(|| base.join(text).ok()).flatten();
            let by_map = if *is_import { self.prefixes.urls(text, steps)? } else { Vec::new() };
            for url in own.into_iter().chain(by_map) {
                nodes.extend(self.node(url)?);
            }
        }
        Ok(nodes)
    }

    /// The module at an address, if every visitor gets a file of the version there.
    fn node(&mut self, url: Url) -> Result<Option<usize>, TooMany> {
        if !is_own(&url) || !self.finder.same.may_be_there(&url) {
            return Ok(None);
        }
        let address = url.as_str().get(url.origin().ascii_serialization().len()..).unwrap_or_default().to_owned();
        if let Some(known) = self.graph.by_address.get(&address) {
            return Ok(Some(*known));
        }
        let file = self.finder.same.at(&url)?.map(|file| (file, self.finder.same.manifest().files.get(file)));
        let Some((file, Some(entry))) = file else { return Ok(None) };
        self.finder.modules = self.finder.modules.saturating_add(1);
        if self.finder.modules > self.finder.bounds.modules_max {
            return Err(TooMany);
        }
        let module = Module { address: address.clone(), file: file.clone(), hash: entry.hash, size: entry.size };
        let number = self.graph.nodes.len();
        self.graph.nodes.push(Node { module: Arc::new(module), url, imports: None });
        self.graph.by_address.insert(address, number);
        Ok(Some(number))
    }
}

/// Returns true if a URL has the site's origin.
fn is_own(url: &Url) -> bool {
    url.scheme() == "https" && url.host_str() == Some(super::HOST) && url.port().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_config::manifest::{FileEntry, Manifest};

    use super::*;
    use crate::answers::{ManifestSite, Steps};
    use crate::integrity::script_addresses;
    use crate::rules::RuleSet;

    const SCRIPTS: [(&str, &str); 7] = [
        ("assets/main.js", r#"import{a}from"./shared.js";const b=()=>import("./late.js?v=1");import"/api/x.js""#),
        ("assets/shared.js", r#"import"./main.js";export const a=/['"]/;"#),
        ("assets/late.js", r#"import"./deep.mjs";import"./late.css"assert{type:"css"};import"lib/x.js""#),
        ("assets/deep.mjs", r#"new Worker("/worker.js")"#),
        ("worker.js", r#"import("./none.js")"#),
        ("lib/x.js", ""),
        ("api/x.js", ""),
    ];

    fn with_finder<R>(bounds: Bounds, run: impl FnOnce(&mut ModuleFinder<'_>) -> R) -> R {
        with_steps(bounds, &Steps::new(100_000), run)
    }

    fn with_steps<R>(bounds: Bounds, steps: &Steps, run: impl FnOnce(&mut ModuleFinder<'_>) -> R) -> R {
        let entry = |text: &str| FileEntry { hash: Digest::of(text.as_bytes()), size: 1, media_type: None };
        let others = [("index.html", ""), ("x/index.html", ""), ("assets/late.css", "")];
        let files = SCRIPTS.iter().chain(&others).map(|(path, text)| (path.parse().unwrap(), entry(text)));
        let mut manifest = Manifest::of_files(files.collect::<BTreeMap<_, _>>());
        let settings = r#"{"routes":[{"path":"/api/*","to":"http://127.0.0.1:1"}]}"#;
        manifest.base = serde_json::from_str(settings).unwrap();
        let site = ManifestSite::new(&manifest, "prod", RuleSet::default(), None);
        let same = SameForAll::new(&site, steps).unwrap();
        run(&mut ModuleFinder::new(&same, bounds))
    }

    fn reached(finder: &mut ModuleFinder<'_>, html: &str) -> Result<Vec<String>, TooMany> {
        let mut read = |path: &BundlePath| {
            let found = SCRIPTS.iter().find(|(known, _)| *known == path.as_str());
            found.map(|(_, text)| script_addresses(text.as_bytes())).unwrap_or_default()
        };
        let assets = PageAssets::read(html.as_bytes()).unwrap();
        let found = finder.of_page(&"x/index.html".parse().unwrap(), &assets, &mut read)?;
        let mut addresses: Vec<String> = found.iter().map(|module| module.address.clone()).collect();
        addresses.sort();
        Ok(addresses)
    }

    const BOUNDS: Bounds = Bounds { modules_max: 100, map_bytes_max: 10_000 };

    #[test]
    fn a_page_reaches_what_its_modules_import() {
        let late = ["/assets/deep.mjs", "/assets/late.css", "/assets/late.js?v=1"];
        let all = [
            "/assets/deep.mjs",
            "/assets/late.css",
            "/assets/late.js?v=1",
            "/assets/main.js",
            "/assets/shared.js",
            "/worker.js",
        ];
        for (html, expected) in [
            ("<script type=module src=/assets/main.js></script>", &all[..]),
            ("<script type=module src=../assets/main.js></script>", &all),
            ("<script>import('../assets/main.js'); '../lib/x.js'</script>", &all),
            ("<script src=/assets/main.js></script>", &all[..]),
            ("<script src=/worker.js></script><link rel=modulepreload href=/lib/x.js>", &[]),
            ("<base href=https://cdn.example/><script type=module src=/assets/main.js></script>", &[]),
            ("<template><script>import('/lib/x.js')</script></template>", &[]),
            (r#"<script type=importmap>{"imports":{"lib":"/lib/x.js"}}</script>"#, &["/lib/x.js"]),
        ] {
            let found = with_finder(BOUNDS, |finder| reached(finder, html)).unwrap();
            assert_eq!(found, expected, "{html}");
        }
        let map = r#"<script type=importmap>{"imports":{"lib/":"/lib/"}}</script>
            <script type=module>import "../assets/late.js?v=1"</script>"#;
        let found = with_finder(BOUNDS, |finder| reached(finder, map)).unwrap();
        assert_eq!(found, [&late[..], &["/lib/x.js", "/worker.js"]].concat());
    }

    #[test]
    fn what_is_reached_has_a_bound() {
        let html = "<script type=module src=/assets/main.js></script>";
        for bounds in [Bounds { modules_max: 3, ..BOUNDS }, Bounds { map_bytes_max: 300, ..BOUNDS }] {
            assert_eq!(with_finder(bounds, |finder| reached(finder, html)), Err(TooMany));
        }
        let twice = with_finder(BOUNDS, |finder| (reached(finder, html), reached(finder, html)));
        assert_eq!(twice.0, twice.1);
    }

    /// The steps of one page's search, and the number of script reads.
    fn cost(html: &str) -> (u64, usize) {
        const MOST: u64 = 10_000_000;
        let (steps, mut reads) = (Steps::new(MOST), 0);
        with_steps(BOUNDS, &steps, |finder| {
            let assets = PageAssets::read(html.as_bytes()).unwrap();
            let mut read = |_: &BundlePath| {
                reads += 1;
                Vec::new()
            };
            finder.of_page(&"x/index.html".parse().unwrap(), &assets, &mut read).unwrap();
        });
        (MOST - steps.left(), reads)
    }

    #[test]
    fn the_longest_beginning_of_a_name_counts_and_none_is_tried_for_each() {
        let map = |names: &str| {
            let module = "<script type=module>import 'lib/late/late.js'; import 'lib/x.js'</script>";
            format!("<script type=importmap>{{{names}}}</script>{module}")
        };
        for (names, expected) in [
            (r#""imports":{"lib/":"/lib/","lib/late/":"/assets/"}"#, &["/assets/late.js", "/lib/x.js"][..]),
            (
                r#""imports":{"lib/late/":"/assets/"},"scopes":{"/":{"lib/":"/lib/"}}"#,
                &["/assets/late.js", "/lib/x.js"],
            ),
            (r#""imports":{"lib":"/lib/x.js"}"#, &["/lib/x.js"]),
        ] {
            let found = with_finder(BOUNDS, |finder| reached(finder, &map(names))).unwrap();
            let seen: Vec<&String> = found.iter().filter(|one| expected.contains(&one.as_str())).collect();
            assert_eq!(seen, expected, "{names}");
            assert!(!found.contains(&"/lib/late.js".to_owned()), "{names}");
        }
        let page = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("\"p{number}/\":\"/\"")).collect();
            let imports: String = (0..count).map(|number| format!("import'b{number}';")).collect();
            format!("<script type=importmap>{{\"imports\":{{{}}}}}</script><script>{imports}</script>", names.join(","))
        };
        let (few, many) = (cost(&page(100)).0, cost(&page(1_000)).0);
        assert!(many < 11 * few, "{few} {many}");
    }

    #[test]
    fn a_script_is_read_once_however_many_tags_name_it() {
        let tags = |count: usize| "<script src=/worker.js></script>".repeat(count);
        let queries: String = (0..100).map(|number| format!("<script src='/worker.js?{number}'></script>")).collect();
        assert_eq!((cost(&tags(1)).1, cost(&tags(1_000)).1, cost(&queries).1), (1, 1, 1));
        let (one, many) = (cost(&tags(1)).0, cost(&tags(1_000)).0);
        assert!(many < one + 1_000, "{one} {many}");
    }

    #[test]
    fn a_look_ends_with_its_steps_and_where_nobody_waits_for_it() {
        let html = "<script type=module src=/assets/main.js></script>";
        for most in 2..6 {
            let steps = Steps::new(most);
            assert_eq!(with_steps(BOUNDS, &steps, |finder| reached(finder, html)), Err(TooMany), "{most}");
            assert!(!steps.are_left());
        }
        let steps = Steps::new(1_000_000);
        let (first, second) = with_steps(BOUNDS, &steps, |finder| {
            let first = reached(finder, html);
            steps.end();
            (first, reached(finder, html))
        });
        assert!(first.is_ok());
        assert_eq!(second, Err(TooMany));
    }
}
