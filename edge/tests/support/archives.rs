//! Valid and invalid archives for tests; an invalid archive is a valid archive with a few changed bytes.

use std::io::{Cursor, Write as _};

use super::Files;
use zip::write::SimpleFileOptions;

/// Kinds of archives that an edge accepts, by file name extension.
pub(crate) const KINDS: [&str; 4] = ["zip", "tar", "tar.gz", "tar.zst"];

/// Archive of a given kind.
pub(crate) fn archive(kind: &str, files: Files<'_>) -> Vec<u8> {
    match kind {
        "zip" => zip(files),
        "tar" => tar(files),
        "tar.gz" => gzip(&tar(files)),
        "tar.zst" => zstd::encode_all(tar(files).as_slice(), 3).unwrap(),
        _ => panic!("{kind} is no kind"),
    }
}

/// Media type of a kind.
pub(crate) fn media_type(kind: &str) -> &'static str {
    match kind {
        "zip" => "application/zip",
        "tar" => "application/x-tar",
        "tar.gz" => "application/gzip",
        _ => "application/zstd",
    }
}

pub(crate) fn zip(files: Files<'_>) -> Vec<u8> {
    zip_with(files, SimpleFileOptions::default())
}

/// Uncompressed zip, so that the bytes of the files can be found in the archive.
pub(crate) fn stored_zip(files: Files<'_>) -> Vec<u8> {
    zip_with(files, SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored))
}

fn zip_with(files: Files<'_>, options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        writer.start_file(*path, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Zip with one file and one symbolic link.
pub(crate) fn zip_with_link(target: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("index.html", SimpleFileOptions::default()).unwrap();
    writer.add_symlink("link", target, SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Zip whose flags mark every entry as encrypted, in both headers (APPNOTE 4.4.4).
pub(crate) fn encrypted(mut zip: Vec<u8>) -> Vec<u8> {
    for (signature, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        for place in places(&zip, signature) {
            zip[place + flags] |= 1;
        }
    }
    zip
}

/// Zip whose directory claims `size` bytes for every file.
pub(crate) fn claiming(mut zip: Vec<u8>, size: u32) -> Vec<u8> {
    for place in places(&zip, b"PK\x01\x02") {
        zip[place + 24..place + 28].copy_from_slice(&size.to_le_bytes());
    }
    zip
}

/// Zip whose directory claims `count` entries, whatever the actual number.
pub(crate) fn counting(mut zip: Vec<u8>, count: u16) -> Vec<u8> {
    let end = *places(&zip, b"PK\x05\x06").last().unwrap();
    zip[end + 8..end + 10].copy_from_slice(&count.to_le_bytes());
    zip[end + 10..end + 12].copy_from_slice(&count.to_le_bytes());
    zip
}

/// Replaces every occurrence of some bytes by as many other bytes.
pub(crate) fn replaced(mut archive: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places = places(&archive, from);
    assert!(!places.is_empty());
    for place in places {
        archive[place..place + to.len()].copy_from_slice(to);
    }
    archive
}

fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).map(|(place, _)| place).collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn tar(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        builder.append_data(&mut tar_header(bytes.len(), tar::EntryType::Regular), path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Tar of an `index.html` and an entry whose name and link are written verbatim.
pub(crate) fn tar_with(name: &[u8], kind: tar::EntryType, link: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut tar_header(2, tar::EntryType::Regular), "index.html", &b"hi"[..]).unwrap();
    let mut header = tar_header(0, kind);
    {
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name);
        raw.linkname[..link.len()].copy_from_slice(link);
    }
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    builder.into_inner().unwrap()
}

fn tar_header(size: usize, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header
}

/// Multipart form: for each field the name, the file name if the field is a file, and the bytes.
pub(crate) fn form(fields: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "--------------------------d74496d66958873e";
    let mut body = Vec::new();
    for (name, file, bytes) in fields {
        let file = file.map_or_else(String::new, |file| {
            format!("; filename=\"{file}\"\r\nContent-Type: application/octet-stream")
        });
        write!(body, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").unwrap();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    write!(body, "--{boundary}--\r\n").unwrap();
    (format!("multipart/form-data; boundary={boundary}"), body)
}
