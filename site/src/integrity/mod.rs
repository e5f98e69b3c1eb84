//! Integrity hashes in pages: finds the scripts and style sheets that a page loads, and adds `integrity` to their tags.
//! Pure.
//!
//! No tag names a module that is imported by a module: an import map with the hashes of such modules is inserted before
//! the first script (`import_map`), or into the page's own map.
//!
//! A browser with an `Integrity-Policy` requires two properties of a tag: a hash, and a request that is not `no-cors`.
//! So a classic script or style sheet gets `crossorigin` with its hash; at the page's own origin the attribute changes
//! nothing else, as cookies are still sent there. Every other byte of the page stays unchanged.

mod bounds;
mod content_policy;
mod import_map;
mod reader;
mod reports;
mod scripts;
#[cfg(test)]
mod tests;

pub use bounds::{ADDRESS_BYTES_MAX, INLINE_MAX, NAMES_MAX, PREFIXES_MAX, TAGS_MAX, Unfit};
pub use content_policy::with_hash as policy_with_hash;
pub use import_map::{MapPrefix, ModuleHashes, PageMap};
pub use reports::integrity_reports;
pub use scripts::{ScriptAddress, added as added_scripts, script_addresses};

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::Sha256;
use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use reader::Reader;

/// Byte order marks of UTF-16: an ASCII attribute cannot be inserted into such a text.
const WIDE_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Characters of a SHA-256 in base64.
const HASH_CHARACTERS: usize = 44;

/// A tag that loads a script or a style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// The address, as written in the page.
    pub address: String,
    /// The preceding `<base>`, the base of the address: one text for all tags of a page.
    pub base: Option<Arc<str>>,
    /// True if the tag already has a hash.
    pub has_integrity: bool,
    /// The kind.
    pub kind: AssetKind,
    /// True if the tag preloads for a later tag.
    pub is_preload: bool,
    /// True if the request would be `no-cors`, for which no hash counts.
    pub needs_crossorigin: bool,
    /// The position of the address in the page.
    pub at: usize,
    /// The position after the name of the tag.
    after_name: usize,
}

/// Kind of a loaded asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssetKind {
    /// A module.
    Module,
    /// A classic script.
    Script,
    /// A style sheet.
    Style,
}

/// Position for an import map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum MapPlace {
    /// None: the page has no script.
    #[default]
    None,
    /// Before the first script.
    Before(usize),
    /// After the first brace of the page's own map, with the range of the map's text.
    Into(usize, Range<usize>),
    /// None: the page's own map has hashes, or is invalid.
    OfPage,
}

/// The tags of a page that load scripts and style sheets, and the imports that determine its modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageAssets {
    tags: Vec<Asset>,
    base: Option<Arc<str>>,
    inline: Vec<ScriptAddress>,
    map: PageMap,
    place: MapPlace,
    /// Positions of the first import map and of its text.
    first_map: Option<(usize, usize)>,
    refuses_inline: bool,
    unfit: Option<Unfit>,
}

/// A page with hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedPage {
    /// The page.
    pub html: Vec<u8>,
    /// The text of the import map with the hashes, as hashed by a browser for a `Content-Security-Policy`, if any.
    pub map: Option<Vec<u8>>,
}

/// The value of an `integrity` attribute.
#[must_use]
pub fn metadata(hash: &Sha256) -> String {
    format!("sha256-{}", STANDARD.encode(hash.as_bytes()))
}

impl PageAssets {
    /// Parses a page; `None` if no attribute could be inserted.
    #[must_use]
    pub fn read(html: &[u8]) -> Option<Self> {
        if WIDE_MARKS.iter().any(|mark| html.starts_with(mark)) {
            return None;
        }
        // A tab counts like the end of a line, and keeps every byte at its position: the tokenizer turns CR LF into one
        // character.
        let plain: Vec<u8> = html.iter().map(|byte| if *byte == b'\r' { b'\t' } else { *byte }).collect();
        let mut emitter = DefaultEmitter::<usize>::new_with_span();
        emitter.naively_switch_states(true);
        let mut reader = Reader::new(&plain);
        for token in Tokenizer::new_with_emitter(&plain[..], emitter) {
            let Ok(token) = token;
            if reader.page.unfit == Some(Unfit::TooMuch) {
                break;
            }
            match token {
                Token::StartTag(tag) => reader.start(&tag),
                Token::EndTag(tag) => reader.end(&tag.name, tag.span.start),
                _ => {}
            }
        }
        Some(reader.page)
    }

    /// The reason that the page is served unchanged, if any.
    #[must_use]
    pub const fn unfit(&self) -> Option<Unfit> {
        self.unfit
    }

