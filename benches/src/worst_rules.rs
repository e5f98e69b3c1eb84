//! The rules of a site that cost a request most, within all that a version may have, and the path that they cost most
//! at.

/// The path: as long as one that is compared with parts of segments may be, in one segment.
#[must_use]
pub fn path() -> String {
    format!("/{}", "x".repeat(2_047))
}

/// `_redirects` and `_headers` in Netlify's meaning, of which none but the last ones apply.
///
/// With 9,960 rules they are within the default of `rules_max`; they have 97,000 conditions, 99,660 segments and fields
/// for one path, and 100 patterns that cost 900 of 1,200, which is all that these come to without values.
#[must_use]
pub fn netlify() -> (String, String) {
    let cookies = |rule: u32| (0..9).map(|number| format!("c{rule}x{number}")).collect::<Vec<_>>().join(",");
    let redirects = (0..9_700).map(|rule| format!("/:a /b 301 Cookie={}\n", cookies(rule))).collect();
    let text = "x".repeat(500);
    let comparing = (0..100).map(|rule| format!("/*/*{text}{rule:02}*\n  X-A: 1\n"));
    let taken_away = "  ! X-A\n".repeat(499);
    let removing = (0..160).map(|rule| format!("/:a/*\n{taken_away}  ! X-B-{rule}\n"));
    (redirects, comparing.chain(removing).collect())
}

/// `_redirects` in Cloudflare's meaning: each takes the path, and what it captures makes its target too long, so that
/// the search fills as many as it may, and then as many again in their order.
#[must_use]
pub fn cloudflare() -> String {
    (0..100).map(|rule| format!("/*x:a{rule} /y/{} 301\n", ":splat".repeat(5))).collect()
}
