//! What may come on the peer's encoder and decoder streams (RFC 9204 §4.3, §4.4) while neither end uses a table.

/// Bytes of a number after the first one that holds the greatest, of 62 bits.
const CONTINUATION_BYTES_MAX: u8 = 9;

/// An instruction that is not allowed here: `QPACK_ENCODER_STREAM_ERROR` or `QPACK_DECODER_STREAM_ERROR` (RFC 9204 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Instructions before it that are allowed.
    pub after: usize,
}

/// The peer's encoder stream. This end has announced a table of no bytes, so that there is one instruction that means
/// no more than is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncoderStream;

impl EncoderStream {
    /// `Set Dynamic Table Capacity` (RFC 9204 §4.3.1) of 0 bytes.
    const NO_TABLE: u8 = 0x20;

    /// Reads bytes that came, and gives the number of instructions.
    ///
    /// # Errors
    /// For a larger table (§4.3.1), and for an entry, which no table has room for (§3.2.2).
    pub fn read(self, bytes: &[u8]) -> Result<usize, Refused> {
        match bytes.iter().position(|byte| *byte != Self::NO_TABLE) {
            Some(after) => Err(Refused { after }),
            None => Ok(bytes.len()),
        }
    }
}

/// The peer's decoder stream. This end inserts nothing into the peer's table, so that nothing is to be acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecoderStream {
    /// Bytes of a number that came after its first one, if its end has not come.
    partial: Option<u8>,
}

impl DecoderStream {
    /// Reads bytes that came, in pieces of any size, and gives the number of instructions that begin in them.
    ///
    /// # Errors
    /// For an acknowledgement of a section (§4.4.1) or an insertion (§4.4.3) that never was, and for a number of more
    /// than 62 bits (§4.1.1).
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut begun = 0;
        for byte in bytes {
            match &mut self.partial {
                Some(count) => {
                    *count += 1;
                    if byte & 0x80 == 0 {
                        self.partial = None;
                    } else if *count >= CONTINUATION_BYTES_MAX {
                        return Err(Refused { after: begun });
                    }
                }
                // §4.4.2: a peer that has a table reports streams that it does not read; there is nothing to forget.
                None if byte & 0xc0 == 0x40 => {
                    begun += 1;
                    self.partial = (byte & 0x3f == 0x3f).then_some(0);
                }
                None => return Err(Refused { after: begun }),
            }
        }
        Ok(begun)
    }
}
