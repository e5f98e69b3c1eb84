//! Scans an archive before it is sent: names that the edge leaves out, and secrets in the other files.
//!
//! Only the edge decides if an archive is valid; unreadable parts are skipped here, unless `--strict` requires
//! certainty.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};

use devanture_check::{FILE_BYTES_MAX, SecretFiles};
use devanture_config::manifest::leave_out::left_out_part;
use devanture_config::site_toml::check::CheckTable;
use tar::{EntryType, PaxExtensions};
use zip::ZipArchive;

/// Upper bound of scanned entries; the edge takes fewer.
const ENTRIES_MAX: usize = 20_000_000;
/// Upper bound of scanned bytes of the unpacked archive.
const UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Upper bound of bytes of a name, and of the PAX records with names.
const NAME_BYTES_MAX: u64 = 1024 * 1024;
/// Upper bound of the window of a zstd frame, as a power of two: the limit of the edge.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// The findings in an archive.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Paths left out by the edge, each without the paths below.
    pub(crate) left_out: Vec<String>,
    /// The line about secrets in files, if there are any.
    pub(crate) secrets: Option<String>,
}

/// The state of a scan.
struct Looking<'t> {
    left_out: BTreeSet<String>,
    secrets: SecretFiles<'t>,
    entries: usize,
}

impl Contents {
    /// Scans `file`, an archive of this media type. Returns the findings beside the error that stopped the scan, if
    /// any.
    pub(crate) fn read(file: File, media_type: &str, table: &CheckTable) -> (Self, Option<io::Error>) {
        let mut looking = Looking { left_out: BTreeSet::new(), secrets: SecretFiles::new(table), entries: 0 };
        let read = match media_type {
            "application/zip" => looking.zip(file),
            "application/gzip" => looking.tar(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
            "application/zstd" => zstd::stream::read::Decoder::new(file).and_then(|mut unpacked| {
                unpacked.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                looking.tar(unpacked)
            }),
            _ => looking.tar(BufReader::new(file)),
        };
        let contents = Self { left_out: looking.left_out.into_iter().collect(), secrets: looking.secrets.line() };
        (contents, read.err())
    }
}

impl Looking<'_> {
    fn zip(&mut self, file: File) -> io::Result<()> {
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(io::Error::other)?;
        for index in 0..archive.len() {
            let entry = archive.by_index_data(index).map_err(io::Error::other)?;
            let (name, bytes) = (String::from_utf8_lossy(entry.name_raw()).into_owned(), entry.size());
            let is_file = !name.ends_with('/');
            let Some(path) = self.taken(&name)?.filter(|path| is_file && self.secrets.is_looked_at(path, bytes)) else {
                continue;
            };
            let entry = archive.by_index(index).map_err(io::Error::other)?;
            self.content(&path, entry)?;
        }
        Ok(())
    }

    fn tar(&mut self, unpacked: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(unpacked.take(UNPACKED_BYTES_MAX));
        let mut long_name = None;
        // Raw, since the crate reads long names whole, regardless of their length.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            match entry.header().entry_type() {
                EntryType::XGlobalHeader | EntryType::GNULongLink => {}
                EntryType::GNULongName => {
                    let mut name = small(&mut entry)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    long_name = Some(name);
                }
                EntryType::XHeader => {
                    let records = small(&mut entry)?;
                    let path = PaxExtensions::new(&records).flatten().find(|record| record.key_bytes() == b"path");
                    long_name = path.map(|record| record.value_bytes().to_vec()).or(long_name);
                }
                kind => {
                    let name = long_name.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                    let bytes = entry.header().entry_size()?;
                    let is_file = kind.is_file() || kind.is_contiguous();
                    let path = self.taken(&String::from_utf8_lossy(&name))?;
                    if let Some(path) = path.filter(|path| is_file && self.secrets.is_looked_at(path, bytes)) {
                        self.content(&path, entry)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the path of the entry `name`, unless the entry is left out.
    fn taken(&mut self, name: &str) -> io::Result<Option<String>> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let segments: Vec<&str> = name.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
        let path = segments.join("/");
        if let Some(part) = left_out_part(&path) {
            self.left_out.insert(part.to_owned());
            return Ok(None);
        }
        Ok(Some(path).filter(|path| !path.is_empty()))
    }

    fn content(&mut self, path: &str, content: impl Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        self.secrets.look(path, &bytes);
        Ok(())
    }
}

/// A small entry, whole.
fn small(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(NAME_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    const TOKEN: &str = "ghp_Ab3dE5gH7jK9Ab3dE5gH7jK9Ab3dE5gH7jK9";

    fn files() -> [(String, String); 6] {
        let deep = format!("{}/app.js", "folder".repeat(30));
        let own = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        [
            own("./index.html", "hi"),
            own("./.env", "A=b"),
            own("keys/id_rsa", "x"),
            own(".git/HEAD", "x"),
            own(".git/config", "x"),
            (deep, format!("const k = \"{TOKEN}\";")),
        ]
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files() {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn zip() -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (path, text) in files() {
            writer.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn every_kind_of_archive_reports_what_is_left_out_and_what_holds_a_secret() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar()).unwrap();
        for (media_type, bytes) in [
            ("application/zip", zip()),
            ("application/x-tar", tar()),
            ("application/gzip", gz.finish().unwrap()),
            ("application/zstd", zstd::encode_all(&tar()[..], 1).unwrap()),
        ] {
            let (contents, failed) = Contents::read(file_of(&bytes), media_type, &CheckTable::default());
            assert!(failed.is_none(), "{media_type}: {failed:?}");
            assert_eq!(contents.left_out, [".env", ".git", "keys/id_rsa"], "{media_type}");
            let secrets = contents.secrets.unwrap();
            assert!(secrets.contains("app.js holds a token of GitHub") && !secrets.contains(TOKEN), "{secrets}");
            // The readable part of a truncated archive is listed all the same.
            let cut = &bytes[..bytes.len().min(1_200) / 2];
            let (_, failed) = Contents::read(file_of(cut), media_type, &CheckTable::default());
            assert!(failed.is_some(), "{media_type}");
        }
    }
}
