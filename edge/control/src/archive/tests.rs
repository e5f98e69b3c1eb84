//! Tests of archives of every format, complete, truncated and modified, without an edge.

use std::fs::File;
use std::io::{Cursor, Seek as _, Write as _};

use bytes::Bytes;
use devanture_config::limits::Limits;
use devanture_config::manifest::halves::Half;
use devanture_config::problem::{Code, Problem};
use proptest::prelude::*;

use super::Kind;
use super::feed::feed;
use super::gate::Refusal;
use super::gate::{EntryKind, Gate, Verdict};
use super::store::{Piece, Sink};
use super::untar::untar;
use super::unzip::unzip;

#[derive(Default)]
struct Collected(Vec<(String, Vec<u8>)>);

impl Sink for Collected {
    fn put(&mut self, piece: Piece) -> Result<(), Refusal> {
        match piece {
            Piece::Begin(path) => self.0.push((path.to_string(), Vec::new())),
            Piece::Bytes(bytes) => self.0.last_mut().unwrap().1.extend_from_slice(&bytes),
            Piece::End | Piece::MayRun(_) | Piece::Link(..) => {}
        }
        Ok(())
    }
}

fn unpacked(archive: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, Box<Problem>> {
    let head = archive.get(..super::HEAD_BYTES).unwrap_or(archive);
    let mut files = Collected::default();
    let result = match Kind::of(head) {
        None => return Err(Box::new(super::gate::bad("of no kind"))),
        Some(Kind::Zip) => {
            let mut file: File = tempfile::tempfile().unwrap();
            file.write_all(archive).unwrap();
            file.rewind().unwrap();
            unzip(file, (limits, None), &mut files)
        }
        Some(kind) => {
            let (sender, reader) = feed();
            let chunks: Vec<Bytes> = archive.chunks(1_000).map(Bytes::copy_from_slice).collect();
            let feeding = std::thread::spawn(move || {
                let chunks = chunks.into_iter().map(Some).chain([None]);
                // Stops once the archive is refused.
                chunks.take_while(|chunk| sender.blocking_send(chunk.clone()).is_ok()).count()
            });
            let result = untar(kind, reader, (limits, None), &mut files);
            feeding.join().unwrap();
            result
        }
    };
    match result {
        Ok(()) => Ok(files.0),
        Err(Refusal::Problem(problem)) => Err(problem),
        Err(Refusal::BrokenOff) => panic!("nothing broke off"),
    }
}

const FILES: [(&str, &[u8]); 3] = [("index.html", b"<h1>Hi</h1>"), ("assets/a.js", b"1;"), ("empty", b"")];

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        writer.start_file(*path, ::zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn every_kind() -> [(&'static str, Vec<u8>); 4] {
    let tar = tar_of(&FILES);
    let zst = zstd::encode_all(tar.as_slice(), 3).unwrap();
    [("tar", tar.clone()), ("tar.gz", gzip(&tar)), ("tar.zst", zst), ("zip", zip_of(&FILES))]
}

#[test]
fn every_kind_holds_the_same_files() {
    let expected: Vec<(String, Vec<u8>)> = FILES.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).into();
    for (kind, archive) in every_kind() {
        assert_eq!(unpacked(&archive, &Limits::default()).unwrap(), expected, "{kind}");
    }
}

#[test]
fn every_cut_is_noticed() {
    for (kind, archive) in every_kind() {
        // The last block of a plain tar is only padding for tapes.
        let end = if kind == "tar" { archive.len() - 1_024 } else { archive.len() - 1 };
        for length in (0..=end).step_by(if kind == "tar" { 97 } else { 1 }).chain([end]) {
            let problem = unpacked(&archive[..length], &Limits::default()).unwrap_err();
            // Input too short for any format is indistinguishable from an unknown format.
            let code = if problem.detail.contains("no kind") { Code::BadArchive } else { Code::ArchiveCutOff };
            assert_eq!(problem.code, code, "{kind} cut to {length}: {problem:?}");
        }
    }
}

#[test]
fn what_follows_the_end_of_a_tar_is_refused() {
    let mut two = tar_of(&FILES);
    two.extend(tar_of(&[("more", b"x")]));
    assert!(unpacked(&two, &Limits::default()).unwrap_err().detail.contains("follows its end"));
    assert!(unpacked(&gzip(&two), &Limits::default()).is_err());
    let mut padded = tar_of(&FILES);
    padded.resize(padded.len() + 9_000, 0);
    assert!(unpacked(&padded, &Limits::default()).is_ok());
}

#[test]
fn long_names_of_gnu_and_pax_are_read() {
    let name = format!("{}/{}.js", "folder/".repeat(20), "n".repeat(150));
    let name = name.replace("//", "/");
    let files = unpacked(&tar_of(&[(&name, b"x")]), &Limits::default()).unwrap();
    assert_eq!(files[0].0, name);
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("path", name.as_bytes()), ("mtime", b"1.5")]).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_path("short").unwrap();
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    assert_eq!(unpacked(&builder.into_inner().unwrap(), &Limits::default()).unwrap()[0].0, name);
}

