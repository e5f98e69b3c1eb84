//! Pages with inserted integrity hashes: all other bytes stay unchanged. Also parses browser reports.

#![no_main]

use devanture_config::Sha256;
use devanture_site::integrity::{ModuleHashes, PageAssets, integrity_reports, metadata, script_addresses, without_hashes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(integrity_reports(bytes, "shop.example.org", 1).iter().all(|report| report.count == 1));
    assert!(script_addresses(bytes).iter().all(|address| !address.text.is_empty()));
    let hash = Sha256::from([7; 32]);
    let Some(assets) = PageAssets::read(bytes) else { return };
    let hashes = vec![Some(hash); assets.tags().len()];
    let mut modules = ModuleHashes::default();
    modules.add("/a.js", &hash);
    if let Some(page) = assets.with_hashes(bytes, &hashes, &modules) {
        assert_eq!(without_hashes(&page.html), without_hashes(bytes));
    }
    let Some(page) = assets.with_hashes(bytes, &hashes, &ModuleHashes::default()).map(|page| page.html) else { return };
    let added = format!(" integrity=\"{}\"", metadata(&hash));
    let (mut rest, mut from) = (&page[..], bytes);
    while let (Some(first), Some(own)) = (rest.first(), from.first()) {
        if let Some(after) = rest.strip_prefix(added.as_bytes()).filter(|_| !from.starts_with(added.as_bytes())) {
            rest = after.strip_prefix(&b" crossorigin=\"\""[..]).unwrap_or(after);
            continue;
        }
        assert_eq!(first, own);
        (rest, from) = (&rest[1..], &from[1..]);
    }
    assert!(rest.is_empty() && from.is_empty());
});
