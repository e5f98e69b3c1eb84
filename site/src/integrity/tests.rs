//! Tests of hashes in pages.

use super::*;
use proptest::prelude::*;

const HASH: [u8; 32] = [7; 32];

/// The page with the hash at each of its tags, in short form.
fn hashed(html: &str) -> String {
    let assets = PageAssets::read(html.as_bytes()).unwrap();
    let hashes = vec![Some(Sha256::from(HASH)); assets.tags().len()];
    let page = assets.with_hashes(html.as_bytes(), &hashes, &ModuleHashes::default()).unwrap().html;
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
        "<link#! rel=preload as=style href=a.css><link rel=preload as=font href=a.woff2><link#! rel=stylesheet href=a.css>",
        // A script inserts elements without `crossorigin`, which would not match a preload with the attribute.
        "<link rel=preload as=script href=b.js><link rel=preload as=style href=b.css>",
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

#[test]
fn a_page_costs_what_it_holds_and_one_that_holds_too_much_is_served_as_it_is() {
    let tags = |count: usize| "<link rel=stylesheet href=a>".repeat(count);
    let names = |count: usize, end: &str| {
        let names: Vec<String> = (0..count).map(|number| format!("\"{number}{end}\":\"/{number}{end}\"")).collect();
        format!("<script type=importmap>{{\"imports\":{{{}}}}}</script>", names.join(","))
    };
    let imports = |count: usize| (0..count).map(|number| format!("import'/{number}';")).collect::<String>();
    let long = |count: usize| "b".repeat(count);
    for (page, is_fit) in [
        (format!("<base href=/{}>{}", long(4_000), tags(TAGS_MAX)), true),
        (format!("<base href=/{}>{}", long(ADDRESS_BYTES_MAX), tags(1)), false),
        (tags(TAGS_MAX + 1), false),
        (format!("<script src=/{}></script>", long(ADDRESS_BYTES_MAX)), false),
        (format!("<script src='DATA:,{}'></script>", long(ADDRESS_BYTES_MAX)), true),
        (names(PREFIXES_MAX, "/"), true),
        (names(PREFIXES_MAX + 1, "/"), false),
        (names(NAMES_MAX + 1, ""), false),
        (format!("<script type=importmap>{{\"imports\":{{\"a\":\"/{}\"}}}}</script>", long(ADDRESS_BYTES_MAX)), false),
        (format!("<script>{}</script>", imports(INLINE_MAX)), true),
        (format!("<script>{}</script><script>import'/x'</script>", imports(INLINE_MAX)), false),
    ] {
        let assets = PageAssets::read(page.as_bytes()).unwrap();
        assert_eq!(assets.unfit(), (!is_fit).then_some(Unfit::TooMuch), "{}", &page[..60]);
        let hashes = vec![None; assets.tags().len()];
        assert_eq!(assets.with_hashes(page.as_bytes(), &hashes, &modules()).is_some(), is_fit, "{}", &page[..60]);
        // The base is stored once, however many tags are relative.
        assert!(assets.memory_bytes() < 10_000 + 10 * page.len(), "{} {}", assets.memory_bytes(), page.len());
    }
}

#[test]
fn a_page_that_browsers_read_by_other_rules_is_served_as_it_is() {
    let module = "<script type=module src=/m.js></script>";
    for (html, expected) in [
        ("<svg><path d=x /></svg><math></math><svg/>#", None),
        ("<svg><script href=/c.js /></svg>#", Some(Unfit::Foreign)),
        ("<math><script>1</script></math>#", Some(Unfit::Foreign)),
        ("<svg><template></svg>#", Some(Unfit::Foreign)),
        ("<svg><base href=https://cdn.example/></svg>#", Some(Unfit::Foreign)),
        ("<div><template shadowrootmode=open>#</template></div>", Some(Unfit::Shadow)),
        ("<template shadowrootmode=open><template>#</template></template>", Some(Unfit::Shadow)),
        ("<template shadowrootmode=open><p></template>#", None),
        ("<template>#</template>#", None),
        ("<frameset><noframes>#</noframes></frameset>", Some(Unfit::Frames)),
        ("<template><base href=https://cdn.example/></template>#", Some(Unfit::Base)),
        ("#<base href=https://cdn.example/>", Some(Unfit::Base)),
        ("<link rel=stylesheet href=a.css><base href=/x/>#", None),
        ("<base target=_blank><base href=/x/>#<base href=/y/>", None),
        ("<script type=importmap>{bad</script>#", Some(Unfit::Map)),
        ("<script type=importmap>[]</script>#", Some(Unfit::Map)),
    ] {
        let html = html.replace('#', module);
        let assets = PageAssets::read(html.as_bytes()).unwrap();
        assert_eq!(assets.unfit(), expected, "{html}");
        let hashes = vec![None; assets.tags().len()];
        assert_eq!(assets.with_hashes(html.as_bytes(), &hashes, &modules()).is_some(), expected.is_none(), "{html}");
    }
    let page = PageAssets::read(b"<body onload=\"import('/late.js')\">").unwrap();
    assert_eq!(page.inline(), [ScriptAddress { text: "/late.js".to_owned(), is_import: true }]);
}

fn modules() -> ModuleHashes {
    let mut modules = ModuleHashes::default();
    for address in ["/a.js", "/b.js?v=1", "//no.js", "no.js", "/n\"o.js", "/n<o.js"] {
        modules.add(address, &Sha256::from(HASH));
    }
    modules
}

/// The page with the hashes of two modules, in short form.
fn mapped(html: &str) -> String {
    let page = PageAssets::read(html.as_bytes()).unwrap().with_hashes(html.as_bytes(), &[], &modules()).unwrap();
    assert_eq!(without_hashes(&page.html).as_deref(), Some(html.as_bytes()));
    let (html, hash) = (String::from_utf8(page.html).unwrap(), metadata(&Sha256::from(HASH)));
    if let Some(map) = page.map {
        assert!(html.replace("\r\n", "\n").contains(&String::from_utf8(map).unwrap()), "{html}");
    }
    html.replace(&format!("\"/a.js\":\"{hash}\",\"/b.js?v=1\":\"{hash}\""), "#")
        .replace("<script type=\"importmap\">{\"integrity\" :{#}}</script>", "##")
}

#[test]
fn hashes_of_modules_come_before_the_first_script_or_into_the_map_of_the_page() {
    for (html, expected) in [
        ("<p><script type=module src=m.js></script>", "<p>##<script type=module src=m.js></script>"),
        ("<link rel=icon><link rel=modulepreload href=m.js>", "<link rel=icon>##<link rel=modulepreload href=m.js>"),
        (
            "<script type=text/json>1</script><script>1</script>",
            "<script type=text/json>1</script>##<script>1</script>",
        ),
        (
            "<template><script src=a></script></template><script>",
            "<template><script src=a></script></template>##<script>",
        ),
        (
            "<script>1</script><script type=importmap>\r\n {\"imports\":{}}</script>",
            "<script>1</script><script type=importmap>\r\n {\"integrity\"\t:{#},\"imports\":{}}</script>",
        ),
        ("<script type=importmap>{ }</script>", "<script type=importmap>{\"integrity\"\t:{#} }</script>"),
        // The page's own hashes stay.
        ("<script type=importmap>{\"integrity\":{}}</script>", "<script type=importmap>{\"integrity\":{}}</script>"),
        ("<p>no script", "<p>no script"),
    ] {
        assert_eq!(mapped(html), expected);
    }
    let refused = "<meta http-equiv=Content-Security-Policy content=\"script-src 'self'\"><script src=a.js></script>";
    assert_eq!(mapped(refused), refused);
    assert!(PageAssets::read(refused.as_bytes()).unwrap().refuses_inline());
}

#[test]
fn a_map_in_a_template_is_none_of_the_page() {
    let hash = metadata(&Sha256::from(HASH));
    let template =
        format!("<template><script type=\"importmap\">{{\"integrity\" :{{\"/c.js\":\"{hash}\"}}}}</script></template>");
    let page = format!("{template}<script type=module src=m.js></script>");
    assert_eq!(mapped(&page), format!("{template}##<script type=module src=m.js></script>"));
}

#[test]
fn a_map_that_only_looks_like_the_edge_s_stays() {
    let hash = metadata(&Sha256::from(HASH));
    for page in [
        format!("<script type=\"importmap\">{{\"integrity\":{{\"/a.js\":\"{hash}\"}}}}</script>"),
        format!("<script type=\"importmap\">{{\"integrity\" :{{\"/a.js\":\"{hash}\"}},\"imports\":{{}}}}</script>"),
        format!("<script type=\"importmap\">{{\"integrity\" :{{\"https://a/\":\"{hash}\"}}}}</script>"),
        "<script type=\"importmap\">{\"integrity\" :{}}</script>".to_owned(),
        format!("<script type=\"module\">{{\"integrity\"\t:{{\"/a.js\":\"{hash}\"}},1}}</script>"),
    ] {
        assert_eq!(without_hashes(page.as_bytes()).as_deref(), Some(page.as_bytes()));
    }
}

proptest! {
    /// Without the inserted attributes, a page equals the original.
    #[test]
    fn no_other_byte_of_a_page_changes(html in "(<script |<script type=importmap>|\\{\"imports\":\\{\\}\\}|<template>|<link rel=stylesheet |src=a.js|href=b|>|</script>|<!--|-->|[a-z\"'>/ \\r\\n<]){0,30}") {
        let assets = PageAssets::read(html.as_bytes()).unwrap();
        let hashes = vec![Some(Sha256::from(HASH)); assets.tags().len()];
        if let Some(page) = assets.with_hashes(html.as_bytes(), &hashes, &modules()) {
            prop_assert_eq!(without_hashes(&page.html), Some(html.as_bytes().to_vec()));
        }
        if let Some(page) = assets.with_hashes(html.as_bytes(), &hashes, &ModuleHashes::default()) {
            prop_assert_eq!(without_hashes(&page.html), Some(html.as_bytes().to_vec()));
            let page = String::from_utf8(page.html).unwrap();
            let added = format!(" integrity=\"{}\"", metadata(&Sha256::from(HASH)));
            prop_assert_eq!(page.replace(&format!("{added} crossorigin=\"\""), "").replace(&added, ""), html);
        }
    }
}
