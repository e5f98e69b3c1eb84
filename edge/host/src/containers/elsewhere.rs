//! JSON of an OCI archive: references to external bytes, and named blobs.
//!
//! Podman downloads a layer with `urls` as root, from any network and of any size. Podman also takes an existing layer,
//! even of another app, by the digest of its bytes, or by the digest of a table of contents in an annotation. A parser
//! in another language reads the JSON later, so any input that is not plain for both parsers is refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// Prefixes of annotations that describe a layer: from the OCI, and of attestations.
const DESCRIPTIONS: [&str; 2] = ["org.opencontainers.image.", "in-toto.io/"];
/// Prefix of annotations about encryption keys, among the descriptions.
const ENCRYPTION: &str = "org.opencontainers.image.enc.";

/// Prefixes of image annotations that runtimes act on, such as crun, or runc with systemd: to write files or replace
/// limits.
const ACTED_ON: [&str; 9] = [
    "dev.gvisor.",
    "io.container.",
    "io.katacontainers.",
    "io.kubernetes.",
    "io.podman.",
    "module.wasm.",
    "org.criu.",
    "org.systemd.",
    "run.oci.",
];

/// Returns true if bytes may begin JSON with an object: a tar has zeros in its headers and is never taken for JSON.
pub(super) fn may_be_json(head: &[u8]) -> bool {
    let first = head.trim_ascii_start().first();
    !head.is_empty() && first.is_none_or(|first| *first == b'{') && !head.contains(&0)
}

/// Returns the references in JSON, at any depth and in any spelling that podman accepts.
///
/// # Errors
/// Fails for invalid JSON.
pub(super) fn look_at(text: &[u8]) -> Result<JsonFindings, serde_json::Error> {
    serde_json::from_slice(text)
}

/// Findings in a value.
#[derive(Debug, Default)]
pub(super) struct JsonFindings {
    /// True if the value refers to external bytes.
    pub(super) has_places: bool,
    /// True for an object with layers: the manifest of an image.
    pub(super) has_layers: bool,
    /// Named digests.
    pub(super) digests: Vec<String>,
    /// Annotation names of nested values, such as layers; without the value's own annotations.
    pub(super) annotations: Vec<String>,
    /// Annotation names of the value itself, which podman passes to the runtime.
    pub(super) own_annotations: Vec<String>,
    /// Names of the members.
    names: Vec<String>,
    /// True for a non-empty list.
    is_list: bool,
    /// Text, if the value is a string.
    text: Option<String>,
}

impl<'de> Deserialize<'de> for JsonFindings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Looking)
    }
}

struct Looking;

