//! Unpacks a tar while received: plain, gzip or zstd; ustar, GNU and PAX headers.
//!
//! The `tar` crate yields raw headers here. Long names and PAX records are parsed by the present file within limits,
//! since the crate reads these whole, whatever their declared length.

use std::borrow::Cow;
use std::io::{self, Read};

use ::tar::{Archive, Entry, EntryType, PaxExtensions};
use devanture_config::limits::Limits;
use devanture_config::manifest::halves::Half;
use devanture_config::problem::{Code, Problem};

use super::Kind;
use super::feed::{FeedReader, Meter, Slot};
use super::gate::{EntryKind, Gate, Verdict};
use super::gate::{Refusal, bad, broken, cut_off, shown, too_long};
use super::store::{Piece, Sink, copy};

/// Mode bit for execution by the owner.
pub(super) const OWNER_RUNS: u32 = 0o100;
/// Longest set of PAX records of an entry: some tools store extended attributes there.
const PAX_BYTES_MAX: u64 = 1024 * 1024;
/// Largest accepted zstd window, as a power of two: 32 MiB, more than `zstd -19` uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Metadata that precedes an entry.
#[derive(Default)]
struct Announced {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    /// Target of a link.
    link: Option<Vec<u8>>,
}

/// Unpacks `feed` into `sink`.
pub(crate) fn untar(
    kind: Kind,
    feed: FeedReader,
    (limits, half): (&Limits, Option<Half>),
    sink: &mut dyn Sink,
) -> Result<(), Refusal> {
    let slot = feed.slot();
    let damaged = |error: io::Error| damaged(&slot, &error, None);
    match kind {
        Kind::TarGz => {
            let unpack = |feed| Ok(flate2::read::MultiGzDecoder::new(feed));
            walk(Meter::new(feed, limits, unpack).map_err(damaged)?, &slot, (limits, half), sink)
        }
        Kind::TarZst => {
            let unpack = |feed| {
                let mut decoder = zstd::stream::read::Decoder::new(feed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            };
            walk(Meter::new(feed, limits, unpack).map_err(damaged)?, &slot, (limits, half), sink)
        }
        Kind::Tar | Kind::Zip => walk(Meter::new(feed, limits, Ok).map_err(damaged)?, &slot, (limits, half), sink),
    }
}

fn walk<R: Read>(
    meter: Meter<R>,
    slot: &Slot,
    (limits, half): (&Limits, Option<Half>),
    sink: &mut dyn Sink,
) -> Result<(), Refusal> {
    let mut gate = Gate::new(limits).of_half(half);
    let mut archive = Archive::new(meter);
    let mut announced = Announced::default();
    let mut announces = false;
    let failed = |error: io::Error| damaged(slot, &error, None);
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        let kind = entry.header().entry_type();
        announces = !kind.is_pax_global_extensions();
        match kind {
            // Records for the whole archive, for example the commit written by `git archive`, do not concern files.
            EntryType::XGlobalHeader => {}
            // Targets of excluded links are not read.
            EntryType::GNULongLink if half != Some(Half::Backend) => {}
            EntryType::GNULongLink => announced.link = Some(read_name(&mut entry, limits, slot)?),
            EntryType::GNULongName => {
                announced.name = Some(read_name(&mut entry, limits, slot)?);
            }
            EntryType::XHeader => read_pax(&read_whole(&mut entry, PAX_BYTES_MAX, slot)?, &mut announced)?,
            _ => {
                unpack_entry(&mut entry, std::mem::take(&mut announced), &mut gate, slot, sink)?;
                announces = false;
            }
        }
    }
    let mut meter = archive.into_inner();
    if slot.at_end() || announces {
        return Err(cut_off().into());
    }
    only_zeros(&mut meter).map_err(failed)?;
    Ok(gate.finish(meter.packed())?)
}

/// Reads the padding blocks after the end marker, so that checksums are verified.
fn only_zeros<R: Read>(meter: &mut Meter<R>) -> io::Result<()> {
    let mut block = [0; 8 * 1024];
    loop {
        let read = meter.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        if block.iter().take(read).any(|byte| *byte != 0) {
            return Err(io::Error::other("something follows its end, such as a second archive"));
        }
    }
}

