//! Decides whether a file may be labelled UTF-8 in `Content-Type`: valid UTF-8 without a conflicting declaration.

/// Bytes of a file searched for a declaration, as browsers do for HTML.
pub const HEAD_BYTES_MAX: usize = 1_024;

/// Checks a file that arrives in pieces.
#[derive(Debug, Clone)]
pub struct Utf8Probe {
    declaration: Option<Declaration>,
    head: Vec<u8>,
    /// The beginning of a character that the next piece completes.
    unfinished: Vec<u8>,
    is_utf8: bool,
}

/// Form of the encoding declaration of a kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declaration {
    /// `@charset "…";` as the very first bytes.
    Css,
    /// `<meta charset=…>` or `<meta … content="…; charset=…">`, or the form of XML.
    Html,
    /// `<?xml … encoding="…"?>`
    Xml,
}

impl Utf8Probe {
    /// Begins a check of the file at `path`, whose ending selects the form of a declaration.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let declaration = match super::media::extension(path).as_deref() {
            Some("css") => Some(Declaration::Css),
            Some("htm" | "html" | "shtml" | "xht" | "xhtml") => Some(Declaration::Html),
            Some("atom" | "rss" | "svg" | "svgz" | "xml" | "xsl" | "xslt") => Some(Declaration::Xml),
            _ => None,
        };
        Self { declaration, head: Vec::new(), unfinished: Vec::new(), is_utf8: true }
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        if !self.is_utf8 {
            return;
        }
        if self.declaration.is_some() {
            let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
            self.head.extend(piece.iter().take(room));
        }
        let mut rest = piece;
        while !self.unfinished.is_empty() {
            let [next, after @ ..] = rest else { return };
            self.unfinished.push(*next);
            rest = after;
            match str::from_utf8(&self.unfinished) {
                Ok(_) => self.unfinished.clear(),
                Err(error) if error.error_len().is_some() => {
                    self.is_utf8 = false;
                    return;
                }
                Err(_) => {}
            }
        }
        if let Err(error) = str::from_utf8(rest) {
            match error.error_len() {
                Some(_) => self.is_utf8 = false,
                // The piece ends within a character, of which at most three bytes are here.
                None => self.unfinished.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default()),
            }
        }
    }

    /// Returns true if the rest of the file cannot change the result.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !self.is_utf8
    }

    /// Returns true if the whole file is UTF-8 and declares no other encoding.
    #[must_use]
    pub fn finish(self) -> bool {
        self.is_utf8 && self.unfinished.is_empty() && !self.declares_another()
    }

    fn declares_another(&self) -> bool {
        let head = self.head.to_ascii_lowercase();
        let named = match self.declaration {
            None => None,
            Some(Declaration::Css) => head.strip_prefix(b"@charset \"").map(name_at),
            Some(Declaration::Html) => meta_charset(&head).or_else(|| xml_encoding(&head)),
            Some(Declaration::Xml) => xml_encoding(&head),
        };
        named.is_some_and(|name| !matches!(name, b"" | b"utf-8" | b"utf8"))
    }
}

/// Returns true if `bytes`, the whole file at `path`, are UTF-8 and declare no other encoding.
#[must_use]
pub fn is_plain_utf8(path: &str, bytes: &[u8]) -> bool {
    let mut probe = Utf8Probe::new(path);
    probe.update(bytes);
    probe.finish()
}

fn xml_encoding(head: &[u8]) -> Option<&[u8]> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let declaration = head.strip_prefix(b"<?xml")?;
    let end = position(declaration, b"?>").unwrap_or(declaration.len());
    let (_, value) = cut(declaration.get(..end)?, b"encoding")?;
    let value = value.trim_ascii_start().strip_prefix(b"=")?;
    Some(name_at(value))
}

fn meta_charset(head: &[u8]) -> Option<&[u8]> {
    let mut rest = head;
    while let Some((_, after)) = cut(rest, b"<meta") {
        let end = position(after, b">").unwrap_or(after.len());
        let (tag, next) = after.split_at_checked(end)?;
        if let Some((_, value)) = cut(tag, b"charset")
            && let Some(value) = value.trim_ascii_start().strip_prefix(b"=")
        {
            return Some(name_at(value));
        }
        rest = next;
    }
    None
}

