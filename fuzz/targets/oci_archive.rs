//! OCI archives: a copy that an engine may have, within the bytes that its layers may have, or a refusal.

#![no_main]

use devanture_host::containers::checked_copy;
use libfuzzer_sys::fuzz_target;

/// Bytes that layers may have once they are unpacked.
const BYTES_MAX: u64 = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let mut copy = Vec::new();
    if checked_copy(bytes, &mut copy, BYTES_MAX).is_ok() {
        // What was let pass is let pass again, and changes no more.
        let mut again = Vec::new();
        checked_copy(copy.as_slice(), &mut again, BYTES_MAX).expect("a copy is refused");
        assert_eq!(copy, again);
    }
});
