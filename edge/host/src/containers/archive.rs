//! OCI archives on the way to podman: the content is checked, and names inside the archive are dropped.
//!
//! An archive is a tar of `oci-layout`, `index.json` and `blobs/sha256/…`. Podman would give the image every name in
//! `index.json`, including names that stand for images of other apps, and unpacks layers before their size is known.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};

use super::elsewhere::{is_acted_on, is_description, look_at, may_be_json};
use super::layer::Layer;
use super::named::Named;

/// Maximum length of `index.json` and `oci-layout` in bytes.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum number of entries.
const ENTRIES_MAX: usize = 10_000;
/// Folder of the blobs in an archive.
const BLOBS: &str = "blobs/sha256/";
/// Prefix of digests.
const DIGESTS: &str = "sha256:";
/// Bytes copied at once.
const PIECE_BYTES: usize = 64 * 1024;
/// First bytes of compressed layers.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Compression formats that podman unpacks and this module cannot measure.
const UNCOUNTED: [(&[u8], &str); 2] = [(b"BZh", "bzip2"), (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz")];
/// Bytes that identify a blob: a tar of layers has a zero among them.
const HEAD_BYTES: u64 = 1024;
/// Maximum length of a JSON blob in bytes: manifests and configurations, with the limit of registries.
const JSON_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reason for refusing an archive.
#[derive(Debug, thiserror::Error)]
pub enum BadArchive {
    /// A layer has an annotation beyond a description: podman could use the annotation to take a layer of another app.
    #[error(
        "it has a layer with the annotation `{0}`, which may stand for bytes that are not in it: \
         build it again with layers of gzip"
    )]
    Annotation(String),
    /// The image has an annotation that a runtime acts on.
    #[error("its manifest has the annotation `{0}`, which the runtime of containers would act on: build it without")]
    ActedOn(String),
    /// The number of images is not one.
    #[error("it holds {0} images, and a backend is one")]
    Images(usize),
    /// The archive cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A layer contains a device or a pipe.
    #[error("it has a layer with a device or a pipe, which no container needs: build it again without")]
    Device,
    /// A blob does not match the digest in its name: podman would use its own blob with the digest.
    #[error("its `{0}` has another digest than its name says")]
    Digest(String),
    /// Content is stored elsewhere: podman would download the content without a limit.
    #[error("it has `urls`, and all of an image has to be in its archive")]
    Elsewhere,
    /// A blob begins like JSON and cannot be parsed.
    #[error("it has a blob that begins like JSON and cannot be read: {0}")]
    Json(String),
    /// A layer cannot be read as a tar, or is ambiguous.
    #[error("it has a layer that cannot be read: {0}")]
    Layer(&'static str),
    /// The manifest names a missing blob: podman would use the blob of another app, if present.
    #[error("its manifest names `{0}`, which is not in it: all of an image has to be in its archive")]
    Missing(String),
    /// The manifests name too many blobs, or a blob too often.
    #[error("its manifests name more than {0} blobs")]
    Names(usize),
    /// A layer is compressed in a format that cannot be measured.
    #[error("it has a layer packed with {0}; gzip and zstd are taken")]
    Packed(&'static str),
    /// An entry does not belong to an image: a link, a device, or a misplaced file.
    #[error("`{0}` belongs to no OCI image")]
    Foreign(String),
    /// A layer contains a sparse file: podman writes the holes as zeros, which are not measured.
    #[error("it has a layer with a sparse file: build it again without, as by tar without `--sparse`")]
    Sparse,
    /// The layers exceed the size limit of an image; each layer counts as often as the manifest names the layer.
    #[error("its layers have more than {0} bytes: `image_bytes_max` in edge.toml is the limit")]
    TooLarge(u64),
}

/// Copies an archive with one image, with layers of at most `bytes_max` bytes when unpacked.
///
/// # Errors
/// Fails with the first problem of the archive.
pub fn checked_copy(from: impl Read, to: impl Write, bytes_max: u64) -> Result<(), BadArchive> {
    copied((from, Origin::Stranger), to, bytes_max)
}

/// Checks the layers of an image in podman's store, in the archive that podman exports.
///
/// # Errors
/// Fails like [`checked_copy`], except for references to bytes outside of the archive: podman has all bytes.
pub(super) fn check_layers(from: impl Read, bytes_max: u64) -> Result<(), BadArchive> {
    copied((from, Origin::Engine), io::sink(), bytes_max)
}

/// Creator of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Engine,
    Stranger,
}

fn copied((from, origin): (impl Read, Origin), to: impl Write, bytes_max: u64) -> Result<(), BadArchive> {
    let (mut archive, mut copy) = (tar::Archive::new(from), tar::Builder::new(to));
    let (mut left, mut has_index) = (bytes_max, false);
    let (mut blobs, mut named) = (BTreeMap::new(), Named::default());
    for (number, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        let name = plain(&path).filter(|_| number < ENTRIES_MAX).ok_or_else(|| foreign(&path))?;
        // Extended headers are dropped unread: no entry of an archive needs them, and they may be long.
        if kind.is_dir() || kind.is_pax_local_extensions() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            return Err(foreign(&path));
        }
        let size = entry.header().size()?;
        match name.as_str() {
            "index.json" if !has_index && size <= TEXT_BYTES_MAX => {
                has_index = true;
                let mut text = Vec::new();
                entry.read_to_end(&mut text)?;
                append(&mut copy, &name, &without_names(&text)?)?;
            }
            "oci-layout" if size <= TEXT_BYTES_MAX => {
                let mut text = Vec::new();
                entry.read_to_end(&mut text)?;
                append(&mut copy, &name, &text)?;
            }
            blob if is_blob(blob) => {
                let head = checked_head(&mut entry, (size, origin), &mut named)?;
                let unpacked = Unpacking::of(&head, left)?;
                let mut counted =
                    Counted { from: head.as_slice().chain(entry), unpacked, digest: Context::new(&SHA256) };
                let mut header = header(size);
                copy.append_data(&mut header, blob, &mut counted).map_err(|error| refusal(error, bytes_max))?;
                let digest = hex::encode(counted.digest.clone().finish());
                let left_before = left;
                left = counted.ended().map_err(|error| refusal(error, bytes_max))?;
                if blob.strip_prefix(BLOBS) != Some(&digest) {
                    return Err(BadArchive::Digest(name));
                }
                blobs.insert(format!("{DIGESTS}{digest}"), left_before.saturating_sub(left));
            }
            _ => return Err(foreign(&path)),
        }
    }
    if !has_index {
        return Err(BadArchive::Images(0));
    }
    named.check(&blobs, bytes_max, origin == Origin::Stranger)?;
    copy.into_inner()?.flush()?;
    Ok(())
}

