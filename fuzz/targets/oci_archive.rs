//! OCI archives: a copy that is safe for a container engine, within the limit of layer bytes, or a refusal.

#![no_main]

use devanture_host::containers::checked_copy;
use libfuzzer_sys::fuzz_target;

/// Maximum unpacked bytes of layers.
const BYTES_MAX: u64 = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let mut copy = Vec::new();
    if checked_copy(bytes, &mut copy, BYTES_MAX).is_ok() {
        // An accepted copy is accepted again, unchanged.
        let mut again = Vec::new();
        checked_copy(copy.as_slice(), &mut again, BYTES_MAX).expect("a copy is refused");
        assert_eq!(copy, again);
    }
});
