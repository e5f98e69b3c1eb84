//! JSON of an OCI archive: whether it names places elsewhere that bytes are to come from, and which blobs it names.
//!
//! The engine gets a layer with `urls` from there, as root, whatever network and size that is; and it takes a layer
//! that it has already by its digest alone, also one of another app: that of its bytes, or that of a table of contents,
//! which an annotation of the layer names. What is looked at here is read by a parser of another language later, so
//! that whatever is not plain for both is refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// What names of annotations begin with that describe a layer: those of the OCI, and of attestations.
const DESCRIPTIONS: [&str; 2] = ["org.opencontainers.image.", "in-toto.io/"];
/// Among those, the ones of keys.
const ENCRYPTION: &str = "org.opencontainers.image.enc.";

/// What names of annotations of an image begin with that runtimes act on, such as crun, or runc with systemd: they
/// write files, or replace limits.
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

/// Whether bytes may be the beginning of JSON with an object: no tar, whose headers have zeros, is taken for some.
pub(super) fn may_be_json(head: &[u8]) -> bool {
    let first = head.trim_ascii_start().first();
    !head.is_empty() && first.is_none_or(|first| *first == b'{') && !head.contains(&0)
}

/// What JSON names, at any depth and in any spelling that the engine understands.
///
/// # Errors
/// What is wrong with it.
pub(super) fn look_at(text: &[u8]) -> Result<Seen, serde_json::Error> {
    serde_json::from_slice(text)
}

/// What was seen of a value.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// It names places elsewhere.
    pub(super) has_places: bool,
    /// It is an object with layers: the manifest of an image.
    pub(super) has_layers: bool,
    /// The digests that it names.
    pub(super) digests: Vec<String>,
    /// The names of annotations of what it holds, such as its layers; its own are not among them.
    pub(super) annotations: Vec<String>,
    /// The names of its own annotations, which the engine passes on to the runtime.
    pub(super) own_annotations: Vec<String>,
    /// The names of its members.
    names: Vec<String>,
    /// It is a list with something in it.
    is_list: bool,
    /// The text that it is.
    text: Option<String>,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Looking)
    }
}

struct Looking;

impl<'de> Visitor<'de> for Looking {
    type Value = Seen;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
        Ok(Seen { text: Some(text.to_owned()), ..Seen::default() })
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Seen, A::Error> {
        let mut seen = Seen::default();
        while let Some(one) = list.next_element::<Seen>()? {
            seen.is_list = true;
            seen.has_places |= one.has_places;
            seen.take_from(one);
        }
        Ok(seen)
    }

    // Each of several members of one name: which of them counts is for the engine's parser to say.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
        let mut seen = Seen::default();
        while let Some(name) = members.next_key::<String>()? {
            let mut value: Seen = members.next_value()?;
            seen.has_places |= value.has_places || value.is_list && is_called(&name, &["urls"]);
            // The second ones are those of old manifests.
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

impl Seen {
    /// Takes what a part of it names.
    fn take_from(&mut self, part: Self) {
        self.digests.extend(part.digests);
        self.annotations.extend(part.annotations);
        self.annotations.extend(part.own_annotations);
    }
}

/// Whether an annotation of a layer only describes it: what the engine finds layers by, or decrypts them with, does
/// not.
pub(super) fn is_description(annotation: &str) -> bool {
    DESCRIPTIONS.iter().any(|prefix| annotation.starts_with(prefix)) && !annotation.starts_with(ENCRYPTION)
}

/// Whether a runtime acts on an annotation of an image.
pub(super) fn is_acted_on(annotation: &str) -> bool {
    let lower = annotation.trim().to_ascii_lowercase();
    ACTED_ON.iter().any(|prefix| lower.starts_with(prefix))
}

/// Whether a parser that takes names in any case, by Unicode, takes it for one of these, which have no `k`.
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
