//! Instructions permitted on the peer's encoder and decoder streams (RFC 9204 §4.3, §4.4) while neither end uses a
//! table.

/// Maximum bytes after the first byte of a number of 62 bits.
const CONTINUATION_BYTES_MAX: u8 = 9;

/// Forbidden instruction: `QPACK_ENCODER_STREAM_ERROR` or `QPACK_DECODER_STREAM_ERROR` (RFC 9204 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Number of permitted instructions before.
    pub after: usize,
}

/// Encoder stream of the peer. This end announced a table of 0 bytes, so only one instruction is permitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncoderStream;

impl EncoderStream {
    /// `Set Dynamic Table Capacity` (RFC 9204 §4.3.1) of 0 bytes.
    const NO_TABLE: u8 = 0x20;

    /// Reads received bytes, and returns the number of instructions.
    ///
    /// # Errors
    /// Fails for a larger table (§4.3.1), and for an entry, which has no room in the table (§3.2.2).
    pub fn read(self, bytes: &[u8]) -> Result<usize, Refused> {
        match bytes.iter().position(|byte| *byte != Self::NO_TABLE) {
            Some(after) => Err(Refused { after }),
            None => Ok(bytes.len()),
        }
    }
}

/// Decoder stream of the peer. This end inserts nothing into the peer's table, so there is nothing to acknowledge.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecoderStream {
    /// Number of bytes received of an incomplete number, after the first.
    partial: Option<u8>,
}

impl DecoderStream {
    /// Reads received bytes in pieces of any size, and returns the number of instructions that begin in the bytes.
    ///
    /// # Errors
    /// Fails for an acknowledgement of a section (§4.4.1) or an insertion (§4.4.3) that never existed, and for a number
    /// of more than 62 bits (§4.1.1).
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
                // §4.4.2: a peer with a table reports unread streams; no state depends on the report.
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