impl<'de> Visitor<'de> for Looking {
    type Value = JsonFindings;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<JsonFindings, E> {
        Ok(JsonFindings::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<JsonFindings, E> {
        Ok(JsonFindings::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<JsonFindings, E> {
        Ok(JsonFindings::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<JsonFindings, E> {
        Ok(JsonFindings::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonFindings, E> {
        Ok(JsonFindings { text: Some(text.to_owned()), ..JsonFindings::default() })
    }

    fn visit_unit<E>(self) -> Result<JsonFindings, E> {
        Ok(JsonFindings::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JsonFindings, A::Error> {
        let mut seen = JsonFindings::default();
        while let Some(one) = list.next_element::<JsonFindings>()? {
            seen.is_list = true;
            seen.has_places |= one.has_places;
            seen.take_from(one);
        }
        Ok(seen)
    }

    // Visits repeated members one by one: podman's parser decides which member counts.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsonFindings, A::Error> {
        let mut seen = JsonFindings::default();
        while let Some(name) = members.next_key::<String>()? {
            let mut value: JsonFindings = members.next_value()?;
            seen.has_places |= value.has_places || value.is_list && is_called(&name, &["urls"]);
            // The second names are from old manifests.
            seen.has_layers |= is_called(&name, &["layers", "fslayers"]);
            seen.digests.extend(value.text.take().filter(|_| is_called(&name, &["digest", "blobsum"])));
            if is_called(&name, &["annotations"]) {
                seen.own_annotations.append(&mut value.names);
            }
            seen.take_from(value);
            seen.names.push(name);
        }
        Ok(seen)
    }
}

impl JsonFindings {
    /// Adds the findings of a nested value.
    fn take_from(&mut self, part: Self) {
        self.digests.extend(part.digests);
        self.annotations.extend(part.annotations);
        self.annotations.extend(part.own_annotations);
    }
}

/// Returns true if a layer annotation only describes the layer; false for annotations that podman uses to find or
/// decrypt layers.
pub(super) fn is_description(annotation: &str) -> bool {
    DESCRIPTIONS.iter().any(|prefix| annotation.starts_with(prefix)) && !annotation.starts_with(ENCRYPTION)
}

/// Returns true if a runtime acts on an image annotation.
pub(super) fn is_acted_on(annotation: &str) -> bool {
    let lower = annotation.trim().to_ascii_lowercase();
    ACTED_ON.iter().any(|prefix| lower.starts_with(prefix))
}

/// Returns true if a parser with case-insensitive names, by Unicode rules, would accept the name as one of `names`,
/// which contain no `k`.
fn is_called(name: &str, names: &[&str]) -> bool {
    let folded: String = name.chars().map(|c| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() }).collect();
    names.contains(&folded.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_elsewhere_are_found_in_every_spelling() {
        for text in [
            r#"{"layers":[{"digest":"sha256:a","urls":["http://169.254.169.254/"]}]}"#,
            r#"{"config":{"URLs":["x"]}}"#,
            r#"{"manifests":[{"url\u017f":["x"]}]}"#,
            r#"{"layers":[{"urls":["x"],"urls":[]}]}"#,
            r#" {"\u0075rls":["x"]}"#,
        ] {
            assert!(look_at(text.as_bytes()).unwrap().has_places, "{text}");
        }
        for text in [
            r#"{"layers":[{"digest":"sha256:a","size":1,"urls":[]},{"urls":null}]}"#,
            r#"{"config":{"Labels":{"urls":"https://example.org"},"Env":["urls=x"]},"n":-1.5e3,"b":true}"#,
        ] {
            assert!(!look_at(text.as_bytes()).unwrap().has_places, "{text}");
        }
        for text in ["{", "{}{}", "{\"a\":\"\u{1}\"}", &"[".repeat(100_000)] {
            assert!(look_at(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn the_blobs_of_a_manifest_are_found_in_every_spelling() {
        for (text, digests) in [
            (r#"{"config":{"digest":"a"},"layers":[{"digest":"b"},{"DIGEST":"c","digest":"d"}]}"#, "abcd"),
            (r#"{"layer\u017f":[{"dige\u017ft":"a"}],"layers":null}"#, "a"),
            (r#"{"fsLayers":[{"blobSum":"a"}],"fslayers":[{"blobsum":"b"}]}"#, "ab"),
        ] {
            let seen = look_at(text.as_bytes()).unwrap();
            assert_eq!((seen.has_layers, seen.digests.concat()), (true, digests.to_owned()), "{text}");
        }
        let provenance = br#"{"predicate":{"layers":[{"digest":"a"}],"digest":{"sha256":"b"}}}"#;
        assert!(!look_at(provenance).unwrap().has_layers, "it is none");
    }

    #[test]
    fn annotations_of_layers_are_found_in_every_spelling() {
        for text in [
            r#"{"layers":[{"annotations":{"toc":"sha256:a"}}]}"#,
            r#"{"layers":[{"ANNOTATION\u017f":{"toc":"a"},"annotations":null}]}"#,
            r#"{"layers":[{"annotations":{"toc":"a"},"layers":[]}]}"#,
            r#"{"layers":[],"config":{"annotations":{"t\u006fc":"a"}}}"#,
        ] {
            assert_eq!(look_at(text.as_bytes()).unwrap().annotations, ["toc"], "{text}");
        }
        let own = br#"{"layers":[{"digest":"a"}],"annotations":{"example.org/team":"shop"}}"#;
        assert_eq!(look_at(own).unwrap().annotations, <[&str; 0]>::default(), "those of the image itself");
        assert_eq!(look_at(own).unwrap().own_annotations, ["example.org/team"]);
        for (annotation, expected) in [
            ("run.oci.hooks.stdout", true),
            ("org.systemd.property.MemoryMax", true),
            ("io.podman.annotations.privileged", true),
            ("com.docker.official-images.bashbrew.arch", false),
            ("org.opencontainers.image.created", false),
        ] {
            assert_eq!(is_acted_on(annotation), expected, "{annotation}");
        }
        for (annotation, expected) in [
            ("org.opencontainers.image.title", true),
            ("in-toto.io/predicate-type", true),
            ("org.opencontainers.image.enc.keys.jwe", false),
            ("io.github.containers.zstd-chunked.manifest-checksum", false),
            ("", false),
        ] {
            assert_eq!(is_description(annotation), expected, "{annotation}");
        }
    }

    #[test]
    fn a_tar_is_taken_for_no_json() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, "{\"a\"", std::io::empty()).unwrap();
        assert!(!may_be_json(&tar.into_inner().unwrap()));
        assert!(may_be_json(b"\n\t {\"a\":1}") && may_be_json(b"   ") && !may_be_json(b"layer"));
    }
}
