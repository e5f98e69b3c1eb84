//! Hashes in pages: finds the scripts and style sheets that a page loads, and adds `integrity` to their tags. Pure.
//!
//! Tags name no module that another one imports: for these, an import map with their hashes is put before the first
//! script (`import_map`), or into the map that the page has.
//!
//! A browser with an `Integrity-Policy` wants two things of a tag: a hash, and a request that is not `no-cors`. So a
//! classic script or style sheet gets `crossorigin` with its hash; at the page's own origin that changes nothing else,
//! as cookies are still sent there. Every other byte of the page stays as it is.

mod content_policy;
mod import_map;
mod reports;
mod scripts;
#[cfg(test)]
mod tests;

pub use content_policy::with_hash as policy_with_hash;
pub use import_map::{ModuleHashes, PageMap};
pub use reports::integrity_reports;
pub use scripts::{ScriptAddress, quoted, script_addresses};

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::Sha256;
use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

/// What texts in UTF-16 begin with: no attribute in ASCII can be put into them.
const WIDE_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Characters of a SHA-256 in base64.
const HASH_CHARACTERS: usize = 44;

/// A tag that loads a script or a style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Its address, as the page writes it.
    pub address: String,
    /// The `<base>` before it, to which the address is relative.
    pub base: Option<String>,
    /// Whether the page says its hash already.
    pub has_integrity: bool,
    /// What it is.
    pub kind: AssetKind,
    /// Whether its request would be `no-cors`, for which no hash counts.
    pub needs_crossorigin: bool,
    /// The byte at which the page says its address.
    pub at: usize,
    /// The byte after the name of its tag.
    after_name: usize,
}

/// What a tag loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetKind {
    /// A module.
    Module,
    /// A classic script.
    Script,
    /// A style sheet.
    Style,
}

/// Where an import map may be put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum MapPlace {
    /// Nowhere: there is no script.
    #[default]
    None,
    /// Before the first script.
    Before(usize),
    /// After the first brace of the page's own one, whose text is this.
    Into(usize, Range<usize>),
    /// Nowhere: the page's own one has hashes, or is none.
    OfPage,
}

/// The tags of a page that load scripts and style sheets, and what else says which modules it loads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageAssets {
    tags: Vec<Asset>,
    base: Option<String>,
    inline: Vec<ScriptAddress>,
    map: PageMap,
    place: MapPlace,
    /// Where the first import map and its text begin.
    first_map: Option<(usize, usize)>,
    refuses_inline: bool,
}

/// A page with hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedPage {
    /// The page.
    pub html: Vec<u8>,
    /// The text of its import map, as a browser hashes it for a `Content-Security-Policy`, if hashes are in one.
    pub map: Option<Vec<u8>>,
}

/// The value of an `integrity` attribute.
#[must_use]
pub fn metadata(hash: &Sha256) -> String {
    format!("sha256-{}", STANDARD.encode(hash.as_bytes()))
}

impl PageAssets {
    /// Reads a page; `None` where no attribute could be put into it.
    #[must_use]
    pub fn read(html: &[u8]) -> Option<Self> {
        if WIDE_MARKS.iter().any(|mark| html.starts_with(mark)) {
            return None;
        }
        // A tab counts as a line's end does, and keeps every byte at its place: the tokenizer makes one of CR and LF.
        let plain: Vec<u8> = html.iter().map(|byte| if *byte == b'\r' { b'\t' } else { *byte }).collect();
        let mut emitter = DefaultEmitter::<usize>::new_with_span();
        emitter.naively_switch_states(true);
        let mut reader = Reader { html: &plain, page: Self::default(), templates: 0, inline: None };
        for token in Tokenizer::new_with_emitter(&plain[..], emitter) {
            let Ok(token) = token;
            match token {
                Token::StartTag(tag) => reader.start(&tag),
                Token::EndTag(tag) => reader.end(&tag.name, tag.span.start),
                _ => {}
            }
        }
        Some(reader.page)
    }

    /// The tags, in their order.
    #[must_use]
    pub fn tags(&self) -> &[Asset] {
        &self.tags
    }

    /// The `<base>` of the page.
    #[must_use]
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// What its inline scripts import.
    #[must_use]
    pub fn inline(&self) -> &[ScriptAddress] {
        &self.inline
    }

    /// Its own import map.
    #[must_use]
    pub const fn map(&self) -> &PageMap {
        &self.map
    }

    /// Whether hashes of modules may be put into an import map.
    #[must_use]
    pub fn takes_map(&self) -> bool {
        matches!(self.place, MapPlace::Before(_) | MapPlace::Into(..)) && !self.refuses_inline
    }

    /// Whether a `Content-Security-Policy` in the page itself refuses an import map.
    #[must_use]
    pub const fn refuses_inline(&self) -> bool {
        self.refuses_inline
    }

