//! Body of a request with many small blobs: for each blob the BLAKE3 (32 bytes), the length (4 bytes, big-endian) and
//! the bytes, back to back.

use crate::Digest;

/// Media type of the body.
pub const MEDIA_TYPE: &str = "application/vnd.devanture.blobs";
/// Bytes before the content of each blob.
pub const HEAD_BYTES: usize = DIGEST_BYTES + LENGTH_BYTES;

const DIGEST_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;

/// Returns the head of a blob.
#[must_use]
pub fn head(digest: &Digest, length: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (name, number) = head.split_at_mut(DIGEST_BYTES);
    name.copy_from_slice(digest.as_bytes());
    number.copy_from_slice(&length.to_be_bytes());
    head
}

/// Error of an unreadable body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// The body ends within a blob or a head.
    #[error("the body ends within a blob")]
    CutOff,
    /// A blob exceeds the limit of the whole body.
    #[error("the blob {digest} is announced with {length} bytes, and a batch has {bytes_max} at most")]
    TooLong {
        /// Name of the blob.
        digest: Digest,
        /// Announced length.
        length: u32,
        /// Limit.
        bytes_max: u64,
    },
}

/// Incremental reader of a body, for pieces of any length. Beside the last pushed piece, the reader holds at most one
/// unfinished blob.
#[derive(Debug)]
pub struct Reader {
    bytes_max: u64,
    buffer: Vec<u8>,
    /// Consumed bytes of the buffer.
    taken: usize,
    /// Blob under way.
    current: Option<(Digest, usize)>,
}

impl Reader {
    /// Makes a reader with a limit of bytes per blob.
    #[must_use]
    pub const fn new(bytes_max: u64) -> Self {
        Self { bytes_max, buffer: Vec::new(), taken: 0, current: None }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete blob with the announced name; the bytes are unverified.
    ///
    /// # Errors
    /// [`BadBatch::TooLong`].
    pub fn next_blob(&mut self) -> Result<Option<(Digest, Vec<u8>)>, BadBatch> {
        let (digest, length) = match self.current {
            Some(current) => current,
            None => {
                let Some(head) = self.take(HEAD_BYTES) else { return Ok(None) };
                *self.current.insert(self.read_head(&head)?)
            }
        };
        let Some(bytes) = self.take(length) else { return Ok(None) };
        self.current = None;
        Ok(Some((digest, bytes)))
    }

    /// Checks that the body ended at the end of a blob.
    ///
    /// # Errors
    /// [`BadBatch::CutOff`].
    pub fn end(&self) -> Result<(), BadBatch> {
        if self.current.is_none() && self.buffer.len() == self.taken { Ok(()) } else { Err(BadBatch::CutOff) }
    }

    fn read_head(&self, head: &[u8]) -> Result<(Digest, usize), BadBatch> {
        let (name, number) = head.split_at_checked(DIGEST_BYTES).ok_or(BadBatch::CutOff)?;
        let (Ok(name), Ok(number)) = (<[u8; DIGEST_BYTES]>::try_from(name), number.try_into()) else {
            return Err(BadBatch::CutOff);
        };
        let (digest, length) = (Digest::from(name), u32::from_be_bytes(number));
        match usize::try_from(length) {
            Ok(count) if u64::from(length) <= self.bytes_max => Ok((digest, count)),
            _ => Err(BadBatch::TooLong { digest, length, bytes_max: self.bytes_max }),
        }
    }

    /// Takes the next `count` bytes, if complete.
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let end = self.taken.checked_add(count)?;
        let taken = self.buffer.get(self.taken..end)?.to_vec();
        self.taken = end;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(blobs: &[Vec<u8>]) -> Vec<u8> {
        let one = |blob: &Vec<u8>| {
            let length = u32::try_from(blob.len()).unwrap();
            [&head(&Digest::of(blob), length)[..], blob].concat()
        };
        blobs.iter().flat_map(one).collect()
    }

    #[test]
    fn the_format_is_fixed() {
        let body = written(&[b"hello\n".to_vec(), Vec::new()]);
        let expected = [
            "8e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99",
            "00000006",
            "68656c6c6f0a",
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "00000000",
        ];
        assert_eq!(hex::encode(body), expected.concat());
    }

    #[test]
    fn a_blob_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut reader = Reader::new(5);
        let digest = Digest::of(b"hello\n");
        reader.push(&head(&digest, 6));
        assert_eq!(reader.next_blob(), Err(BadBatch::TooLong { digest, length: 6, bytes_max: 5 }));
    }

    proptest! {
        #[test]
        fn reading_undoes_writing_whatever_the_pieces(
            blobs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            piece in 1..80_usize,
            cut in any::<prop::sample::Index>(),
        ) {
            let body = written(&blobs);
            let read = |body: &[u8]| {
                let (mut reader, mut found) = (Reader::new(50), Vec::new());
                for piece in body.chunks(piece) {
                    reader.push(piece);
                    while let Some((digest, bytes)) = reader.next_blob().unwrap() {
                        assert_eq!(digest, Digest::of(&bytes));
                        found.push(bytes);
                    }
                }
                (found, reader.end())
            };
            prop_assert_eq!(read(&body), (blobs.clone(), Ok(())));
            let cut = &body[..cut.index(body.len() + 1)];
            let (found, end) = read(cut);
            prop_assert!(blobs.starts_with(&found));
            prop_assert_eq!(end.is_ok(), written(&found).len() == cut.len());
        }

        #[test]
        fn no_body_is_too_strange(body: Vec<u8>) {
            let mut reader = Reader::new(1_000);
            reader.push(&body);
            while let Ok(Some((_, bytes))) = reader.next_blob() {
                prop_assert!(bytes.len() <= 1_000);
            }
        }
    }
}
