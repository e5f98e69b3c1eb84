//! Finds assets that browsers would report, or not load, under `integrity`: scripts, style sheets and modules without a
//! hash.

use std::collections::HashSet;
use std::io::Read as _;

use devanture_config::Digest;
use devanture_config::limits::Limits;
use devanture_config::parsing::Lines;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::Integrity;
use devanture_config::text::counted;
use devanture_project::bundle::scan::Scan;
use devanture_site::answers::{Answer, Asking, Bounds, ManifestSite, ModuleFinder, Modules, SameForAll, Steps};
use devanture_site::integrity::{Asset, AssetKind, PageAssets, ScriptAddress, Unfit, added_scripts, script_addresses};
use devanture_site::media::extension;
use url::Url;

use super::links::Places;

/// An asset without a hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unhashed {
    /// The file with the reference.
    pub(super) path: BundlePath,
    /// The position in the file.
    pub(super) line: usize,
    pub(super) column: usize,
    /// The referenced asset.
    pub(super) target: String,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

const OF_OTHERS: &str = "write `integrity` and `crossorigin` in its tag, or serve the file with the site";
const OF_RULES: &str = "what answers there is not the same for everybody, or no file of the site: write `integrity` in \
    its tag";
const OF_CORS: &str = "write `crossorigin` beside it: browsers count its hash only then";
const OF_IMPORTS: &str = "serve the module with the site, or write its hash in an import map";
const OF_MAP: &str = "write no `integrity` in the page's own import map, or the hashes of all its modules";
const OF_POLICY: &str = "set the Content-Security-Policy by a rule, to which the edge adds the hash of the map";
const OF_LIMITS: &str =
    "the edge bounds them by `integrity_map_bytes_max`, `integrity_modules_max` and `integrity_steps_max`";
const OF_SIZE: &str = "name fewer or shorter addresses in one page";
const OF_FORM: &str = "it is served as it is, without a policy: write it otherwise if it is to have hashes";
const OF_ADDED: &str = "write its tag in the page, or import it as a module";
const OF_MEMORY: &str = "the edge bounds it by `integrity_memory_bytes_max`";
const OF_PAGES: &str = "the edge bounds them by `integrity_pages_max` and `integrity_page_bytes_max`";

/// The rest of the edge's bounds of pages with hashes. Pages without hashes do not count.
struct RemainingLimits {
    pages: usize,
    bytes: usize,
    /// Counted pages, by their hashes: the assets of pages with equal bytes are stored once.
    known: HashSet<Digest>,
}

impl RemainingLimits {
    fn of(limits: &Limits) -> Self {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            pages: most(limits.integrity_pages_max),
            bytes: most(limits.integrity_memory_bytes_max),
            known: HashSet::new(),
        }
    }

    /// Counts a further page; false if its assets exceed the bounds.
    fn takes(&mut self, hash: Digest, assets: &PageAssets) -> bool {
        if !self.known.contains(&hash) {
            let Some(left) = self.bytes.checked_sub(assets.memory_bytes()) else { return false };
            self.bytes = left;
            self.known.insert(hash);
        }
        self.pages = self.pages.saturating_sub(1);
        true
    }
}

/// Checks the pages and scripts in every place that requires hashes.
pub(super) fn look(scan: &Scan, places: &Places<'_>) -> Vec<Unhashed> {
    let mut found: Vec<Unhashed> = Vec::new();
    let mut known: HashSet<(BundlePath, usize, usize, String)> = HashSet::new();
    for (name, site) in places.with_hashes() {
        let mut look = Look { scan, site, found: Vec::new() };
        look.pages();
        look.scripts();
        for mut one in look.found {
            // A finding in several places is reported once.
            if known.insert((one.path.clone(), one.line, one.column, one.target.clone())) {
                if let Some(name) = name {
                    one.message = format!("in {name}: {}", one.message);
                }
                found.push(one);
            }
        }
    }
    found
}

/// The check of one place.
struct Look<'l, 'm> {
    scan: &'l Scan,
    site: &'l ManifestSite<'m>,
    found: Vec<Unhashed>,
}