    /// Bytes of memory of the assets.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let tags = self.tags.iter().map(|tag| size_of::<Asset>().saturating_add(tag.address.capacity()));
        let inline = self.inline.iter().map(|one| size_of::<ScriptAddress>().saturating_add(one.text.capacity()));
        let map = &self.map;
        let pairs = map.prefixes.iter().flat_map(|prefix| [&prefix.name, &prefix.address]);
        let names = map.addresses.iter().chain(&map.hashed).chain(pairs);
        let names = names.map(|name| size_of::<String>().saturating_add(name.capacity()));
        let all = tags.chain(inline).chain(names).fold(0, usize::saturating_add);
        all.saturating_add(size_of::<Self>()).saturating_add(self.base().map_or(0, str::len))
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

    /// The imports of the inline scripts.
    #[must_use]
    pub fn inline(&self) -> &[ScriptAddress] {
        &self.inline
    }

    /// The page's own import map.
    #[must_use]
    pub const fn map(&self) -> &PageMap {
        &self.map
    }

    /// Returns true if an import map can take hashes of modules.
    #[must_use]
    pub fn takes_map(&self) -> bool {
        matches!(self.place, MapPlace::Before(_) | MapPlace::Into(..)) && !self.refuses_inline
    }

    /// Returns true if a `Content-Security-Policy` in the page itself refuses an import map.
    #[must_use]
    pub const fn refuses_inline(&self) -> bool {
        self.refuses_inline
    }

    /// The page with `hashes`, one for each tag, and the hashes of `modules` in an import map. `None` if a browser
    /// would not parse the insertions as intended.
    #[must_use]
    pub fn with_hashes(&self, html: &[u8], hashes: &[Option<Sha256>], modules: &ModuleHashes) -> Option<HashedPage> {
        if self.unfit.is_some() {
            return None;
        }
        let mut expected = self.clone();
        let named = self.tags.iter().zip(hashes).filter(|(tag, _)| !tag.is_preload && !tag.has_integrity);
        let named: HashSet<Sha256> = named.filter_map(|(_, hash)| *hash).collect();
        let mut added: Vec<(usize, String)> = Vec::new();
        for (asset, hash) in expected.tags.iter_mut().zip(hashes) {
            // A script may insert the preloaded resource without `crossorigin`, and a preload with the attribute would
            // load the resource twice.
            let Some(hash) = hash.filter(|hash| !asset.is_preload || named.contains(hash)) else { continue };
            if asset.has_integrity {
                continue;
            }
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
        // A browser parses the same attributes as the tokenizer.
        let seen = Self::read(&page)?;
        let is_same = |(seen, expected): (&Asset, &Asset)| {
            (&seen.address, &seen.base, seen.has_integrity, seen.needs_crossorigin)
                == (&expected.address, &expected.base, expected.has_integrity, expected.needs_crossorigin)
        };
        let is_as_meant = seen.tags.len() == expected.tags.len() && seen.tags.iter().zip(&expected.tags).all(is_same);
        let has_map = !has_modules || seen.place == MapPlace::OfPage;
        (is_as_meant && has_map).then_some(HashedPage { html: page, map })
    }

    /// Appends the import map to the insertions. Returns the map's text.
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

/// A text as in a document: each end of a line is one character.
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

/// The page before [`PageAssets::with_hashes`]: without the attributes directly after the names of its tags, and
/// without the import map or the hashes in the page's own map, all in the exact form of the insertion. `None` if no
/// attribute could be inserted.
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

/// The range of the edge's hashes in the first import map of a page, or of the whole map, by the positions of the map
/// and of its text.
fn map_of_edge(html: &[u8], (start, text): (usize, usize)) -> Option<Range<usize>> {
    let own = import_map::own_bytes(html.get(start..)?);
    if own > 0 {
        return Some(start..start.checked_add(own)?);
    }
    let brace = html.get(text..)?.iter().position(|byte| *byte == b'{')?.checked_add(text)?.checked_add(1)?;
    let merged = import_map::merged_bytes(html.get(brace..)?);
    (merged > 0).then_some(brace..brace.checked_add(merged)?)
}

/// The length of the attributes inserted by [`PageAssets::with_hashes`], if present.
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
fn asset(tag: &StartTag<usize>, html: &[u8], base: Option<&Arc<str>>) -> Option<Asset> {
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
        is_preload: is_word("rel", &["preload"]) && tag.name.as_slice() == b"link",
        at,
        needs_crossorigin: kind != AssetKind::Module && !tag.attributes.contains_key(&b"crossorigin"[..]),
        after_name,
    })
}
