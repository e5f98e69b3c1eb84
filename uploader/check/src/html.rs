//! Links, assets and anchors of a page.

use html5gum::{DefaultEmitter, Spanned, StartTag, Token, Tokenizer};

use super::css;

/// The use of an address, which decides the answering code, and a browser's reaction to a missing encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// A link for a person.
    Link,
    /// The target of a form, sent by GET or by POST.
    Form { is_post: bool },
    /// A page within the page.
    Frame,
    /// A script, style, font, …: browsers refuse to load these without encryption.
    Asset,
    /// An image, sound or film, which a browser loads with encryption instead (Mixed Content §4.1).
    Media,
}

/// An address in a page or style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The offset of the address, or of its attribute.
    pub(crate) at: usize,
    /// The text.
    pub(crate) target: String,
    /// The use.
    pub(crate) used: Use,
    /// The element and the attribute, such as `a href`.
    pub(crate) within: &'static str,
}

/// The parsed page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The `<base>`, if any.
    pub(crate) base: Option<String>,
    /// The addresses, in order.
    pub(crate) references: Vec<Reference>,
    /// The targets of fragments.
    pub(crate) ids: Vec<String>,
}

/// Reads a page.
pub(crate) fn scan(html: &[u8]) -> Page {
    let mut page = Page::default();
    read(html, 0, &mut page, true);
    page
}

/// Reads a style sheet.
pub(crate) fn scan_css(text: &[u8]) -> Vec<Reference> {
    let mut references = Vec::new();
    styles(text, 0, None, &mut references);
    references
}

type Tag = StartTag<usize>;

/// The relevant text of an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Style,
    Noscript,
}

fn read(html: &[u8], offset: usize, page: &mut Page, enters_noscript: bool) {
    // A tab counts like a line end, and keeps the offset of every byte: the tokenizer makes one byte of CR and LF.
    let plain: Vec<u8> = html.iter().map(|byte| if *byte == b'\r' { b'\t' } else { *byte }).collect();
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(true);
    let mut within = Within::Nothing;
    let mut text: (usize, Vec<u8>) = (0, Vec::new());
    for token in Tokenizer::new_with_emitter(&plain[..], emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                within = match tag.name.as_slice() {
                    b"style" => Within::Style,
                    b"noscript" if enters_noscript => Within::Noscript,
                    _ => Within::Nothing,
                };
                text.1.clear();
                Element { tag: &tag, offset, page }.look();
            }
            Token::String(Spanned { value, span }) if within != Within::Nothing => {
                if text.1.is_empty() {
                    text.0 = span.start;
                }
                text.1.extend_from_slice(&value);
            }
            Token::EndTag(_) => {
                let at = offset + text.0;
                match within {
                    Within::Style => styles(&text.1, at, None, &mut page.references),
                    // The content shown by a browser without scripts.
                    Within::Noscript => read(&text.1, at, page, false),
                    Within::Nothing => {}
                }
                within = Within::Nothing;
                text.1.clear();
            }
            _ => {}
        }
    }
}

/// Reads a style sheet that begins at `offset` of its file; with `at`, all findings are reported there.
fn styles(css: &[u8], offset: usize, at: Option<usize>, references: &mut Vec<Reference>) {
    css::scan(&String::from_utf8_lossy(css), &mut |found| {
        let (used, within) = match found.is_import {
            true => (Use::Asset, "@import"),
            // The use is unknown here: a font, which a browser refuses, or an image.
            false => (Use::Media, "url()"),
        };
        let at = at.unwrap_or(offset + found.at);
        references.push(Reference { at, target: found.target, used, within });
    });
}

struct Element<'e> {
    tag: &'e Tag,
    offset: usize,
    page: &'e mut Page,
}

