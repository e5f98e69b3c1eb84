//! Puts the tag of the script that reloads a page into the page, where a browser runs the script.

use html5gum::{DefaultEmitter, Token, Tokenizer};

use super::reload::{SCRIPT_PATH, script_integrity};

/// The possible beginning of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The beginnings of texts in UTF-16, which cannot contain a tag in ASCII.
const WIDE_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Returns the tag. The script is external and of the page's own origin, so that `script-src 'self'` allows it; the tag
/// has a hash, so that an `Integrity-Policy` allows the script; and `data-page` names the page of the tag.
pub(super) fn tag(page: &str) -> String {
    let integrity = script_integrity();
    format!(r#"<script src="{SCRIPT_PATH}" integrity="{integrity}" crossorigin="" data-page="{page}" defer></script>"#)
}

/// Returns `html` with `tag`: before `</head>`, else before `<body>`, else before `</body>` or `</html>`, else at its
/// end, for a page without these; if none of them is a valid place, such as an end within an unclosed comment, at its
/// beginning. `None` if the text cannot contain a tag.
pub(super) fn inject(html: &[u8], tag: &str) -> Option<Vec<u8>> {
    if WIDE_MARKS.iter().any(|mark| html.starts_with(mark)) {
        return None;
    }
    let (places, before) = places(html);
    let put = |at: usize| {
        let (head, rest) = html.split_at_checked(at)?;
        Some([head, tag.as_bytes(), rest].concat())
    };
    // No browser runs a tag that the tokenizer does not see.
    places.into_iter().filter_map(put).find(|page| self::places(page).1 == before + 1)
}

/// Returns the places for the tag, best first, and the number of tags of the script.
fn places(html: &[u8]) -> (Vec<usize>, usize) {
    // A tab counts like a line end, and keeps the offset of every byte: the tokenizer makes one byte of CR and LF.
    let plain: Vec<u8> = html.iter().map(|byte| if *byte == b'\r' { b'\t' } else { *byte }).collect();
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(true);
    let (mut head, mut body, mut end) = (None, None, None);
    let mut start = if html.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let mut tags = 0;
    for token in Tokenizer::new_with_emitter(&plain[..], emitter) {
        let Ok(token) = token;
        match token {
            // Before the doctype, the tag would put the page into quirks mode.
            Token::Doctype(doctype) => start = start.max(doctype.span.end),
            Token::EndTag(tag) if tag.name.as_slice() == b"head" => head = head.or(Some(tag.span.start)),
            Token::StartTag(tag) if tag.name.as_slice() == b"body" => body = body.or(Some(tag.span.start)),
            Token::EndTag(tag) if matches!(tag.name.as_slice(), b"body" | b"html") => {
                end = end.or(Some(tag.span.start));
            }
            Token::StartTag(tag) if tag.name.as_slice() == b"script" => {
                let src = tag.attributes.get(&b"src"[..]);
                tags += usize::from(src.is_some_and(|src| src.value.as_slice() == SCRIPT_PATH.as_bytes()));
            }
            _ => {}
        }
    }
    ([head, body, end, Some(html.len()), Some(start)].into_iter().flatten().collect(), tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the page, with `|` at the place of the tag.
    fn marked(html: &str) -> String {
        let tag = tag("x");
        String::from_utf8(inject(html.as_bytes(), &tag).unwrap()).unwrap().replace(&tag, "|")
    }

    #[test]
    fn the_tag_stands_where_a_browser_runs_it() {
        for page in [
            "<!doctype html><html><head><title>a</title>|</head><body></body></html>",
            "<!doctype html><HTML><HEAD>|</HEAD ><BODY>",
            "<title>a</title>|<body class=\"x\"><p>b</body>",
            "<!doctype html><title>a</title><p>b|</body></html>",
            "<!doctype html><title>a</title><p>b|</html>\n",
            "<!doctype html><title>a</title><p>b|",
            "<li>a</li>|",
            "front alone|",
            "|",
            // Only similar to the end of a head.
            "<head><!-- </head> -->|</head>",
            "<head><script>\"</head>\"</script>|</head>",
            "<head><script><!-- <script> </head> </script> </head> --></script>|</head>",
            "<head><style>a::after{content:'</head>'}</style>|</head>",
            "<head><title></head></title>|</head>",
            "<head><meta content='</head>'>|</head>",
            "<p title=\"</head><body>\">a|",
            "<textarea></head></textarea>a|",
            // An unclosed element takes all that follows.
            "<!doctype html>|<p>a<!-- b",
            "|<p>a<script>b",
            "<!doctype html>|<title>a",
            "|<p class=\"",
            "\u{feff}|<textarea>",
            "<head>\r\n<title>a</title>\r\n|</head>\r\n",
        ] {
            assert_eq!(marked(&page.replace('|', "")), page);
        }
    }

    #[test]
    fn a_page_that_has_the_tag_already_gets_its_own() {
        let (old, new) = (tag("old"), tag("new"));
        let page = format!("<head>{old}</head>");
        assert_eq!(inject(page.as_bytes(), &new).unwrap(), format!("<head>{old}{new}</head>").into_bytes());
    }

    #[test]
    fn a_page_in_utf_16_stays_as_it_is() {
        assert_eq!(inject(b"\xff\xfe<\0p\0>\0", &tag("x")), None);
        assert_eq!(inject(b"\xfe\xff\0<\0p\0>", &tag("x")), None);
    }

    /// A piece of a page, and true if a tag may be put within it.
    fn piece() -> impl Strategy<Value = (String, bool)> {
        let open = prop::sample::select(vec![
            "<p>",
            "</p>",
            "text",
            "<html>",
            "<head>",
            "</head>",
            "<body class=a>",
            "</body>",
            "</html>",
            "<br/>",
            "é\n",
        ]);
        let closed = prop::sample::select(vec![
            "<!-- </head> <body> -->",
            "<script>let a = '</head></body>'</script>",
            "<style></head></style>",
            "<title></head></title>",
            "<textarea><body></textarea>",
            "<p title='</head>'>",
            "<script><!-- </head> --></script>",
        ]);
        prop_oneof![open.prop_map(|text| (text.to_owned(), true)), closed.prop_map(|text| (text.to_owned(), false))]
    }

    proptest! {
        #[test]
        fn the_tag_is_never_within_a_comment_a_script_or_an_attribute(pieces in prop::collection::vec(piece(), 0..12)) {
            let page: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
            let tag = tag("x");
            let injected = inject(page.as_bytes(), &tag).unwrap();
            let at = injected.windows(tag.len()).position(|window| window == tag.as_bytes()).unwrap();
            let mut begin = 0;
            for (text, is_open) in &pieces {
                let end = begin + text.len();
                prop_assert!(*is_open || at <= begin || at >= end, "{page} at {at}");
                begin = end;
            }
        }

        #[test]
        fn every_byte_of_a_page_stays_in_its_order(page in prop::collection::vec(any::<u8>(), 0..200)) {
            let tag = tag("x");
            if let Some(injected) = inject(&page, &tag) {
                let at = injected.windows(tag.len()).position(|window| window == tag.as_bytes()).unwrap();
                let without = [&injected[..at], &injected[at + tag.len()..]].concat();
                prop_assert_eq!(without, page);
            }
        }

        #[test]
        fn whatever_is_left_open_a_page_of_text_gets_its_tag(
            parts in prop::collection::vec(
                prop::sample::select(vec!["<", "!--", "-->", ">", "\"", "'", "script", "/", "head", "title", " ", "a", "=", "<!", "?"]),
                0..30,
            ),
        ) {
            let page = parts.concat();
            prop_assert!(inject(page.as_bytes(), &tag("x")).is_some(), "{}", page);
        }
    }
}