    /// The page with `hashes`, one for each tag, and those of `modules` in an import map. `None` where a browser would
    /// not see them as they are meant.
    #[must_use]
    pub fn with_hashes(&self, html: &[u8], hashes: &[Option<Sha256>], modules: &ModuleHashes) -> Option<HashedPage> {
        let mut expected = self.clone();
        let mut added: Vec<(usize, String)> = Vec::new();
        for (asset, hash) in expected.tags.iter_mut().zip(hashes) {
            let Some(hash) = hash.filter(|_| !asset.has_integrity) else { continue };
            let crossorigin = if asset.needs_crossorigin { " crossorigin=\"\"" } else { "" };
            added.push((asset.after_name, format!(" integrity=\"{}\"{crossorigin}", metadata(&hash))));
            (asset.has_integrity, asset.needs_crossorigin) = (true, false);
        }
        let has_modules = !modules.is_empty() && self.takes_map();
        let map = if has_modules { self.map_with(html, modules, &mut added)? } else { None };
        added.sort_by_key(|(at, _)| *at);
        let (mut page, mut from) = (Vec::with_capacity(html.len()), 0);
        for (at, text) in added {
            page.extend_from_slice(html.get(from..at)?);
            page.extend_from_slice(text.as_bytes());
            from = at;
        }
        page.extend_from_slice(html.get(from..)?);
        // What the tokenizer does not see as an attribute, no browser does.
        let seen = Self::read(&page)?;
        let is_same = |(seen, expected): (&Asset, &Asset)| {
            (&seen.address, &seen.base, seen.has_integrity, seen.needs_crossorigin)
                == (&expected.address, &expected.base, expected.has_integrity, expected.needs_crossorigin)
        };
        let is_as_meant = seen.tags.len() == expected.tags.len() && seen.tags.iter().zip(&expected.tags).all(is_same);
        let has_map = !has_modules || seen.place == MapPlace::OfPage;
        (is_as_meant && has_map).then_some(HashedPage { html: page, map })
    }

    /// Adds the import map to what is added to the page. Returns its text.
    fn map_with(
        &self,
        html: &[u8],
        modules: &ModuleHashes,
        added: &mut Vec<(usize, String)>,
    ) -> Option<Option<Vec<u8>>> {
        match &self.place {
            MapPlace::Before(at) => {
                let element = modules.element();
                let text = element.split_once('>')?.1.rsplit_once('<')?.0.as_bytes().to_vec();
                added.push((*at, element));
                Some(Some(text))
            }
            MapPlace::Into(at, text) => {
                let merged = modules.merged(self.map.is_empty);
                let (before, after) = (html.get(text.start..*at)?, html.get(*at..text.end)?);
                let text = normal_lines(&[before, merged.as_bytes(), after].concat());
                added.push((*at, merged));
                Some(Some(text))
            }
            MapPlace::None | MapPlace::OfPage => Some(None),
        }
    }
}

/// A text as it is in a document: each end of a line is one character.
fn normal_lines(text: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(text.len());
    let mut after_return = false;
    for byte in text {
        if !(after_return && *byte == b'\n') {
            normal.push(if *byte == b'\r' { b'\n' } else { *byte });
        }
        after_return = *byte == b'\r';
    }
    normal
}

/// An inline script whose end is still to come.
struct Inline {
    is_map: bool,
    start: usize,
    text_start: usize,
}

/// Reads a page, tag by tag.
struct Reader<'r> {
    html: &'r [u8],
    page: PageAssets,
    /// Templates that are open: nothing in them runs.
    templates: usize,
    inline: Option<Inline>,
}

impl Reader<'_> {
    fn start(&mut self, tag: &StartTag<usize>) {
        self.inline = None;
        match tag.name.as_slice() {
            b"base" if self.page.base.is_none() => self.page.base = text(tag, "href"),
            b"meta" => {
                let is_policy = text(tag, "http-equiv")
                    .is_some_and(|name| name.trim().eq_ignore_ascii_case("content-security-policy"));
                let policy = text(tag, "content").filter(|_| is_policy).unwrap_or_default();
                self.page.refuses_inline |= content_policy::refuses_inline(&policy);
            }
            b"template" => self.templates = self.templates.saturating_add(1),
            b"script" | b"link" => {
                let asset = asset(tag, self.html, self.page.base.as_ref());
                self.script(tag, asset.as_ref());
                self.page.tags.extend(asset);
            }
            _ => {}
        }
    }

    /// Notes where the first script is, and what an inline one is.
    fn script(&mut self, tag: &StartTag<usize>, asset: Option<&Asset>) {
        let is_script = tag.name.as_slice() == b"script";
        let loads_module = asset.is_some_and(|asset| asset.kind == AssetKind::Module);
        if self.templates > 0 || !(is_script || loads_module) {
            return;
        }
        let kind = text(tag, "type").unwrap_or_default().trim().to_ascii_lowercase();
        let is_inline = is_script && !tag.attributes.contains_key(&b"src"[..]);
        let is_map = kind == "importmap";
        let runs = loads_module || matches!(kind.as_str(), "" | "module") || kind.ends_with("script");
        if is_inline && (is_map || runs) {
            self.inline = Some(Inline { is_map, start: tag.span.start, text_start: tag.span.end });
        }
        if runs && self.page.place == MapPlace::None {
            self.page.place = MapPlace::Before(tag.span.start);
        }
    }

    fn end(&mut self, name: &[u8], at: usize) {
        if name == b"template" {
            self.templates = self.templates.saturating_sub(1);
        }
        let Some(Inline { is_map, start, text_start }) = self.inline.take() else { return };
        let Some(source) = self.html.get(text_start..at) else { return };
        if !is_map {
            self.page.inline.extend(script_addresses(source).into_iter().filter(|one| one.is_import));
            return;
        }
        if self.page.first_map.is_some() {
            // Where a page has several, hashes are in the first.
            return;
        }
        self.page.first_map = Some((start, text_start));
        let brace = source.iter().position(|byte| *byte == b'{').and_then(|brace| brace.checked_add(text_start + 1));
        self.page.map = PageMap::read(source);
        self.page.place = match brace.filter(|_| self.page.map.takes_hashes) {
            Some(brace) => MapPlace::Into(brace, text_start..at),
            None => MapPlace::OfPage,
        };
    }
}

