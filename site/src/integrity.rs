//! Hashes in pages: finds the scripts and style sheets that a page loads, and adds `integrity` to their tags. Pure.
//!
//! A browser with an `Integrity-Policy` wants two things of a tag: a hash, and a request that is not `no-cors`. So a
//! classic script or style sheet gets `crossorigin` with its hash; at the page's own origin that changes nothing else,
//! as cookies are still sent there. Every other byte of the page stays as it is.

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
    /// Whether its request would be `no-cors`.
    needs_crossorigin: bool,
    /// The byte after the name of its tag.
    after_name: usize,
}

/// The tags of a page that load scripts and style sheets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageAssets(Vec<Asset>);

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
        let (mut assets, mut base) = (Vec::new(), None);
        for token in Tokenizer::new_with_emitter(&plain[..], emitter) {
            let Ok(token) = token;
            let Token::StartTag(tag) = token else { continue };
            match tag.name.as_slice() {
                b"base" => base = base.or_else(|| text(&tag, "href")),
                b"script" | b"link" => assets.extend(asset(&tag, &plain, base.as_ref())),
                _ => {}
            }
        }
        Some(Self(assets))
    }

    /// The tags, in their order.
    #[must_use]
    pub fn tags(&self) -> &[Asset] {
        &self.0
    }

    /// The page with `hashes`, one for each tag. `None` where a browser would not see them as they are meant.
    #[must_use]
    pub fn with_hashes(&self, html: &[u8], hashes: &[Option<Sha256>]) -> Option<Vec<u8>> {
        let mut page = Vec::with_capacity(html.len());
        let mut expected = self.clone();
        let mut from = 0;
        for (asset, hash) in expected.0.iter_mut().zip(hashes) {
            let Some(hash) = hash.filter(|_| !asset.has_integrity) else { continue };
            let crossorigin = if asset.needs_crossorigin { " crossorigin=\"\"" } else { "" };
            page.extend_from_slice(html.get(from..asset.after_name)?);
            page.extend_from_slice(format!(" integrity=\"{}\"{crossorigin}", metadata(&hash)).as_bytes());
            from = asset.after_name;
            (asset.has_integrity, asset.needs_crossorigin) = (true, false);
        }
        page.extend_from_slice(html.get(from..)?);
        // What the tokenizer does not see as an attribute, no browser does.
        let seen = Self::read(&page)?;
        let is_same = |(seen, expected): (&Asset, &Asset)| {
            (&seen.address, &seen.base, seen.has_integrity, seen.needs_crossorigin)
                == (&expected.address, &expected.base, expected.has_integrity, expected.needs_crossorigin)
        };
        let is_as_meant = seen.0.len() == expected.0.len() && seen.0.iter().zip(&expected.0).all(is_same);
        is_as_meant.then_some(page)
    }
}