#[test]
fn a_pax_length_that_differs_is_refused() {
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("size", b"1024".as_slice())]).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_path("a").unwrap();
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    let problem = unpacked(&builder.into_inner().unwrap(), &Limits::default()).unwrap_err();
    assert!(problem.detail.contains("two lengths"), "{problem:?}");
}

#[test]
fn a_name_that_says_it_is_endless_is_not_read() {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(100_000, b'n');
    let problem = unpacked(&archive, &Limits::default()).unwrap_err();
    assert_eq!(problem.code, Code::PathTooLong);
    assert!(problem.hint.unwrap().contains("path_bytes_max"));
}

#[test]
fn a_bomb_is_stopped_before_it_is_unpacked() {
    let zeros = vec![0; 200 * 1024 * 1024];
    let limits = Limits { archive_ratio_max: 10, ..Limits::default() };
    for archive in [gzip(&tar_of(&[("zeros", &zeros)])), zip_of(&[("zeros", &zeros)])] {
        let problem = unpacked(&archive, &limits).unwrap_err();
        assert_eq!(problem.code, Code::ArchiveBomb, "{problem:?}");
        assert!(problem.hint.unwrap().contains("archive_ratio_max"));
    }
}

#[test]
fn names_are_judged_as_they_are_written() {
    let limits = Limits { segment_bytes_max: 20, ..Limits::default() };
    let mut gate = Gate::new(&limits);
    let mut judge = |name: &str| gate.entry(name.as_bytes(), EntryKind::File, 1);
    let take = |name: &str| Verdict::Take(name.parse().unwrap());
    assert_eq!(judge("./index.html").unwrap(), take("index.html"));
    assert_eq!(judge(".//.//a/b").unwrap(), take("a/b"));
    assert_eq!(judge("u\u{308}.txt").unwrap(), take("ü.txt"));
    for left_out in ["./", ".", "a/.git/config", "__MACOSX/._a", "x/.DS_Store", "node_modules/x", "key.PEM", ".env"] {
        assert_eq!(judge(left_out).unwrap(), Verdict::Skip, "{left_out}");
    }
    for (code, bad) in [
        (Code::PathEscapes, &["../a", "a/../b", "/etc/passwd", "..", "a/./b"][..]),
        (Code::BadPath, &["a//b", "a\nb", "a\0b", "a\\b", ""]),
        (Code::DuplicatePath, &["index.html", "ü.txt"]),
    ] {
        for name in bad {
            assert_eq!(judge(name).unwrap_err().0.code, code, "{name:?}");
        }
    }
    assert_eq!(judge(&"d/".repeat(300)).unwrap_err().0.code, Code::BadPath);
    assert_eq!(judge(&"x".repeat(5_000)).unwrap_err().0.code, Code::PathTooLong);
    assert!(judge(&"x".repeat(21)).unwrap_err().0.hint.unwrap().contains("segment_bytes_max"));
}

