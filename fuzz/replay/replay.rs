//! Runs each fuzz target with the inputs of its corpus, and with some new random inputs.
//!
//! A fuzzer requires a special compiler and flags; here the targets are compiled and linted like all tests.
#![allow(clippy::duplicate_mod, reason = "each target brings the modules that it needs")]

// The targets name the fuzzer's crate, whose macro this crate provides.
extern crate self as libfuzzer_sys;

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Maximum size of a new input in bytes.
const BYTES_MAX: usize = 2_048;

/// Runs a target with the files of the corpus, if any, and with new inputs.
fn replay(name: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    for file in corpus.read_dir().into_iter().flatten() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(path).unwrap());
    }
    let bytes = proptest::collection::vec(any::<u8>(), 0..BYTES_MAX);
    let ran = TestRunner::default().run(&bytes, |bytes| {
        run(&bytes);
        Ok(())
    });
    ran.unwrap();
}

/// Fails unless the names equal the targets, and each corpus belongs to a target.
fn check(names: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = |name: &str| -> BTreeSet<String> {
        let entries = folder.join(name).read_dir().unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let names: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(entries("targets"), names);
    assert!(entries("corpus").is_subset(&names));
}

/// Module and test for each target.
macro_rules! targets {
    ($($name:ident at $path:literal)*) => {
        $(
            #[allow(unused_attributes, reason = "each is the root of a program where a fuzzer runs it")]
            #[path = $path]
            mod $name;
        )*

        mod tests {
            const NAMES: &[&str] = &[$(stringify!($name)),*];

            #[test]
            fn every_target_and_every_corpus_is_here() {
                super::check(NAMES);
            }

            $(
                #[test]
                fn $name() {
                    super::replay(stringify!($name), super::$name::run);
                }
            )*
        }
    };
}

targets! {
    accept_encoding at "../targets/accept_encoding.rs"
    answer at "../targets/answer.rs"
    blob_batch at "../targets/blob_batch.rs"
    chunks at "../targets/chunks.rs"
    cron at "../targets/cron.rs"
    date at "../targets/date.rs"
    dictionary at "../targets/dictionary.rs"
    engines at "../targets/engines.rs"
    entity_tags at "../targets/entity_tags.rs"
    expiry at "../targets/expiry.rs"
    fastcgi at "../targets/fastcgi.rs"
    forwarded at "../targets/forwarded.rs"
    hpack at "../targets/hpack.rs"
    http1_heads at "../targets/http1_heads.rs"
    http2_connection at "../targets/http2_connection.rs"
    http2_frames at "../targets/http2_frames.rs"
    http3_connection at "../targets/http3_connection.rs"
    identity_token at "../targets/identity_token.rs"
    integrity at "../targets/integrity.rs"
    oci_archive at "../targets/oci_archive.rs"
    pages at "../targets/pages.rs"
    procfile at "../targets/procfile.rs"
    qpack at "../targets/qpack.rs"
    range at "../targets/range.rs"
    rules at "../targets/rules.rs"
    run_stream at "../targets/run_stream.rs"
    signatures at "../targets/signatures.rs"
    site_file at "../targets/site_file.rs"
    statuses at "../targets/statuses.rs"
    target at "../targets/target.rs"
    variants_object at "../targets/variants_object.rs"
    webauthn at "../targets/webauthn.rs"
}

// After the targets, which refer to the macro by path.
/// Defines the function of bytes that a fuzzer would run repeatedly.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $kind:ty| $body:block) => {
        pub fn run(bytes: &[u8]) {
            let bytes = ::arbitrary::Unstructured::new(bytes);
            if let Ok($input) = <$kind as ::arbitrary::Arbitrary<'_>>::arbitrary_take_rest(bytes) $body
        }
    };
}