impl Look<'_, '_> {
    /// Returns the bytes of an analyzed file; unreadable files are reported by a different check.
    fn read(&self, path: &BundlePath, bytes_max: u64) -> Option<Vec<u8>> {
        let file = self.scan.files.get(path).filter(|file| file.hashed.bytes <= bytes_max)?;
        let mut bytes = Vec::new();
        file.path.open().ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn effect(&self) -> &'static str {
        if self.site.integrity() == Integrity::Enforce { "browsers do not load it" } else { "browsers report it" }
    }

    fn pages(&mut self) {
        let limits = Limits::default();
        let steps = Steps::new(limits.integrity_steps_max);
        let Ok(same) = SameForAll::new(self.site, &steps) else { return };
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let bounds = Bounds {
            modules_max: most(limits.integrity_modules_max),
            map_bytes_max: most(limits.integrity_map_bytes_max),
        };
        let mut finder = ModuleFinder::new(&same, bounds);
        let pages = (0..).map_while(|number| Some((number, self.site.path(number)?)));
        let pages: Vec<&BundlePath> = pages
            .filter(|(number, path)| self.site.is_html(*number) && !path.is_private())
            .map(|(_, path)| path)
            .collect();
        let mut room = RemainingLimits::of(&limits);
        for (number, path) in pages.iter().copied().enumerate() {
            if room.pages == 0 {
                let message =
                    format!("{} from here on get no hashes", counted(pages.len().saturating_sub(number), "page"));
                self.add((path, b"", 0), "page", message, OF_PAGES);
                break;
            }
            if self.scan.files.get(path).is_some_and(|file| file.hashed.bytes > limits.integrity_page_bytes_max) {
                self.add((path, b"", 0), "page", "it is too long: it gets no hashes".to_owned(), OF_PAGES);
                continue;
            }
            let Some(html) = self.read(path, limits.integrity_page_bytes_max) else { continue };
            let Some(assets) = PageAssets::read(&html) else { continue };
            if let Some(unfit) = assets.unfit() {
                self.unfit(path, unfit);
                continue;
            }
            let hash = self.scan.files.get(path).map(|file| file.hashed.digest);
            if !hash.is_none_or(|hash| room.takes(hash, &assets)) {
                let message = "what it loads has no room beside the pages before it: it gets no hashes".to_owned();
                self.add((path, b"", 0), "page", message, OF_MEMORY);
                continue;
            }
            for asset in assets.tags() {
                self.tag((path, &html), &same, asset);
            }
            self.imports(path, &html, assets.inline(), &assets.map().hashed);
            self.added(path, &html);
            let mut read = |script: &BundlePath| {
                self.read(script, limits.compress_file_bytes_max)
                    .map(|text| script_addresses(&text))
                    .unwrap_or_default()
            };
            let modules = finder.of_page(path, &assets, &mut read);
            let base = same.base(path, assets.base());
            match modules {
                Ok(modules) => self.modules(path, &assets, base.as_ref(), &modules),
                Err(_too_many) => {
                    let message = "it reaches more modules than an import map may hold: it gets no hashes".to_owned();
                    self.add((path, b"", 0), "import map", message, OF_LIMITS);
                }
            }
        }
    }

    /// Reports the reason why a page is served unchanged.
    fn unfit(&mut self, path: &BundlePath, unfit: Unfit) {
        let (why, hint) = match unfit {
            Unfit::TooMuch => ("it names more, or longer, addresses than are looked at", OF_SIZE),
            Unfit::Base => ("its `<base>` is in a template or comes after scripts", OF_FORM),
            Unfit::Foreign => ("it has scripts or templates in SVG or MathML", OF_FORM),
            Unfit::Frames => ("it has `<noframes>`", OF_FORM),
            Unfit::Shadow => ("it has scripts in a template with `shadowrootmode`", OF_FORM),
            Unfit::Map => ("its own import map is no JSON object", OF_FORM),
        };
        self.add((path, b"", 0), "page", format!("{why}: it gets no hashes"), hint);
    }

