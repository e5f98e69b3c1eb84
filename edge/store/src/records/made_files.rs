//! Files that the edge made of a version and that no manifest names, as named in the records beside the manifest.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::apps::DecodedFile;
use super::dictionaries::PagesDictionary;
use super::integrity_pages::IntegrityPages;

/// The members of a record of a version, or of a removed version, that name such files.
#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    decoded: BTreeMap<String, DecodedFile>,
    #[serde(default)]
    integrity: Vec<IntegrityPages>,
    /// The record of a version that can be restored.
    record: Option<Box<Self>>,
}

/// The member of a record of dictionaries that names a file: the rest may have megabytes.
#[derive(Deserialize)]
struct Pages {
    #[serde(default)]
    pages: Option<PagesDictionary>,
}

/// Returns the decoded content of files that came only compressed, and the pages with hashes, from the record of a
/// version or of a removed version.
///
/// # Errors
/// An error if the value is not such a record.
pub fn made_files(value: &[u8]) -> Result<Vec<DecodedFile>, serde_json::Error> {
    let mut record: Made = serde_json::from_slice(value)?;
    let restorable = record.record.take().map(|restorable| *restorable);
    let files = restorable.into_iter().chain([record]).flat_map(|record| {
        let pages = record.integrity.into_iter().flat_map(|group| group.pages.into_values());
        record.decoded.into_values().chain(pages)
    });
    Ok(files.collect())
}

/// Returns the shared dictionary of a version's pages, from its record of dictionaries.
///
/// # Errors
/// An error if the value is not such a record.
pub fn pages_dictionary(value: &[u8]) -> Result<Option<PagesDictionary>, serde_json::Error> {
    serde_json::from_slice::<Pages>(value).map(|record| record.pages)
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;

    use super::*;

    #[test]
    fn files_are_named_by_the_record_of_a_version_that_is_there_or_can_be_had_back() {
        let record = |hash: Digest| format!(r#"{{"stored_ms":1,"decoded":{{"a.js":{{"hash":"{hash}","size":1}}}}}}"#);
        let hashes = |value: &str| -> Vec<Digest> {
            made_files(value.as_bytes()).unwrap().into_iter().map(|file| file.hash).collect()
        };
        let (stored, gone, page) = (Digest::of(b"stored"), Digest::of(b"gone"), Digest::of(b"page"));
        assert_eq!(hashes(&record(stored)), [stored]);
        assert_eq!(hashes(&format!(r#"{{"at_ms":1,"record":{}}}"#, record(gone))), [gone]);
        assert!(hashes(r#"{"stored_ms":1}"#).is_empty());
        let pages = format!(r#"[{{"tables":[""],"pages":{{"index.html":{{"hash":"{page}","size":1}}}}}}]"#);
        assert_eq!(hashes(&format!(r#"{{"integrity":{pages}}}"#)), [page]);
        assert!(made_files(b"no record").is_err());
    }
}