#[test]
fn targets_of_links_are_bounded_and_counted() {
    let limits = Limits { manifest_bytes_max: 10_000, ..Limits::default() };
    let mut gate = Gate::new(&limits).of_half(Some(Half::Backend));
    let mut judge = |name: &str, bytes: usize| {
        let Verdict::Link(path) = gate.entry(name.as_bytes(), EntryKind::SymbolicLink, 0)? else { panic!("{name}") };
        gate.link(&path, &"t".repeat(bytes))
    };
    assert_eq!(judge("server/a", 4_097).unwrap_err().0.code, Code::PathTooLong);
    judge("server/b", 4_096).unwrap();
    judge("server/c", 4_096).unwrap();
    let problem = judge("server/d", 4_096).unwrap_err().0;
    assert!(problem.hint.as_ref().unwrap().contains("manifest_bytes_max"), "{problem:?}");
}

#[test]
fn a_file_is_no_folder() {
    let limits = Limits::default();
    for (one, other) in [("a", "a/b"), ("x/y/z", "x/y")] {
        let mut gate = Gate::new(&limits);
        for name in [one, other, "a.b", "a-", "b"] {
            gate.entry(name.as_bytes(), EntryKind::File, 1).unwrap();
        }
        assert!(gate.finish(1_000).unwrap_err().0.detail.contains("both a file and a folder"));
    }
    let mut gate = Gate::new(&limits);
    gate.entry(b"a/", EntryKind::Folder, 0).unwrap();
    gate.entry(b"a", EntryKind::File, 0).unwrap();
    assert!(gate.finish(1_000).is_err());
}

#[test]
fn empty_folders_count_as_files() {
    let limits = Limits { bundle_files_max: 3, ..Limits::default() };
    let archive = |folders: &[&str]| {
        let mut builder = ::tar::Builder::new(Vec::new());
        for folder in folders {
            let mut header = ::tar::Header::new_gnu();
            header.set_entry_type(::tar::EntryType::Directory);
            header.set_size(0);
            builder.append_data(&mut header, folder, &b""[..]).unwrap();
        }
        let mut header = ::tar::Header::new_gnu();
        header.set_size(2);
        builder.append_data(&mut header, "a/b/index.html", &b"hi"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    // Folders with files are free, in any number.
    assert_eq!(unpacked(&archive(&["a/", "a/b/", "c/", "d/"]), &limits).unwrap().len(), 1);
    let problem = unpacked(&archive(&["a/", "c/", "d/", "e/"]), &limits).unwrap_err();
    assert_eq!(problem.code, Code::BundleTooLarge);
    assert!(problem.hint.as_ref().unwrap().contains("bundle_files_max"), "{problem:?}");
}

#[test]
fn a_zip_with_two_names_for_an_entry_is_refused() {
    let archive = zip_of(&FILES);
    let at = archive.windows(10).position(|window| window == b"index.html").unwrap();
    for other in [&b"other.html"[..], b"../x.html/"] {
        let mut changed = archive.clone();
        changed[at..at + 10].copy_from_slice(other);
        let problem = unpacked(&changed, &Limits::default()).unwrap_err();
        assert_eq!(problem.code, Code::ArchiveDamaged, "{problem:?}");
        assert!(problem.detail.contains("has another name"), "{problem:?}");
    }
    // A name of another length.
    let mut changed = archive.clone();
    changed[at - 4] = 9;
    assert!(unpacked(&changed, &Limits::default()).unwrap_err().detail.contains("has another name"));
}

proptest! {
    #[test]
    fn no_change_of_a_byte_makes_it_panic(kind in 0_usize..4, place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_, mut archive) = every_kind()[kind].clone();
        let place = place.index(archive.len());
        archive[place] = byte;
        // Whatever the detected format, the limits hold.
        if let Ok(files) = unpacked(&archive, &Limits { bundle_files_max: 3, ..Limits::default() }) {
            prop_assert!(files.len() <= 3);
        }
    }

    #[test]
    fn any_files_come_back(files in prop::collection::btree_map("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..3_000), 1..8)) {
        let files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        for archive in [tar_of(&borrowed), gzip(&tar_of(&borrowed)), zip_of(&borrowed)] {
            prop_assert_eq!(&unpacked(&archive, &Limits::default()).unwrap(), &files);
        }
    }
}