impl Element<'_> {
    /// Returns the value of an attribute and its offset.
    fn value(&self, name: &str) -> Option<(String, usize)> {
        let value = self.tag.attributes.get(name.as_bytes())?;
        Some((String::from_utf8_lossy(value).into_owned(), self.offset + value.span.start))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|(text, _)| text)
    }

    fn add(&mut self, name: &str, used: Use, within: &'static str) {
        if let Some((target, at)) = self.value(name) {
            self.page.references.push(Reference { at, target, used, within });
        }
    }

    fn set(&mut self, name: &str, within: &'static str) {
        let Some((text, at)) = self.value(name) else { return };
        for target in candidates(&text) {
            // An image of a set is not loaded with encryption instead (Mixed Content §4.1), but refused.
            self.page.references.push(Reference { at, target: target.to_owned(), used: Use::Asset, within });
        }
    }

    fn look(&mut self) {
        self.ids();
        if let Some((style, at)) = self.value("style") {
            styles(style.as_bytes(), 0, Some(at), &mut self.page.references);
        }
        match self.tag.name.as_slice() {
            b"a" => {
                self.add("href", Use::Link, "a href");
                self.add("xlink:href", Use::Link, "a href");
            }
            b"area" => self.add("href", Use::Link, "area href"),
            b"audio" => self.add("src", Use::Media, "audio src"),
            b"base" if self.page.base.is_none() => self.page.base = self.text("href"),
            b"body" | b"table" | b"td" | b"th" => self.add("background", Use::Media, "background"),
            b"button" => self.form("formaction", "formmethod", "button formaction"),
            b"embed" => self.add("src", Use::Asset, "embed src"),
            b"form" => self.form("action", "method", "form action"),
            b"frame" => self.add("src", Use::Frame, "frame src"),
            b"iframe" => self.add("src", Use::Frame, "iframe src"),
            b"image" | b"feimage" => {
                self.add("href", Use::Media, "image href");
                self.add("xlink:href", Use::Media, "image href");
            }
            b"img" => {
                self.add("src", Use::Media, "img src");
                self.set("srcset", "img srcset");
            }
            b"input" => {
                if self.text("type").is_some_and(|kind| kind.eq_ignore_ascii_case("image")) {
                    self.add("src", Use::Media, "input src");
                }
                self.form("formaction", "formmethod", "input formaction");
            }
            b"link" => self.link(),
            b"meta" => self.meta(),
            b"object" => self.add("data", Use::Asset, "object data"),
            b"script" => self.add("src", Use::Asset, "script src"),
            b"source" => {
                self.add("src", Use::Media, "source src");
                self.set("srcset", "source srcset");
            }
            b"track" => self.add("src", Use::Asset, "track src"),
            b"use" => {
                self.add("href", Use::Asset, "use href");
                self.add("xlink:href", Use::Asset, "use href");
            }
            b"video" => {
                self.add("src", Use::Media, "video src");
                self.add("poster", Use::Media, "video poster");
            }
            _ => {}
        }
    }

    fn ids(&mut self) {
        self.page.ids.extend(self.text("id"));
        if self.tag.name.as_slice() == b"a" {
            self.page.ids.extend(self.text("name"));
        }
    }

    fn form(&mut self, action: &str, method: &str, within: &'static str) {
        let method = self.text(method).unwrap_or_default();
        if !method.eq_ignore_ascii_case("dialog") {
            self.add(action, Use::Form { is_post: method.eq_ignore_ascii_case("post") }, within);
        }
    }

    /// Reads a `link`, with its use in `rel`.
    fn link(&mut self) {
        let rel = self.text("rel").unwrap_or_default().to_ascii_lowercase();
        let has = |word: &str| rel.split_ascii_whitespace().any(|own| own == word);
        let is_any = |words: &[&str]| words.iter().any(|word| has(word));
        if is_any(&[
            "icon",
            "apple-touch-icon",
            "apple-touch-icon-precomposed",
            "apple-touch-startup-image",
            "mask-icon",
        ]) {
            self.add("href", Use::Media, "link href");
        } else if is_any(&["stylesheet", "preload", "modulepreload", "manifest", "prefetch"]) {
            self.add("href", Use::Asset, "link href");
        } else if is_any(&["alternate", "amphtml", "author", "canonical", "help", "license", "next", "prev", "search"])
        {
            self.add("href", Use::Link, "link href");
        }
        self.set("imagesrcset", "link imagesrcset");
    }

    fn meta(&mut self) {
        let is_refresh = self.text("http-equiv").is_some_and(|text| text.trim().eq_ignore_ascii_case("refresh"));
        if let (true, Some((content, at))) = (is_refresh, self.value("content"))
            && let Some(target) = refresh_target(&content)
        {
            let target = target.to_owned();
            self.page.references.push(Reference { at, target, used: Use::Link, within: "meta refresh" });
        }
    }
}

/// The addresses of a `srcset` (HTML, "parse a srcset attribute").
pub(crate) fn candidates(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return all;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (url, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let bare = url.trim_end_matches(',');
        if !bare.is_empty() {
            all.push(bare);
        }
        rest = after;
        if bare.len() == url.len() {
            // Descriptors, in which a comma may be within parentheses.
            let mut depth = 0_usize;
            let end = rest.find(|c: char| {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                c == ',' && depth == 0
            });
            rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
        }
    }
}