/// A page as it was before [`PageAssets::with_hashes`]: without the attributes that stand right after the names of its
/// tags, and without an import map or hashes in the page's own, in the very form in which they are put there. `None`
/// where no attribute could be put into it.
#[must_use]
pub fn without_hashes(html: &[u8]) -> Option<Vec<u8>> {
    let mut taken: Vec<Range<usize>> = Vec::new();
    let assets = PageAssets::read(html)?;
    for asset in assets.tags() {
        let bytes = added(html.get(asset.after_name..)?);
        taken.push(asset.after_name..asset.after_name.checked_add(bytes)?);
    }
    taken.extend(assets.first_map.and_then(|map| map_of_edge(html, map)));
    taken.sort_by_key(|one| one.start);
    let mut page = Vec::with_capacity(html.len());
    let mut from = 0;
    for Range { start, end } in taken {
        page.extend_from_slice(html.get(from..start)?);
        from = end;
    }
    page.extend_from_slice(html.get(from..)?);
    Some(page)
}

/// The bytes that the edge has put into the first import map of a page, or the whole map, by where that and its text
/// begin.
fn map_of_edge(html: &[u8], (start, text): (usize, usize)) -> Option<Range<usize>> {
    let own = import_map::own_bytes(html.get(start..)?);
    if own > 0 {
        return Some(start..start.checked_add(own)?);
    }
    let brace = html.get(text..)?.iter().position(|byte| *byte == b'{')?.checked_add(text)?.checked_add(1)?;
    let merged = import_map::merged_bytes(html.get(brace..)?);
    (merged > 0).then_some(brace..brace.checked_add(merged)?)
}

/// The bytes of the attributes that [`PageAssets::with_hashes`] has put there, if it has.
fn added(html: &[u8]) -> usize {
    let is_base64 = |hash: &&[u8]| hash.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    let after = || {
        let (hash, rest) = html.strip_prefix(b" integrity=\"sha256-")?.split_at_checked(HASH_CHARACTERS)?;
        let rest = Some(hash).filter(is_base64).and_then(|_| rest.strip_prefix(b"\""))?;
        Some(rest.strip_prefix(b" crossorigin=\"\"").unwrap_or(rest).len())
    };
    after().map_or(0, |after| html.len().saturating_sub(after))
}

fn text(tag: &StartTag<usize>, name: &str) -> Option<String> {
    tag.attributes.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The asset that a tag loads.
fn asset(tag: &StartTag<usize>, html: &[u8], base: Option<&String>) -> Option<Asset> {
    let is_word = |name: &str, words: &[&str]| {
        let value = text(tag, name).unwrap_or_default();
        value.split_ascii_whitespace().any(|word| words.iter().any(|own| word.eq_ignore_ascii_case(own)))
    };
    let (name, kind) = match tag.name.as_slice() {
        b"script" if is_word("type", &["module"]) => ("src", AssetKind::Module),
        b"script" => ("src", AssetKind::Script),
        _ if is_word("rel", &["modulepreload"]) => ("href", AssetKind::Module),
        _ if is_word("rel", &["stylesheet"]) => ("href", AssetKind::Style),
        _ if is_word("rel", &["preload"]) && is_word("as", &["script"]) => ("href", AssetKind::Script),
        _ if is_word("rel", &["preload"]) && is_word("as", &["style"]) => ("href", AssetKind::Style),
        _ => return None,
    };
    let (address, at) = (text(tag, name)?, tag.attributes.get(name.as_bytes())?.span.start);
    let after_name = tag.span.start.checked_add(1)?.checked_add(tag.name.len())?;
    let name = html.get(tag.span.start.checked_add(1)?..after_name)?;
    name.eq_ignore_ascii_case(&tag.name).then(|| Asset {
        address,
        base: base.cloned(),
        has_integrity: tag.attributes.contains_key(&b"integrity"[..]),
        kind,
        at,
        needs_crossorigin: kind != AssetKind::Module && !tag.attributes.contains_key(&b"crossorigin"[..]),
        after_name,
    })
}