/// Returns the beginning of a blob; the whole blob, after inspection, for JSON that may name other blobs. Blobs named
/// by a manifest are added to `named`.
fn checked_head(blob: &mut impl Read, (size, origin): (u64, Origin), named: &mut Named) -> Result<Vec<u8>, BadArchive> {
    let mut head = Vec::new();
    blob.take(HEAD_BYTES).read_to_end(&mut head)?;
    if !may_be_json(&head) {
        return Ok(head);
    }
    if size > JSON_BYTES_MAX {
        return Err(BadArchive::Json(format!("it has {size} bytes, and {JSON_BYTES_MAX} are allowed")));
    }
    blob.read_to_end(&mut head)?;
    // As above: JSON never contains zeros.
    if may_be_json(&head) {
        let seen = look_at(&head).map_err(|error| BadArchive::Json(error.to_string()))?;
        if seen.has_places && origin == Origin::Stranger {
            return Err(BadArchive::Elsewhere);
        }
        if seen.has_layers {
            if let Some(one) = seen.own_annotations.iter().find(|annotation| is_acted_on(annotation)) {
                return Err(BadArchive::ActedOn(shown(one)));
            }
            let mut others = seen.annotations.iter().filter(|annotation| !is_description(annotation));
            if let (Some(other), Origin::Stranger) = (others.next(), origin) {
                return Err(BadArchive::Annotation(shown(other)));
            }
            named.add(seen.digests)?;
        }
    }
    Ok(head)
}

