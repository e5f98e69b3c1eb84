//! The modules that a page reaches by imports, and that no tag of it names.
//!
//! Imports are found by [`script_addresses`](crate::integrity::script_addresses), which finds more than there are. That
//! is no danger: an address is taken only if every visitor gets one file of the version at it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use devanture_config::Digest;
use devanture_config::path::BundlePath;
use url::Url;

use super::SameForAll;
use crate::fingerprint;
use crate::integrity::{AssetKind, ModuleHashes, PageAssets, ScriptAddress};

/// Imports of all modules of a version together.
const IMPORTS_MAX: usize = 1_000_000;

/// A module that pages reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its address, from the first slash on.
    pub address: String,
    /// Its file.
    pub file: BundlePath,
    /// The bytes of that.
    pub hash: Digest,
    /// Their length.
    pub size: u64,
}

/// Modules that a page reaches; pages share them.
pub type Modules = Arc<[Arc<Module>]>;

/// How much is followed.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Modules of a version in one environment.
    pub modules_max: usize,
    /// Bytes of the hashes of one page's modules in an import map.
    pub map_bytes_max: usize,
}

/// A page reaches more modules than its import map may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// Finds the modules of pages. What one page reaches is kept for the next.
pub struct ModuleFinder<'s> {
    same: &'s SameForAll<'s>,
    bounds: Bounds,
    /// For pages whose import maps have the same prefixes.
    graphs: HashMap<Vec<(String, String)>, Graph>,
    modules: usize,
    imports: usize,
}

/// Gives the addresses in a script; an empty list for one that cannot be read.
type ReadScript<'r> = &'r mut dyn FnMut(&BundlePath) -> Vec<ScriptAddress>;

/// The modules that some pages reach.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    by_address: HashMap<String, usize>,
    /// What was reached from the same places.
    reached: HashMap<Roots, Result<Modules, TooMany>>,
}

struct Node {
    module: Arc<Module>,
    url: Url,
    /// The modules that it imports; `None` as long as it was not read.
    imports: Option<Vec<usize>>,
}

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Roots {
    /// Modules that tags of the page name, and whose hashes are there.
    named: BTreeSet<usize>,
    /// Modules that its inline and classic scripts import, and those of its import map.
    imported: BTreeSet<usize>,
}

impl<'s> ModuleFinder<'s> {
    /// Prepares to look at pages of a version.
    #[must_use]
    pub fn new(same: &'s SameForAll<'s>, bounds: Bounds) -> Self {
        Self { same, bounds, graphs: HashMap::new(), modules: 0, imports: 0 }
    }

    /// The modules that the page at `page` reaches and that no tag of it names, those first that are the fewest imports
    /// away.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn of_page(
        &mut self,
        page: &BundlePath,
        assets: &PageAssets,
        read: &mut dyn FnMut(&BundlePath) -> Vec<ScriptAddress>,
    ) -> Result<Modules, TooMany> {
        // Where the map's own addresses would be those of another origin, none of them is this site's.
        let Some(base) = self.same.base(page, assets.base()).filter(is_own) else {
            return Ok(Arc::default());
        };
        let join = |(name, address): &(String, String)| Some((name.clone(), base.join(address).ok()?.to_string()));
        let prefixes: Vec<(String, String)> = assets.map().prefixes.iter().filter_map(join).collect();
        let mut graph = self.graphs.remove(&prefixes).unwrap_or_default();
        let found = Walk { finder: self, graph: &mut graph, prefixes: &prefixes }.of_page(page, &base, assets, read);
        self.graphs.insert(prefixes, graph);
        found
    }
}

