//! Reads objects from packs (gitformat-pack): the index of version 2, whole objects and deltas.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use devanture_project::beneath::Folder;
use flate2::read::ZlibDecoder;

use super::objects::{Id, Kind, OBJECT_BYTES_MAX, read_exactly};

/// The magic number of an index of version 2.
const MAGIC: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];
/// Bytes before the sorted ids: the magic number, and for each byte the number of ids with a first byte up to it.
const IDS_AT: u64 = 8 + 256 * 4;
/// Upper bound of a chain of deltas; git makes none longer than 4095.
const CHAIN_MAX: usize = 4_096;
/// Most bytes of all deltas of a chain together.
const CHAIN_BYTES_MAX: usize = 4 * OBJECT_BYTES_MAX;
/// Most bytes of a number of variable length.
const NUMBER_BYTES_MAX: u32 = 9;

/// A pack and its index.
#[derive(Debug)]
pub(super) struct Pack {
    folder: Folder,
    name: String,
    index: Mutex<File>,
    /// The pack, once an object was found in it.
    pack: Mutex<Option<File>>,
}

/// An entry of a pack.
enum Entry {
    Whole(Kind, Vec<u8>),
    /// A delta against the entry at a different offset of the same pack.
    DeltaAt(u64, Vec<u8>),
    /// A delta against an object that may be in a different pack.
    DeltaOf(Id, Vec<u8>),
}

impl Pack {
    /// Opens `name`.idx; `name`.pack is opened on demand.
    pub(super) fn open(folder: &Folder, name: &str) -> Option<Self> {
        let mut index = folder.file(Path::new(&format!("{name}.idx"))).ok()?;
        (read_at(&mut index, 0, 8)? == MAGIC).then(|| Self {
            folder: folder.clone(),
            name: name.to_owned(),
            index: Mutex::new(index),
            pack: Mutex::default(),
        })
    }

    /// Returns the object `id` with its type, if this pack has it; bases of deltas may be in any of `packs`.
    pub(super) fn read(&self, id: Id, packs: &[Self]) -> Option<(Kind, Vec<u8>)> {
        let (mut pack, mut at) = (self, self.find(id)?);
        let (mut deltas, mut bytes) = (Vec::new(), 0_usize);
        let (kind, mut object) = loop {
            let delta = match pack.entry(at, id)? {
                Entry::Whole(kind, object) => break (kind, object),
                Entry::DeltaAt(base, delta) => {
                    at = base;
                    delta
                }
                Entry::DeltaOf(base, delta) => {
                    (pack, at) = packs.iter().find_map(|pack| Some((pack, pack.find(base)?)))?;
                    delta
                }
            };
            bytes += delta.len();
            deltas.push(delta);
            if deltas.len() > CHAIN_MAX || bytes > CHAIN_BYTES_MAX {
                return None;
            }
        };
        for delta in deltas.iter().rev() {
            object = apply(&object, delta)?;
        }
        Some((kind, object))
    }

    /// Returns the offset of the object `id` in the pack.
    fn find(&self, id: Id) -> Option<u64> {
        let index = &mut *self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let first = u64::from(*id.as_bytes().first()?);
        let count_up_to = |index: &mut File, byte: u64| u32_at(index, 8 + byte * 4).map(u64::from);
        let mut low = if first == 0 { 0 } else { count_up_to(index, first - 1)? };
        let mut high = count_up_to(index, first)?;
        let count = count_up_to(index, 255)?;
        let width = id.as_bytes().len();
        while low < high {
            let middle = low + (high - low) / 2;
            let found = read_at(index, IDS_AT + middle * width as u64, width)?;
            match found.as_slice().cmp(id.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return offset(index, count, width as u64, middle),
            }
        }
        None
    }

    /// Reads the entry at `at`; `like` is an id of the repository's kind.
    fn entry(&self, at: u64, like: Id) -> Option<Entry> {
        let opened = &mut *self.pack.lock().unwrap_or_else(PoisonError::into_inner);
        let pack = match opened {
            Some(pack) => pack,
            None => opened.insert(self.folder.file(Path::new(&format!("{}.pack", self.name))).ok()?),
        };
        pack.seek(SeekFrom::Start(at)).ok()?;
        let mut reader = BufReader::new(pack);
        let first = byte(&mut reader)?;
        let mut length = u64::from(first & 0x0f);
        if first & 0x80 != 0 {
            length |= number(&mut reader)?.checked_mul(16)?;
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= OBJECT_BYTES_MAX)?;
        let kind = match (first >> 4) & 7 {
            1 => Kind::Commit,
            2 => Kind::Tree,
            3 => Kind::Blob,
            4 => Kind::Tag,
            6 => {
                let base = at.checked_sub(distance(&mut reader)?)?;
                return Some(Entry::DeltaAt(base, inflate(reader, length)?));
            }
            7 => {
                let base = Id::of_bytes(&read_exactly(&mut reader, like.as_bytes().len())?)?;
                return Some(Entry::DeltaOf(base, inflate(reader, length)?));
            }
            _ => return None,
        };
        Some(Entry::Whole(kind, inflate(reader, length)?))
    }
}

