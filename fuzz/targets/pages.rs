//! Pages and style sheets of a site, as parsed by `devanture check`.

#![no_main]

#[path = "../../uploader/check/src/css.rs"]
mod css;
#[allow(dead_code, reason = "the command line uses more of it")]
#[path = "../../uploader/check/src/html.rs"]
mod html;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let page = html::scan(bytes);
    assert!(page.references.iter().all(|reference| reference.at <= bytes.len()));
    let mut last = 0;
    // Invalid UTF-8 is replaced by three bytes, so that offsets are not compared with the input's length.
    for reference in html::scan_css(bytes) {
        assert!(reference.at >= last);
        last = reference.at;
    }
    for candidate in html::candidates(&String::from_utf8_lossy(bytes)) {
        assert!(!candidate.is_empty());
    }
});
