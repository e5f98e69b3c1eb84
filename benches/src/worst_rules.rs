//! Most expensive rules of a site within the limits of a version, and the most expensive path.

/// Path of one segment with the maximum length that is matched against parts of segments.
#[must_use]
pub fn path() -> String {
    format!("/{}", "x".repeat(2_047))
}

/// `_redirects` and `_headers` in Netlify's meaning, of which only the last rules apply.
///
/// With 9,960 rules the files are within the default of `rules_max`; the rules have 97,000 conditions, 99,660 segments
/// and fields for one path, and 100 patterns that cost 900 of 1,200, the maximum without values.
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

/// `_redirects` in Cloudflare's meaning: each rule matches the path, and the capture makes the target too long, so that
/// the search fills the maximum number of targets, and then as many again in order.
#[must_use]
pub fn cloudflare() -> String {
    (0..100).map(|rule| format!("/*x:a{rule} /y/{} 301\n", ":splat".repeat(5))).collect()
}
