//! Reads a page, tag by tag: its assets, and whether hashes would be effective. Pure.

use html5gum::StartTag;

use super::bounds::{ADDRESS_BYTES_MAX, INLINE_MAX, TAGS_MAX, Unfit};
use super::{Asset, AssetKind, MapPlace, PageAssets, PageMap, asset, content_policy, script_addresses, text};

/// An inline script without its end so far.
struct Inline {
    is_map: bool,
    start: usize,
    text_start: usize,
}

/// Reads a page, tag by tag.
pub(super) struct Reader<'r> {
    html: &'r [u8],
    pub(super) page: PageAssets,
    /// Open templates, whose content does not run.
    templates: usize,
    /// Open templates from the first shadow tree on.
    shadows: usize,
    /// Open elements of SVG and MathML.
    foreign: usize,
    inline: Option<Inline>,
}

impl<'r> Reader<'r> {
    /// Begins with a page in whose bytes every end of a line is one character.
    pub(super) fn new(html: &'r [u8]) -> Self {
        Self { html, page: PageAssets::default(), templates: 0, shadows: 0, foreign: 0, inline: None }
    }

    /// Reads the start of an element.
    pub(super) fn start(&mut self, tag: &StartTag<usize>) {
        self.inline = None;
        if self.templates == 0 {
            // Event handlers of an element, such as `onload`.
            let handlers = tag.attributes.iter().filter(|(name, _)| name.starts_with(b"on"));
            handlers.for_each(|(_, source)| self.imports(source));
        }
        match tag.name.as_slice() {
            b"svg" | b"math" => self.foreign = self.foreign.saturating_add(usize::from(!tag.self_closing)),
            b"noframes" => self.refuse(Unfit::Frames),
            b"script" | b"template" | b"base" if self.foreign > 0 => self.refuse(Unfit::Foreign),
            b"base" if self.page.base.is_none() => self.base(tag),
            b"meta" => {
                let is_policy = text(tag, "http-equiv")
                    .is_some_and(|name| name.trim().eq_ignore_ascii_case("content-security-policy"));
                let policy = text(tag, "content").filter(|_| is_policy).unwrap_or_default();
                self.page.refuses_inline |= content_policy::refuses_inline(&policy);
            }
            b"template" => {
                self.templates = self.templates.saturating_add(1);
                let is_shadow = tag.attributes.contains_key(&b"shadowrootmode"[..]);
                self.shadows = self.shadows.saturating_add(usize::from(is_shadow || self.shadows > 0));
            }
            b"script" if self.shadows > 0 => self.refuse(Unfit::Shadow),
            b"script" | b"link" => {
                let asset = asset(tag, self.html, self.page.base.as_ref());
                self.script(tag, asset.as_ref());
                self.add(asset);
            }
            _ => {}
        }
    }

    /// Records the reason that the page is served unchanged: the first reason, or an exceeded bound, which ends the
    /// reading.
    fn refuse(&mut self, why: Unfit) {
        if self.page.unfit.is_none() || why == Unfit::TooMuch {
            self.page.unfit = Some(why);
        }
    }

    fn base(&mut self, tag: &StartTag<usize>) {
        let Some(base) = text(tag, "href") else { return };
        let is_late =
            self.page.tags.iter().any(|tag| tag.kind != AssetKind::Style) || self.page.place != MapPlace::None;
        if self.templates > 0 || is_late {
            self.refuse(Unfit::Base);
        }
        if base.len() > ADDRESS_BYTES_MAX {
            self.refuse(Unfit::TooMuch);
        } else {
            self.page.base = Some(base.into());
        }
    }

    fn add(&mut self, asset: Option<Asset>) {
        let Some(asset) = asset else { return };
        let is_long = asset.address.len() > ADDRESS_BYTES_MAX;
        if is_long && is_inline_data(&asset.address) {
            // No request is sent, and no policy blocks the script.
            return;
        }
        if is_long || self.page.tags.len() >= TAGS_MAX {
            self.refuse(Unfit::TooMuch);
        } else {
            self.page.tags.push(asset);
        }
    }

    /// Records the position of the first script, and the kind of an inline script.
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

    /// Adds the imports of an inline script.
    fn imports(&mut self, source: &[u8]) {
        self.page.inline.extend(script_addresses(source).into_iter().filter(|one| one.is_import));
        if self.page.inline.len() > INLINE_MAX {
            self.refuse(Unfit::TooMuch);
        }
    }

    /// Reads the end of an element.
    pub(super) fn end(&mut self, name: &[u8], at: usize) {
        match name {
            b"template" => {
                self.templates = self.templates.saturating_sub(1);
                self.shadows = self.shadows.saturating_sub(1);
            }
            b"svg" | b"math" => self.foreign = self.foreign.saturating_sub(1),
            _ => {}
        }
        let Some(Inline { is_map, start, text_start }) = self.inline.take() else { return };
        let Some(source) = self.html.get(text_start..at) else { return };
        if !is_map {
            self.imports(source);
            return;
        }
        if self.page.first_map.is_some() {
            // Of several import maps in a page, the first has hashes.
            return;
        }
        self.page.first_map = Some((start, text_start));
        let brace = source.iter().position(|byte| *byte == b'{').and_then(|brace| brace.checked_add(text_start + 1));
        self.page.map = PageMap::read(source);
        if self.page.map.is_too_large() {
            self.refuse(Unfit::TooMuch);
        }
        if !self.page.map.is_map {
            self.refuse(Unfit::Map);
        }
        self.page.place = match brace.filter(|_| self.page.map.takes_hashes) {
            Some(brace) => MapPlace::Into(brace, text_start..at),
            None => MapPlace::OfPage,
        };
    }
}

/// Returns true if an address contains the file itself.
fn is_inline_data(address: &str) -> bool {
    let address = address.trim_start_matches(|c: char| c <= ' ');
    address.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}
