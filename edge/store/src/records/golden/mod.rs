//! Golden files: one record of each kind, byte for byte as on the disk, in a file named by the key.
//!
//! A test states the value of each in Rust, with every member. A difference is a change of the format: of records of
//! earlier releases, which must stay readable, and of records that earlier releases read after a downgrade.
//! `UPDATE_FIXTURES=1` writes the files again.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(test)]
mod tests;

/// The kinds of records with types and golden tests in `devanture-control`.
pub const OF_CONTROL: [&str; 10] = [
    "acme/{authority}/account",
    "acme/{authority}/certificates/{name}",
    "acme/{authority}/orders",
    "acme/{authority}/orders/{name}",
    "acme/{authority}/proofs/{name}",
    "changes-paused",
    "copy",
    "duties/{duty}",
    "nodes/{node}",
    "tasks/{task}",
];

/// Returns the golden file for the key of a kind of record.
fn file(key: &str) -> PathBuf {
    let name = key.replace(['{', '}'], "").replace('/', ".");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/records/golden").join(name).with_added_extension("json")
}

/// Checks that the golden file of `key` is read as `value`, and that both are written as its bytes.
///
/// # Panics
/// Panics on a difference.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a fixture of tests is not durable")]
pub fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(key: &str, value: &T) {
    let (path, written) = (file(key), serde_json::to_string(value).expect("a record is written as JSON"));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, format!("{written}\n")).expect("a golden file is written");
    }
    let golden = std::fs::read_to_string(&path);
    let golden = golden.unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    // The file ends with a line end, like all text files; a record does not.
    let golden = golden.strip_suffix('\n').expect("a golden file ends with a line feed");
    let read: T = serde_json::from_str(golden).unwrap_or_else(|error| panic!("{key} cannot be read: {error}"));
    assert_eq!(read, *value, "{key} is read as another value");
    assert_eq!(written, golden, "{key} is written with other bytes");
}