fn unpack_entry<R: Read>(
    entry: &mut Entry<'_, R>,
    announced: Announced,
    gate: &mut Gate<'_>,
    slot: &Slot,
    sink: &mut dyn Sink,
) -> Result<(), Refusal> {
    let name = announced.name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
    let size = entry.header().entry_size().map_err(|error| damaged(slot, &error, Some(&name)))?;
    if announced.size.is_some_and(|declared| declared != size) {
        // Readers that trust one or the other length would see different archives.
        return Err(super::gate::damaged(format!("`{}` has two lengths in the archive.", shown(&name))).into());
    }
    let kind = match entry.header().entry_type() {
        _ if announced.sparse => EntryKind::Sparse,
        // Before ustar, a name ending with / was the only mark of a folder.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => EntryKind::Folder,
        EntryType::Regular | EntryType::Continuous => EntryKind::File,
        EntryType::Directory => EntryKind::Folder,
        EntryType::Link => EntryKind::HardLink,
        EntryType::Symlink => EntryKind::SymbolicLink,
        EntryType::Char | EntryType::Block => EntryKind::Device,
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::GNUSparse => EntryKind::Sparse,
        _ => EntryKind::Other,
    };
    match gate.entry(&name, kind, size)? {
        Verdict::Skip => {}
        Verdict::Link(path) => {
            let target = announced.link.or_else(|| entry.link_name_bytes().map(Cow::into_owned)).unwrap_or_default();
            let not_text = |_error| bad(format!("The link `{path}` in the archive leads to a name that is not UTF-8."));
            let target = String::from_utf8(target).map_err(not_text)?;
            gate.link(&path, &target)?;
            sink.put(Piece::Link(path, target))?;
        }
        Verdict::Take(path) => {
            if entry.header().mode().is_ok_and(|mode| mode & OWNER_RUNS != 0) {
                sink.put(Piece::MayRun(path.clone()))?;
            }
            let came = copy(entry, path, size, sink, |error| damaged(slot, &error, Some(&name)))?;
            if came != size {
                return Err(cut_off().into());
            }
        }
    }
    Ok(())
}

/// Reads a name terminated by a zero.
fn read_name<R: Read>(entry: &mut Entry<'_, R>, limits: &Limits, slot: &Slot) -> Result<Vec<u8>, Refusal> {
    let mut name = read_whole(entry, limits.path_bytes_max.saturating_add(1), slot)?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    Ok(name)
}

fn read_whole<R: Read>(entry: &mut Entry<'_, R>, bytes_max: u64, slot: &Slot) -> Result<Vec<u8>, Refusal> {
    let size = entry.size();
    if size > bytes_max {
        let mut begin = Vec::new();
        // An unreadable rest leaves the size unchanged.
        drop(entry.take(256).read_to_end(&mut begin));
        let detail = format!("A name or record of {size} bytes stands in the archive: `{}`.", shown(&begin));
        return Err(too_long(detail, "path_bytes_max").into());
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| damaged(slot, &error, None))?;
    Ok(bytes)
}

fn read_pax(records: &[u8], announced: &mut Announced) -> Result<(), Refusal> {
    for record in PaxExtensions::new(records) {
        let unreadable = || bad("A PAX record of the archive cannot be read.");
        let record = record.map_err(|_error| unreadable())?;
        let key = record.key().map_err(|_error| unreadable())?;
        match key {
            "path" => announced.name = Some(record.value_bytes().to_vec()),
            "linkpath" => announced.link = Some(record.value_bytes().to_vec()),
            "size" => {
                let size = record.value().ok().and_then(|size| size.parse().ok());
                announced.size = Some(size.ok_or_else(unreadable)?);
            }
            _ if key.starts_with("GNU.sparse.") => announced.sparse = true,
            _ => {}
        }
    }
    Ok(())
}

/// Returns the reason of a read error: from the edge's own readers, or a violation of the archive's format.
fn damaged(slot: &Slot, error: &io::Error, name: Option<&[u8]>) -> Refusal {
    slot.reason(|| {
        let place = name.map_or_else(String::new, |name| format!(" at `{}`", shown(name)));
        let detail = format!("The archive is damaged or cut off{place}: {error}.");
        if slot.at_end() {
            return Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole").into();
        }
        broken(error, detail).into()
    })
}