/// A page as it was before [`PageAssets::with_hashes`]: without the attributes that stand right after the names of its
/// tags, in the very form in which they are put there. `None` where no attribute could be put into it.
#[must_use]
pub fn without_hashes(html: &[u8]) -> Option<Vec<u8>> {
    let mut page = Vec::with_capacity(html.len());
    let mut from = 0;
    for asset in PageAssets::read(html)?.tags() {
        page.extend_from_slice(html.get(from..asset.after_name)?);
        from = asset.after_name.checked_add(added(html.get(asset.after_name..)?))?;
    }
    page.extend_from_slice(html.get(from..)?);
    Some(page)
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
    let (address, is_module) = match tag.name.as_slice() {
        b"script" => (text(tag, "src")?, is_word("type", &["module"])),
        _ if is_word("rel", &["modulepreload"]) => (text(tag, "href")?, true),
        _ if is_word("rel", &["stylesheet"])
            || (is_word("rel", &["preload"]) && is_word("as", &["script", "style"])) =>
        {
            (text(tag, "href")?, false)
        }
        _ => return None,
    };
    let after_name = tag.span.start.checked_add(1)?.checked_add(tag.name.len())?;
    let name = html.get(tag.span.start.checked_add(1)?..after_name)?;
    name.eq_ignore_ascii_case(&tag.name).then(|| Asset {
        address,
        base: base.cloned(),
        has_integrity: tag.attributes.contains_key(&b"integrity"[..]),
        needs_crossorigin: !is_module && !tag.attributes.contains_key(&b"crossorigin"[..]),
        after_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: [u8; 32] = [7; 32];

    /// The page with the hash at each of its tags, written short.
    fn hashed(html: &str) -> String {
        let assets = PageAssets::read(html.as_bytes()).unwrap();
        let hashes = vec![Some(Sha256::from(HASH)); assets.tags().len()];
        let page = assets.with_hashes(html.as_bytes(), &hashes).unwrap();
        let attribute = format!(" integrity=\"{}\"", metadata(&Sha256::from(HASH)));
        String::from_utf8(page).unwrap().replace(&attribute, "#").replace("# crossorigin=\"\"", "#!")
    }

    #[test]
    fn scripts_and_style_sheets_get_their_hash() {
        for page in [
            "<script#! src=a.js></script>",
            "<SCRIPT#! SRC='a.js'></SCRIPT>",
            "<script#!/src=a.js></script>",
            "<script#!\r\nsrc=a.js></script>\r\n<link#! rel=stylesheet href=b.css>",
            "<script#! crossorigin2 src=a.js></script>",
            "<script# crossorigin src=a.js></script>",
            "<script# type=module src=a.js></script>",
            "<link# rel=modulepreload href=a.js>",
            "<link#! rel=preload as=style href=a.css><link rel=preload as=font href=a.woff2>",
            "<link#! rel='alternate StyleSheet' href=a.css/>",
            "<link rel=icon href=a.svg><script>1</script><script type=importmap>{}</script>",
            "<script integrity=sha256-x src=a.js></script><link rel=stylesheet integrity href=a.css>",
            "<!-- <script src=a.js></script> --><textarea><script src=a.js></textarea>",
            "<script>'<script src=a.js>'</script><p title='<script src=a.js>'>",
            "<template><script#! src=a.js></script></template>",
            "<script src",
            "",
        ] {
            assert_eq!(hashed(&page.replace("#!", "").replace('#', "")), page);
        }
    }

    #[test]
    fn nothing_else_is_taken_out_of_a_page() {
        let hash = metadata(&Sha256::from(HASH));
        for page in [
            format!("<script  integrity=\"{hash}\" src=a.js></script>"),
            format!("<script src=a.js integrity=\"{hash}\"></script>"),
            format!("<script integrity='{hash}' src=a.js></script>"),
            format!("<script integrity=\"{hash} {hash}\" src=a.js></script>"),
            format!("<p integrity=\"{hash}\"><!--<script integrity=\"{hash}\" src=a.js>-->"),
        ] {
            assert_eq!(without_hashes(page.as_bytes()).as_deref(), Some(page.as_bytes()));
        }
    }

    #[test]
    fn an_address_is_read_as_a_browser_reads_it() {
        let page =
            PageAssets::read(b"<script src='a?b&amp;c'></script><base href=/x/><base href=/y/><script src=d>").unwrap();
        let seen: Vec<_> = page.tags().iter().map(|tag| (tag.address.as_str(), tag.base.as_deref())).collect();
        assert_eq!(seen, [("a?b&c", None), ("d", Some("/x/"))]);
        assert_eq!(PageAssets::read(b"\xff\xfe<\0"), None);
    }

    proptest! {
        /// Without the attributes that were put into it, a page is what it was.
        #[test]
        fn no_other_byte_of_a_page_changes(html in "(<script |<link rel=stylesheet |src=a.js|href=b|>|</script>|<!--|-->|[a-z\"'>/ \\r\\n<]){0,30}") {
            let assets = PageAssets::read(html.as_bytes()).unwrap();
            let hashes = vec![Some(Sha256::from(HASH)); assets.tags().len()];
            if let Some(page) = assets.with_hashes(html.as_bytes(), &hashes) {
                prop_assert_eq!(without_hashes(&page), Some(html.as_bytes().to_vec()));
                let page = String::from_utf8(page).unwrap();
                let added = format!(" integrity=\"{}\"", metadata(&Sha256::from(HASH)));
                prop_assert_eq!(page.replace(&format!("{added} crossorigin=\"\""), "").replace(&added, ""), html);
            }
        }
    }
}
