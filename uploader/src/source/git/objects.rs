//! Reads objects of a repository: loose ones, and those in packs (gitformat-pack).
//!
//! Every length may come from a stranger: each has a limit, and longer objects count as missing.

use std::fmt;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest;
use devanture_project::beneath::Folder;
use flate2::read::ZlibDecoder;

use super::pack::Pack;

/// Upper bound of bytes of an object: a commit, or the tree of one folder.
pub(super) const OBJECT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest header of a loose object.
const HEADER_BYTES_MAX: u64 = 64;
/// Upper bound of stores from which a repository borrows objects.
const ALTERNATES_MAX: usize = 8;
/// Upper bound of bytes of the list of these stores.
const ALTERNATES_BYTES_MAX: u64 = 64 * 1024;
/// Upper bound of opened packs: the index of each is held open.
const PACKS_MAX: usize = 150;

/// The name of an object: its SHA-1 or SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    length: usize,
    bytes: [u8; 32],
}

impl Id {
    /// Creates an id from its bytes.
    pub(super) fn of_bytes(raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        matches!(raw.len(), 20 | 32).then_some(Self { length: raw.len(), bytes })
    }

    /// Returns a hasher for a blob of `length` bytes, with the algorithm of this id.
    pub(super) fn blob_hasher(self, length: u64) -> BlobHasher {
        let algorithm = if self.length == 20 { &digest::SHA1_FOR_LEGACY_USE_ONLY } else { &digest::SHA256 };
        let mut context = digest::Context::new(algorithm);
        context.update(format!("blob {length}\0").as_bytes());
        BlobHasher(context)
    }

    /// Returns the bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Hashes the content of a blob.
pub(super) struct BlobHasher(digest::Context);

impl BlobHasher {
    /// Takes a part of the content.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id of the whole.
    pub(super) fn finish(self) -> Option<Id> {
        Id::of_bytes(self.0.finish().as_ref())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of a text that is not an id.
#[derive(Debug)]
pub(super) struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let digits = text.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|_| pair.iter().all(u8::is_ascii_hexdigit))?;
            u8::from_str_radix(text, 16).ok().filter(|_| pair.len() == 2)
        });
        let bytes: Option<Vec<u8>> = digits.collect();
        bytes.and_then(|bytes| Self::of_bytes(&bytes)).ok_or(NoId)
    }
}

/// The type of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

/// The objects of a repository.
#[derive(Debug)]
pub(super) struct Store {
    loose: Vec<Folder>,
    packs: Vec<Pack>,
}

impl Store {
    /// Opens the store in the folder `objects`, with the stores from which it borrows.
    pub(super) fn open(objects: &Folder) -> Option<Self> {
        let mut loose = vec![objects.clone()];
        // Clones with `--reference` or `--shared` hold only the objects that the other repository lacks.
        let mut at = 0;
        while let Some(folder) = loose.get(at).cloned() {
            for other in alternates(&folder) {
                let is_known = loose.iter().any(|known| known.path() == other.path());
                if !is_known && loose.len() <= ALTERNATES_MAX {
                    loose.push(other);
                }
            }
            at += 1;
        }
        let packs = loose.iter().flat_map(packs).take(PACKS_MAX).collect();
        Some(Self { loose, packs })
    }

    /// Returns the object `id`, if it has that type and is not too long.
    pub(super) fn read(&self, id: Id, kind: Kind) -> Option<Vec<u8>> {
        let name = id.to_string();
        let path = Path::new(name.get(..2)?).join(name.get(2..)?);
        let loose = self.loose.iter().find_map(|folder| folder.file(&path).ok());
        let (found, bytes) = match loose {
            Some(file) => read_loose(file)?,
            None => self.packs.iter().find_map(|pack| pack.read(id, &self.packs))?,
        };
        (found == kind).then_some(bytes)
    }
}

fn alternates(objects: &Folder) -> Vec<Folder> {
    let mut text = String::new();
    let file = objects.file(Path::new("info/alternates"));
    let read = file.and_then(|file| file.take(ALTERNATES_BYTES_MAX).read_to_string(&mut text));
    let lines = text.lines().filter(|line| read.is_ok() && !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| Folder::open(&std::fs::canonicalize(objects.path().join(line)).ok()?).ok()).collect()
}

fn packs(objects: &Folder) -> Vec<Pack> {
    let Ok(folder) = objects.folder(Path::new("pack")) else { return Vec::new() };
    let entries = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Pack::open(&folder, name.strip_suffix(".idx")?)).collect()
}

fn read_loose(file: std::fs::File) -> Option<(Kind, Vec<u8>)> {
    let mut inflated = BufReader::new(ZlibDecoder::new(file));
    let mut header = Vec::new();
    std::io::BufRead::read_until(&mut (&mut inflated).take(HEADER_BYTES_MAX), 0, &mut header).ok()?;
    let header = std::str::from_utf8(header.strip_suffix(&[0])?).ok()?;
    let (kind, length) = header.split_once(' ')?;
    let kind = match kind {
        "commit" => Kind::Commit,
        "tree" => Kind::Tree,
        "blob" => Kind::Blob,
        "tag" => Kind::Tag,
        _ => return None,
    };
    let length = length.parse().ok().filter(|length| *length <= OBJECT_BYTES_MAX)?;
    Some((kind, read_exactly(inflated, length)?))
}

/// Reads `length` bytes, without trusting the length.
pub(super) fn read_exactly(from: impl std::io::Read, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes).ok()?;
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_40_or_64_hex_digits() {
        let id: Id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap();
        assert_eq!(id.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!("a".repeat(64).parse::<Id>().unwrap().to_string(), "a".repeat(64));
        for text in ["", "4b", &"g".repeat(40), &"a".repeat(39), &"a".repeat(42), &"+1".repeat(20), &"é".repeat(20)] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_blob_has_the_id_that_git_gives_it() {
        let like: Id = "a".repeat(40).parse().unwrap();
        let mut hasher = like.blob_hasher(6);
        hasher.update(b"hello\n");
        assert_eq!(hasher.finish().unwrap().to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