/// Returns the offset in the pack of the object with the number `number` of `count`.
fn offset(index: &mut File, count: u64, width: u64, number: u64) -> Option<u64> {
    // The ids are followed by a CRC-32 of each, then the offsets.
    let offsets_at = IDS_AT + count * (width + 4);
    let offset = u32_at(index, offsets_at + number * 4)?;
    if offset & 0x8000_0000 == 0 {
        return Some(u64::from(offset));
    }
    let long_at = offsets_at + count * 4 + u64::from(offset & 0x7fff_ffff) * 8;
    Some(u64::from_be_bytes(read_at(index, long_at, 8)?.try_into().ok()?))
}

fn read_at(file: &mut File, at: u64, length: usize) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    read_exactly(file, length)
}

fn u32_at(file: &mut File, at: u64) -> Option<u32> {
    Some(u32::from_be_bytes(read_at(file, at, 4)?.try_into().ok()?))
}

fn byte(from: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte).ok()?;
    Some(u8::from_be_bytes(byte))
}

/// Reads a number of variable length, lowest seven bits first.
fn number(from: &mut impl Read) -> Option<u64> {
    let mut number = 0;
    for place in 0..NUMBER_BYTES_MAX {
        let byte = byte(from)?;
        number |= u64::from(byte & 0x7f) << (place * 7);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Reads the distance from a delta back to its base: highest seven bits first, with a unique form for each number.
fn distance(from: &mut impl Read) -> Option<u64> {
    let mut next = byte(from)?;
    let mut distance = u64::from(next & 0x7f);
    for _ in 1..NUMBER_BYTES_MAX {
        if next & 0x80 == 0 {
            break;
        }
        next = byte(from)?;
        distance = (distance + 1).checked_mul(128)? | u64::from(next & 0x7f);
    }
    (next & 0x80 == 0 && distance > 0).then_some(distance)
}

fn inflate(from: impl Read, length: usize) -> Option<Vec<u8>> {
    read_exactly(ZlibDecoder::new(from), length)
}

/// Applies `delta` to `base`: parts of the base, and new bytes.
fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    let (base_length, length) = (number(&mut rest)?, number(&mut rest)?);
    if base_length != base.len() as u64 || length > OBJECT_BYTES_MAX as u64 {
        return None;
    }
    let mut object = Vec::new();
    while !rest.is_empty() {
        let instruction = byte(&mut rest)?;
        if instruction & 0x80 == 0 {
            // 0 is reserved for future use.
            let (own, after) = rest.split_at_checked(usize::from(instruction)).filter(|(own, _)| !own.is_empty())?;
            object.extend_from_slice(own);
            rest = after;
        } else {
            let mut part = |bits: std::ops::Range<u8>| {
                let mut value = 0_usize;
                for (place, bit) in bits.enumerate() {
                    if instruction & (1 << bit) != 0 {
                        value |= usize::from(byte(&mut rest)?) << (place * 8);
                    }
                }
                Some(value)
            };
            let (from, count) = (part(0..4)?, part(4..7)?);
            let count = if count == 0 { 0x1_0000 } else { count };
            object.extend_from_slice(base.get(from..from.checked_add(count)?)?);
        }
        if object.len() as u64 > length {
            return None;
        }
    }
    (object.len() as u64 == length).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_delta_copies_and_adds() {
        let base = b"The quick brown fox";
        // 19 bytes become 13: copy 4 from 0, add "slow", copy 5 from 14 less its last.
        let delta = [19, 12, 0x90, 4, 4, b's', b'l', b'o', b'w', 0x91, 15, 4];
        assert_eq!(apply(base, &delta).unwrap(), b"The slow fox");
        assert_eq!(apply(b"another base", &delta), None);
        for end in 0..delta.len() {
            assert_eq!(apply(base, &delta[..end]), None, "{end}");
        }
    }

    #[test]
    fn the_distance_of_a_base_has_one_form() {
        assert_eq!(distance(&mut &[0x7f_u8][..]), Some(127));
        assert_eq!(distance(&mut &[0x80_u8, 0x00][..]), Some(128));
        assert_eq!(distance(&mut &[0x81_u8, 0x01][..]), Some(257));
        assert_eq!(distance(&mut &[0_u8][..]), None, "an object is no base of its own");
        assert_eq!(distance(&mut &[0xff_u8; 20][..]), None);
    }

    proptest! {
        #[test]
        fn any_delta_is_applied_or_refused(base in proptest::collection::vec(any::<u8>(), 0..64), delta in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(object) = apply(&base, &delta) {
                prop_assert!(object.len() <= OBJECT_BYTES_MAX);
            }
        }
    }
}