fn foreign(path: &Path) -> BadArchive {
    BadArchive::Foreign(shown(&path.display().to_string()))
}

/// Escapes and shortens text of an archive for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// Returns a path without `.` as text; `None` if the path leads outside.
fn plain(path: &Path) -> Option<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str()?),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(names.join("/"))
}

fn is_blob(path: &str) -> bool {
    path.strip_prefix(BLOBS).is_some_and(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn append(copy: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    copy.append_data(&mut header(u64::try_from(bytes.len()).unwrap_or(u64::MAX)), name, bytes)
}

/// Reduces the index to the reference to the one image.
fn without_names(text: &[u8]) -> Result<Vec<u8>, BadArchive> {
    let index: Value = serde_json::from_slice(text).map_err(io::Error::from)?;
    let manifests = index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let [manifest] = manifests else { return Err(BadArchive::Images(manifests.len())) };
    let of = |key: &str| manifest.get(key).cloned().unwrap_or_default();
    let kept = json!({ "mediaType": of("mediaType"), "digest": of("digest"), "size": of("size") });
    Ok(json!({ "schemaVersion": 2, "manifests": [kept] }).to_string().into_bytes())
}

/// Decompresses the written bytes for inspection only.
enum Unpacking {
    Gzip(flate2::write::MultiGzDecoder<Layer>),
    Plain(Layer),
    Zstd(Box<zstd::stream::write::Decoder<'static, Layer>>),
}

impl Unpacking {
    /// Detects the format of a blob by the first bytes. Formats refused here are also unpacked by podman.
    fn of(head: &[u8], left: u64) -> Result<Self, BadArchive> {
        let layer = Layer::new(left);
        if let Some((_, how)) = UNCOUNTED.iter().find(|(beginning, _)| head.starts_with(beginning)) {
            return Err(BadArchive::Packed(how));
        }
        Ok(match head {
            head if head.starts_with(&GZIP) => Self::Gzip(flate2::write::MultiGzDecoder::new(layer)),
            head if head.starts_with(&ZSTD) => Self::Zstd(Box::new(zstd::stream::write::Decoder::new(layer)?)),
            head if may_be_json(head) => Self::Plain(Layer::none(left)),
            _ => Self::Plain(layer),
        })
    }
}

/// Blob being read, measured as if unpacked.
struct Counted<R> {
    from: R,
    unpacked: Unpacking,
    /// Digest of the bytes in the archive.
    digest: Context,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(PIECE_BYTES);
        let Some(piece) = buffer.get_mut(..length) else { return Ok(0) };
        let length = self.from.read(piece)?;
        let Some(bytes) = piece.get(..length) else { return Ok(0) };
        self.digest.update(bytes);
        match &mut self.unpacked {
            Unpacking::Gzip(decoder) => decoder.write_all(bytes)?,
            Unpacking::Plain(layer) => layer.write_all(bytes)?,
            Unpacking::Zstd(decoder) => decoder.write_all(bytes)?,
        }
        Ok(length)
    }
}

impl<R> Counted<R> {
    /// Returns the bytes left for further blobs.
    fn ended(self) -> io::Result<u64> {
        match self.unpacked {
            Unpacking::Gzip(decoder) => Ok(decoder.finish()?.left),
            Unpacking::Plain(layer) => Ok(layer.left),
            Unpacking::Zstd(mut decoder) => {
                decoder.flush()?;
                Ok(decoder.into_inner().left)
            }
        }
    }
}

fn refusal(error: io::Error, bytes_max: u64) -> BadArchive {
    match error.kind() {
        io::ErrorKind::FileTooLarge => BadArchive::TooLarge(bytes_max),
        _ => error.downcast().unwrap_or_else(BadArchive::Io),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:a","size":1,
        "annotations":{"org.opencontainers.image.ref.name":"registry.example.org/other/app:1"}}]}"#;

    /// Returns the path of a blob in [`archive`], which renames the blob to match its bytes.
    fn blob() -> String {
        format!("{BLOBS}{}", "0a".repeat(32))
    }

    fn digest_of(bytes: &[u8]) -> String {
        hex::encode(aws_lc_rs::digest::digest(&SHA256, bytes))
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let named = format!("{BLOBS}{}", digest_of(bytes));
            append(&mut builder, if *path == blob() { &named } else { path }, bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn copied(archive: &[u8], bytes_max: u64) -> Result<Vec<u8>, BadArchive> {
        let mut copy = Vec::new();
        checked_copy(archive, &mut copy, bytes_max).map(|()| copy)
    }

    #[test]
    fn the_names_that_an_archive_gives_its_image_are_left_out() {
        let copy =
            copied(&archive(&[("oci-layout", b"{}"), ("./index.json", ONE.as_bytes()), (&blob(), b"layer")]), 100);
        let text = String::from_utf8(copy.unwrap()).unwrap();
        assert!(text.contains("sha256:a") && text.contains("layer") && !text.contains("other/app"), "{text}");
    }

    #[test]
    fn what_belongs_to_no_image_is_refused() {
        for path in ["etc/passwd", "blobs/sha256/../../x", "blobs/sha256/short", "manifest.json"] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = header(0);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
            let refused = copied(&builder.into_inner().unwrap(), 100).unwrap_err();
            assert!(matches!(refused, BadArchive::Foreign(_)), "{path}: {refused}");
        }
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = header(0);
            header.set_entry_type(kind);
            builder.append_link(&mut header, blob(), "/etc/shadow").unwrap();
            let refused = copied(&builder.into_inner().unwrap(), 100).unwrap_err();
            assert!(matches!(refused, BadArchive::Foreign(_)), "{kind:?}: {refused}");
        }
    }

    #[test]
    fn an_archive_of_no_image_or_of_several_is_refused() {
        assert!(matches!(copied(&archive(&[("oci-layout", b"{}")]), 100), Err(BadArchive::Images(0))));
        let two = br#"{"manifests":[{},{}]}"#;
        assert!(matches!(copied(&archive(&[("index.json", two)]), 100), Err(BadArchive::Images(2))));
    }

    #[test]
    fn layers_are_counted_as_they_will_be_unpacked() {
        let zeros = vec![0; 1_000_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&zeros).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(zeros.as_slice(), 19).unwrap();
        for layer in [&gzip, &zstd, &zeros] {
            let packed = archive(&[("index.json", ONE.as_bytes()), (&blob(), layer)]);
            assert!(matches!(copied(&packed, 999_999), Err(BadArchive::TooLarge(_))), "{} bytes", layer.len());
            assert!(copied(&packed, 1_000_000).is_ok(), "{} bytes", layer.len());
        }
        let both = archive(&[("index.json", ONE.as_bytes()), (&blob(), &gzip), (&blob(), &gzip)]);
        assert!(matches!(copied(&both, 1_999_999), Err(BadArchive::TooLarge(_))), "all of them together");
        let layer = format!(r#"{{"digest":"sha256:{}"}}"#, digest_of(&gzip));
        let manifest = format!(r#"{{"layers":[{}]}}"#, [layer.as_str(); 3].join(","));
        let thrice = archive(&[("index.json", ONE.as_bytes()), (&blob(), manifest.as_bytes()), (&blob(), &gzip)]);
        assert!(matches!(copied(&thrice, 2_999_999), Err(BadArchive::TooLarge(_))), "one that is named three times");
        assert!(copied(&thrice, 3_000_000).is_ok());
    }

    #[test]
    fn layers_that_would_be_unpacked_uncounted_are_refused() {
        for (layer, expected) in [(&b"BZh91AY"[..], "bzip2"), (b"\xfd7zXZ\0\0", "xz")] {
            let refused = copied(&archive(&[("index.json", ONE.as_bytes()), (&blob(), layer)]), 100).unwrap_err();
            assert!(matches!(refused, BadArchive::Packed(how) if how == expected), "{refused}");
        }
    }

    #[test]
    fn what_would_be_got_from_elsewhere_is_refused() {
        let with = |blob_of: &[u8]| copied(&archive(&[("index.json", ONE.as_bytes()), (&blob(), blob_of)]), 8_000_000);
        let manifest = br#"{"layers":[{"mediaType":"m","size":1}]}"#;
        assert!(with(manifest).is_ok_and(|copy| copy.windows(manifest.len()).any(|part| part == manifest)));
        assert!(matches!(with(br#" {"layers":[{"urls":["http://127.0.0.1/"]}]}"#), Err(BadArchive::Elsewhere)));
        let long = [&b"{\"layers\":["[..], &b" ".repeat(5_000_000), br#"{"urls":["x"]}]}"#].concat();
        assert!(matches!(with(&long), Err(BadArchive::Json(_))));
        assert!(matches!(with(br#"{"layers":[{"urls":["x"]}]} x"#), Err(BadArchive::Json(_))));
    }

    /// Podman takes an existing layer by the digest without reading the layer in the archive.
    #[test]
    fn an_archive_has_every_blob_that_its_manifest_names_with_the_bytes_of_its_name() {
        let layer = b"the layer of another app";
        let manifest =
            format!(r#"{{"layers":[{{"mediaType":"m","digest":"sha256:{}","size":24}}]}}"#, digest_of(layer));
        let with = |path: &str, bytes: &[u8]| {
            copied(&archive(&[("index.json", ONE.as_bytes()), (&blob(), manifest.as_bytes()), (path, bytes)]), 10_000)
        };
        assert!(with(&blob(), layer).is_ok());
        assert!(
            matches!(with(&blob(), b"another"), Err(BadArchive::Missing(digest)) if digest.contains(&digest_of(layer)))
        );
        let named = format!("{BLOBS}{}", digest_of(layer));
        assert!(matches!(with(&named, b"another"), Err(BadArchive::Digest(path)) if path == named));
        assert!(matches!(
            with(&named.to_uppercase().replace("BLOBS/SHA", "blobs/sha"), layer),
            Err(BadArchive::Digest(_))
        ));
    }

    /// Podman takes an existing layer by the digest of its table of contents, given by an annotation.
    #[test]
    fn a_layer_with_an_annotation_that_the_engine_could_find_another_by_is_refused() {
        let layer = b"my layer";
        let with = |annotation: &str| {
            let manifest = format!(
                r#"{{"layers":[{{"digest":"sha256:{}","size":8,"annotations":{{"{annotation}":"sha256:{}"}}}}]}}"#,
                digest_of(layer),
                digest_of(b"the table of contents of another app's layer")
            );
            let files = [("index.json", ONE.as_bytes()), (&*blob(), manifest.as_bytes()), (&*blob(), layer.as_slice())];
            copied(&archive(&files), 10_000)
        };
        for annotation in [
            "io.github.containers.zstd-chunked.manifest-checksum",
            "io.github.containers.zstd-chunked.tarsplit-checksum",
            "io.containers.zstd-chunked.manifest-checksum",
            "containerd.io/snapshot/stargz/toc.digest",
            "of.a.later.engine/digest",
        ] {
            let refused = with(annotation).unwrap_err();
            assert!(matches!(&refused, BadArchive::Annotation(name) if name == annotation), "{refused}");
        }
        assert!(with("org.opencontainers.image.title").is_ok());
    }

    #[test]
    fn an_image_with_an_annotation_that_a_runtime_acts_on_is_refused() {
        let with = |annotation: &str| {
            let manifest = format!(r#"{{"annotations":{{"{annotation}":"x"}},"layers":[]}}"#);
            copied(&archive(&[("index.json", ONE.as_bytes()), (&blob(), manifest.as_bytes())]), 10_000)
        };
        assert!(matches!(with("run.oci.hooks.stdout"), Err(BadArchive::ActedOn(_))));
        assert!(with("example.org/team").is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_copied_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000), at in 0_usize..1_500) {
            copied(&bytes, 1_000).ok();
            let mut damaged = archive(&[("index.json", ONE.as_bytes()), (&blob(), b"layer")]);
            let end = (at + bytes.len()).min(damaged.len());
            if at < end {
                damaged[at..end].copy_from_slice(&bytes[..end - at]);
            }
            copied(&damaged, 1_000).ok();
        }
    }
}
