//! Archive formats, detected by their first bytes.

/// Archive format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tar,
    TarGz,
    TarZst,
    Zip,
}

/// Bytes needed for the detection: a tar begins with a block of this length with a checksum.
pub(crate) const HEAD_BYTES: usize = 512;

impl Kind {
    /// Detects the format of `head`, of [`HEAD_BYTES`] bytes or a whole archive.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            // Local header, or end of the directory of an empty archive (APPNOTE 4.3).
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            // RFC 1952 §2.3.1.
            [0x1f, 0x8b, ..] => Some(Self::TarGz),
            // RFC 8878 §3.1: a frame, or a skippable frame.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::TarZst),
            _ if is_tar(head) => Some(Self::Tar),
            _ => None,
        }
    }
}

fn is_tar(head: &[u8]) -> bool {
    let Ok(block) = <[u8; HEAD_BYTES]>::try_from(head) else { return false };
    if block.iter().all(|byte| *byte == 0) {
        // An empty tar consists of its end marker.
        return true;
    }
    let mut header = ::tar::Header::new_old();
    *header.as_mut_bytes() = block;
    // The checksum counts its own field, eight bytes from 148 on, as spaces.
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let (before, rest) = block.split_at(148);
    let found = sum(before) + sum(rest.get(8..).unwrap_or_default()) + 8 * 32;
    header.cksum().is_ok_and(|declared| declared == found)
}
