//! `Accept-Encoding`: a refused encoding is never sent while another is acceptable.

#![no_main]

use devanture_site::negotiate::{Acceptable, Coding};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let available: Vec<(Coding, u64)> = Coding::ALL.into_iter().zip([1_000, 300, 280, 250]).collect();
    let acceptable = Acceptable::parse(Some(value));
    let (coding, _) = available[acceptable.choose(&available)];
    let any = Coding::ALL.into_iter().any(|coding| acceptable.takes(coding));
    assert!(acceptable.takes(coding) || (!any && coding == Coding::Identity));
});