/// Returns the target of a refresh (HTML, "shared declarative refresh steps").
fn refresh_target(content: &str) -> Option<&str> {
    let rest = content.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == ',');
    let is_url = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("url"));
    let after = if is_url { rest.get(3..).unwrap_or_default().trim_start().strip_prefix('=') } else { None };
    let rest = after.map_or(rest, str::trim_start);
    let target = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest.get(1..).unwrap_or_default().split(quote).next().unwrap_or_default(),
        _ => rest,
    };
    (!target.trim().is_empty()).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn references(html: &str) -> Vec<String> {
        let page = scan(html.as_bytes());
        page.references.iter().map(|r| format!("{} {} {:?}", r.within, r.target, r.used)).collect()
    }

    #[test]
    fn every_address_of_a_page_is_found() {
        for (html, expected) in [
            ("<a href=/x>", &["a href /x Link"][..]),
            ("<a href='/x?a=1&amp;b=2'>", &["a href /x?a=1&b=2 Link"]),
            ("<A HREF=/x><!-- <a href=/no> --><script>'<a href=/no>'</script>", &["a href /x Link"]),
            (
                "<img src=a.png srcset='b.png 1x, c.png 2x'>",
                &["img src a.png Media", "img srcset b.png Asset", "img srcset c.png Asset"],
            ),
            ("<link rel='preload stylesheet' href=a.css><link rel=preconnect href=//x>", &["link href a.css Asset"]),
            (
                "<link rel=canonical href=/a><link rel='shortcut icon' href=i.ico>",
                &["link href /a Link", "link href i.ico Media"],
            ),
            ("<script src=a.js></script><iframe src=/f></iframe>", &["script src a.js Asset", "iframe src /f Frame"]),
            (
                "<form action=/go method=POST><button formaction=/to>",
                &["form action /go Form { is_post: true }", "button formaction /to Form { is_post: false }"],
            ),
            ("<meta http-equiv=Refresh content=\"0; URL='/new'\">", &["meta refresh /new Link"]),
            (
                "<style>a{b:url(x.png)}</style><p style='background:url(&quot;y.png&quot;)'>",
                &["url() x.png Media", "url() y.png Media"],
            ),
            ("<noscript><img src=n.png></noscript>", &["img src n.png Media"]),
            (
                "<video src=v.mp4 poster=p.jpg><source src=s.webm><track src=t.vtt>",
                &[
                    "video src v.mp4 Media",
                    "video poster p.jpg Media",
                    "source src s.webm Media",
                    "track src t.vtt Asset",
                ],
            ),
            ("<svg><use href='#a'/><image xlink:href=i.png /></svg>", &["use href #a Asset", "image href i.png Media"]),
            ("<title><a href=/no></title><textarea><a href=/no></textarea>", &[]),
        ] {
            assert_eq!(references(html), expected, "{html}");
        }
    }

    #[test]
    fn a_page_says_its_base_and_its_places() {
        let page = scan(b"<base href=/docs/><base href=/no><h1 id=top>T</h1><a name=old></a><p id='a b'>");
        assert_eq!(page.base.as_deref(), Some("/docs/"));
        assert_eq!(page.ids, ["top", "old", "a b"]);
    }

    #[test]
    fn places_are_bytes_of_the_file() {
        let html =
            "<p>\u{fc}\r\n\r\n<a class=x href=\"/x\">\r\n<style>\r\n\u{fc} a{b:url(y.png)}</style>\r\n<img src=z.png>";
        let page = scan(html.as_bytes());
        let at: Vec<&str> = page.references.iter().map(|r| &html[r.at..]).collect();
        assert!(at[0].starts_with("href="), "{at:?}");
        assert!(at[1].starts_with("url(y.png)"), "{at:?}");
        assert!(at[2].starts_with("src=z.png"), "{at:?}");
    }

    #[test]
    fn a_set_of_images_is_taken_apart() {
        for (text, expected) in [
            ("a.png", &["a.png"][..]),
            ("a.png 1x,b.png 2x", &["a.png", "b.png"]),
            ("a.png, b.png", &["a.png", "b.png"]),
            (" ,, a.png 100w , data:image/png;base64,AA== 2x", &["a.png", "data:image/png;base64,AA=="]),
            ("a,b.png 1x", &["a,b.png"]),
            ("a.png (1x,2x), b.png", &["a.png", "b.png"]),
            ("", &[]),
        ] {
            assert_eq!(candidates(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_to_its_end(html in prop::collection::vec(any::<u8>(), 0..200)) {
            let page = scan(&html);
            prop_assert!(page.references.iter().all(|reference| reference.at <= html.len()));
        }

        #[test]
        fn a_page_of_pieces_is_read(html in "(<a href=|<style>|</style>|<noscript>|url\\(|[a-z\"'> /\\r\\n]){0,20}") {
            let page = scan(html.as_bytes());
            prop_assert!(page.references.iter().all(|reference| reference.at <= html.len()));
        }
    }
}