    /// Looks at a tag of a page; no browser of today blocks style sheets.
    fn tag(&mut self, (page, html): (&BundlePath, &[u8]), same: &SameForAll<'_>, asset: &Asset) {
        let Some(url) = same.url(page, asset).filter(|url| matches!(url.scheme(), "http" | "https")) else { return };
        let Ok(file) = same.file(page, asset) else { return };
        if asset.kind == AssetKind::Style {
            return;
        }
        let (what, effect) = (shown(&asset.address), self.effect());
        if asset.has_integrity {
            if asset.needs_crossorigin {
                let message = format!("{what} has `integrity` without `crossorigin`: {effect}");
                self.add((page, html, asset.at), &asset.address, message, OF_CORS);
            }
            return;
        }
        let is_own = self.site.is_own(&url);
        // A missing asset is a separate finding.
        let is_missing = is_own && matches!(self.site.ask(&url, Asking::Subresource), Answer::Nothing(_));
        if file.is_none() && !is_missing {
            let hint = if is_own { OF_RULES } else { OF_OTHERS };
            self.add((page, html, asset.at), &asset.address, format!("{what} has no hash: {effect}"), hint);
        }
    }

    /// Checks the imports of a script from other hosts; `hashed` are addresses with hashes in the page.
    fn imports(&mut self, path: &BundlePath, source: &[u8], addresses: &[ScriptAddress], hashed: &[String]) {
        let is_far = |text: &str| ["https://", "http://", "//"].iter().any(|begin| text.starts_with(begin));
        for ScriptAddress { text, is_import } in addresses {
            if *is_import && is_far(text) && !hashed.contains(text) {
                let at = source.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap_or_default();
                let message = format!("{} is imported without a hash: {}", shown(text), self.effect());
                self.add((path, source, at), text, message, OF_IMPORTS);
            }
        }
    }

    /// Searches a page or script for scripts added to a page: no tag of an added script can have a hash.
    fn added(&mut self, path: &BundlePath, source: &[u8]) {
        for (at, text) in added_scripts(source) {
            let message = format!("it adds the script {}, which has no hash: {}", shown(text), self.effect());
            self.add((path, source, at), text, message, OF_ADDED);
        }
    }

    /// Checks the modules that a page reaches, if no import map can be inserted into the page.
    fn modules(&mut self, page: &BundlePath, assets: &PageAssets, base: Option<&Url>, modules: &Modules) {
        let own: HashSet<String> = assets
            .map()
            .hashed
            .iter()
            .filter_map(|address| Some(base?.join(address).ok()?.as_str().to_owned()))
            .collect();
        let is_hashed =
            |address: &str| base.and_then(|base| base.join(address).ok()).is_some_and(|url| own.contains(url.as_str()));
        let mut without = modules.iter().filter(|module| !is_hashed(&module.address));
        let Some(first) = without.next().filter(|_| !assets.takes_map()) else { return };
        let (why, hint) = match assets.refuses_inline() {
            true => (
                "it gets no hashes: its Content-Security-Policy refuses an import map with those of modules",
                OF_POLICY,
            ),
            false => ("its own import map has no hash of modules", OF_MAP),
        };
        let message = format!("{why}, {} of them, such as {}", without.count() + 1, shown(&first.address));
        self.add((page, b"", 0), &first.address, message, hint);
    }

    /// Checks every script for imports from other hosts, and for scripts added to a page.
    fn scripts(&mut self) {
        let is_script = |path: &&BundlePath| {
            matches!(extension(path.as_str()).as_deref(), Some("js" | "mjs")) && !path.is_private()
        };
        let scan = self.scan;
        for path in scan.files.keys().filter(is_script) {
            let Some(source) = self.read(path, super::FILE_BYTES_MAX) else { continue };
            self.imports(path, &source, &script_addresses(&source), &[]);
            self.added(path, &source);
        }
    }

    /// Adds a finding at a byte of a file.
    fn add(
        &mut self,
        (path, bytes, at): (&BundlePath, &[u8], usize),
        target: &str,
        message: String,
        hint: &'static str,
    ) {
        let (line, column) = if bytes.is_empty() { (0, 0) } else { Lines::of(bytes).place(bytes, at) };
        self.found.push(Unhashed { path: path.clone(), line, column, target: target.to_owned(), message, hint });
    }
}

/// Returns an address in the form for messages.
fn shown(address: &str) -> String {
    let plain: String = address.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("`{plain}`")
}