/// The name at the start of `text`, quoted or not.
fn name_at(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"\"").or_else(|| text.strip_prefix(b"'")).unwrap_or(text);
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\'' | b';' | b'>' | b'/' | b'?') || byte.is_ascii_whitespace();
    text.get(..text.iter().position(is_end).unwrap_or(text.len())).unwrap_or(text)
}

/// The texts before and after the first `middle`.
fn cut<'a>(text: &'a [u8], middle: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (before, after) = text.split_at_checked(position(text, middle)?)?;
    Some((before, after.get(middle.len()..)?))
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    #[test]
    fn bytes_are_utf8_unless_they_are_not_or_say_otherwise() {
        let latin = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a/>";
        #[rustfmt::skip]
        let cases: &[(&str, &[u8], bool)] = &[
            ("a.txt",   b"",                                                                    true),
            ("a.txt",   "grüße 🎈".as_bytes(),                                                  true),
            ("a.txt",   b"gr\xfc\xdfe",                                                         false),
            ("a.txt",   b"cut \xf0\x9f\x8e",                                                    false),
            ("a.txt",   b"\xff\xfea\0",                                                         false), // UTF-16
            ("a.txt",   latin.as_bytes(),                                                       true),
            ("a.js",    b"'<meta charset=latin1>'",                                             true),
            ("a.xml",   b"<a/>",                                                                true),
            ("a.xml",   latin.as_bytes(),                                                       false),
            ("a.svg",   latin.as_bytes(),                                                       false),
            ("a.svgz",  latin.as_bytes(),                                                       false), // as it unpacks
            ("a.xml",   b"\xef\xbb\xbf<?xml version='1.0' encoding = 'UTF-8' ?><a/>",           true),
            ("a.xml",   b"<?xml version='1.0'?><a encoding='latin1'/>",                         true),
            ("a.html",  b"<!doctype html><meta charset=utf-8>",                                 true),
            ("a.html",  b"<!doctype html><META CHARSET='windows-1252'/>",                       false),
            ("a.html",  b"<meta name=x><meta http-equiv=content-type content='text/html; charset=latin1'>", false),
            ("a.html",  b"<meta name=charset content=x>",                                       true),
            ("a.xhtml", latin.as_bytes(),                                                       false),
            ("a.css",   b"@charset \"UTF-8\";",                                                 true),
            ("a.css",   b"@charset \"iso-8859-15\";",                                           false),
            ("a.css",   b" @charset \"iso-8859-15\";",                                          true),  // not the first bytes
        ];
        for (path, bytes, expected) in cases {
            assert_eq!(is_plain_utf8(path, bytes), *expected, "{path} {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_comes_after_a_byte_that_is_no_utf8_need_not_be_looked_at() {
        let mut probe = Utf8Probe::new("a.txt");
        for (piece, is_over) in [("grü".as_bytes(), false), (b"\xc3", false), (b"\x28", true), (b"all is well", true)]
        {
            probe.update(piece);
            assert_eq!(probe.is_over(), is_over, "{}", piece.escape_ascii());
        }
        assert!(!probe.finish());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in "\\PC{0,40}",
            extra in proptest::collection::vec(any::<u8>(), 0..3),
            cuts in proptest::collection::vec(0..5_usize, 0..40),
        ) {
            let bytes = [text.as_bytes(), &extra].concat();
            let mut probe = Utf8Probe::new("a.html");
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                probe.update(piece);
                rest = after;
            }
            prop_assert!(!probe.is_over() || str::from_utf8(&bytes).is_err());
            probe.update(rest);
            prop_assert!(probe.unfinished.len() < 4);
            prop_assert_eq!(probe.finish(), str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            for prefix in ["", "@charset \"", "<?xml", "<?xml encoding", "<meta", "<meta charset="] {
                for path in ["a.css", "a.html", "a.xml"] {
                    black_box(is_plain_utf8(path, &[prefix.as_bytes(), &bytes].concat()));
                }
            }
        }
    }
}