/// A look at one page.
struct Walk<'w, 's> {
    finder: &'w mut ModuleFinder<'s>,
    graph: &'w mut Graph,
    prefixes: &'w [(String, String)],
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
        for asset in assets.tags() {
            let Some(url) = self.finder.same.url(page, asset) else { continue };
            match asset.kind {
                AssetKind::Module => roots.named.extend(self.node(url)?),
                AssetKind::Script => {
                    let file = self.finder.same.at(&url);
                    let found = file.map(&mut *read).unwrap_or_default();
                    roots.imported.extend(self.nodes(&url, found.iter().filter(|one| one.is_import))?);
                }
                AssetKind::Style => {}
            }
        }
        roots.imported.extend(self.nodes(base, assets.inline().iter())?);
        for address in &assets.map().addresses {
            let url = base.join(address).ok();
            roots.imported.extend(url.map(|url| self.node(url)).transpose()?.flatten());
        }
        if let Some(known) = self.graph.reached.get(&roots) {
            return known.clone();
        }
        let reached = self.reached(&roots, read);
        self.graph.reached.insert(roots, reached.clone());
        reached
    }

    fn reached(&mut self, roots: &Roots, read: ReadScript<'_>) -> Result<Modules, TooMany> {
        let mut seen: HashSet<usize> = roots.named.iter().chain(&roots.imported).copied().collect();
        let mut taken: HashSet<usize> = roots.imported.clone().into_iter().collect();
        let mut order: Vec<usize> = roots.imported.iter().copied().collect();
        let mut level: Vec<usize> = seen.iter().copied().collect();
        level.sort_unstable();
        let mut bytes: usize = order.iter().map(|number| self.bytes(*number)).sum();
        while !level.is_empty() {
            let mut next = Vec::new();
            for number in level {
                for import in self.imports(number, read)? {
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
            level = next;
        }
        let modules = order.into_iter().filter_map(|number| self.graph.nodes.get(number));
        Ok(modules.map(|node| Arc::clone(&node.module)).collect())
    }

    fn bytes(&self, number: usize) -> usize {
        self.graph.nodes.get(number).map_or(0, |node| ModuleHashes::bytes_of(&node.module.address))
    }

    /// The modules that one imports, read at the first time.
    fn imports(&mut self, number: usize, read: ReadScript<'_>) -> Result<Vec<usize>, TooMany> {
        let Some(node) = self.graph.nodes.get(number) else { return Ok(Vec::new()) };
        if let Some(known) = &node.imports {
            return Ok(known.clone());
        }
        let (file, url) = (node.module.file.clone(), node.url.clone());
        let found = if self.is_script(&file) { read(&file) } else { Vec::new() };
        let imports: BTreeSet<usize> = self.nodes(&url, found.iter())?.into_iter().collect();
        self.finder.imports = self.finder.imports.saturating_add(imports.len());
        if self.finder.imports > IMPORTS_MAX {
            return Err(TooMany);
        }
        let imports: Vec<usize> = imports.into_iter().collect();
        if let Some(node) = self.graph.nodes.get_mut(number) {
            node.imports = Some(imports.clone());
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
        let mut nodes = Vec::new();
        for ScriptAddress { text, is_import } in addresses {
            let is_relative = ["./", "../", "/"].iter().any(|begin| text.starts_with(begin));
            let own = is_relative.then(|| base.join(text).ok()).flatten();
            let by_map = self.prefixes.iter().filter(|_| *is_import).filter_map(|(prefix, address)| {
                Url::parse(address).ok()?.join(text.strip_prefix(prefix.as_str())?).ok()
            });
            for url in own.into_iter().chain(by_map).collect::<Vec<_>>() {
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
        let file = self.finder.same.at(&url).map(|file| (file, self.finder.same.manifest().files.get(file)));
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

/// Whether a URL is one of the site's origin.
fn is_own(url: &Url) -> bool {
    url.scheme() == "https" && url.host_str() == Some(super::HOST) && url.port().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_config::manifest::{FileEntry, Manifest};

    use super::*;
    use crate::answers::ManifestSite;
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
        let entry = |text: &str| FileEntry { hash: Digest::of(text.as_bytes()), size: 1, media_type: None };
        let others = [("index.html", ""), ("x/index.html", ""), ("assets/late.css", "")];
        let files = SCRIPTS.iter().chain(&others).map(|(path, text)| (path.parse().unwrap(), entry(text)));
        let mut manifest = Manifest::of_files(files.collect::<BTreeMap<_, _>>());
        let settings = r#"{"routes":[{"path":"/api/*","to":"http://127.0.0.1:1"}]}"#;
        manifest.base = serde_json::from_str(settings).unwrap();
        let site = ManifestSite::new(&manifest, "prod", RuleSet::default(), None);
        let same = SameForAll::new(&site);
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
}
