//! Numbers of HPACK and QPACK (RFC 7541 §5.1, RFC 9204 §4.1.1), and the reader of a block's bytes.

use super::DecodeError;

/// Maximum bytes of a number after the first: four exceed the length of any accepted block.
const CONTINUATION_BYTES_MAX: u32 = 4;
/// Maximum bytes of a QPACK number after the first, for 62 bits.
const LONG_CONTINUATION_BYTES_MAX: u32 = 9;
/// Maximum QPACK number.
const LONG_MAX: u64 = (1 << 62) - 1;

/// Remaining bytes of a block.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Reads `block` from the beginning.
    pub(in super::super) fn new(block: &'b [u8]) -> Self {
        Self { rest: block }
    }

    /// Returns all remaining bytes.
    #[inline]
    pub(in super::super) const fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// Returns the next byte, `None` at the end.
    #[inline]
    pub(in super::super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Returns the next `bytes` bytes.
    #[inline]
    pub(in super::super) fn take(&mut self, bytes: usize) -> Result<&'b [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Returns the number that begins in the low bits of `first`, given by `mask`.
    ///
    /// # Errors
    /// Fails if the number is incomplete, or longer than any valid number.
    #[inline]
    pub(in super::super) fn integer(&mut self, first: u8, mask: u8) -> Result<usize, DecodeError> {
        let prefix = first & mask;
        if prefix < mask { Ok(usize::from(prefix)) } else { self.continuation(usize::from(prefix)) }
    }

    /// Reads the rest of a number that filled the prefix.
    fn continuation(&mut self, prefix: usize) -> Result<usize, DecodeError> {
        let mut value = prefix;
        for place in 0..CONTINUATION_BYTES_MAX {
            let byte = self.byte().ok_or(DecodeError::Truncated)?;
            value += usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Overflow)
    }

    /// Returns a number like [`Reader::integer`], with up to 62 bits.
    ///
    /// # Errors
    /// Fails if the number is incomplete or greater.
    pub(in super::super) fn long_integer(&mut self, first: u8, mask: u8) -> Result<u64, DecodeError> {
        let prefix = first & mask;
        let mut value = u64::from(prefix);
        if prefix < mask {
            return Ok(value);
        }
        for place in 0..LONG_CONTINUATION_BYTES_MAX {
            let byte = self.byte().ok_or(DecodeError::Truncated)?;
            value += u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return if value <= LONG_MAX { Ok(value) } else { Err(DecodeError::Overflow) };
            }
        }
        Err(DecodeError::Overflow)
    }
}

/// Writes `value` with a prefix of the bits in `mask`, and `pattern` in the bits above.
#[inline]
pub(in super::super) fn put(value: usize, pattern: u8, mask: u8, block: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(small) if small < mask => block.push(pattern | small),
        _ => put_long(value, pattern, mask, block),
    }
}

/// Writes a number that fills the prefix.
fn put_long(value: usize, pattern: u8, mask: u8, block: &mut Vec<u8>) {
    block.push(pattern | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        block.push(low_seven_bits(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low_seven_bits(rest));
}

/// Returns the last seven bits of a number.
fn low_seven_bits(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], mask: u8) -> Result<usize, DecodeError> {
        let mut reader = Reader::new(bytes);
        let first = reader.byte().unwrap();
        let value = reader.integer(first, mask)?;
        assert_eq!(reader.byte(), None);
        Ok(value)
    }

    #[test]
    fn the_numbers_of_appendix_c_1_are_read_and_written() {
        for (value, pattern, mask, bytes) in [
            (10, 0b1110_0000, 0x1f, &[0b1110_1010][..]),
            (1_337, 0, 0x1f, &[0b0001_1111, 0b1001_1010, 0b0000_1010]),
            (42, 0, 0xff, &[0b0010_1010]),
        ] {
            let mut written = Vec::new();
            put(value, pattern, mask, &mut written);
            assert_eq!(written, bytes);
            assert_eq!(read(bytes, mask), Ok(value));
        }
    }

    #[test]
    fn every_number_is_read_as_it_was_written() {
        let numbers = (0..70_000).chain([(1 << 21) - 1, 1 << 21, (1 << 28) - 1]);
        for value in numbers {
            for mask in [0x0f, 0x1f, 0x3f, 0x7f, 0xff] {
                let mut written = Vec::new();
                put(value, 0, mask, &mut written);
                assert_eq!(read(&written, mask), Ok(value));
            }
        }
    }

    #[test]
    fn a_number_of_62_bits_is_read_where_it_may_be_meant() {
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let first = reader.byte().unwrap();
            reader.long_integer(first, 0x7f)
        };
        for value in [0, 126, 127, 128, 1 << 28, (1 << 60) + 7, LONG_MAX] {
            let mut written = Vec::new();
            put(usize::try_from(value).unwrap(), 0, 0x7f, &mut written);
            assert_eq!(read(&written), Ok(value));
            for end in 1..written.len() {
                assert_eq!(read(&written[..end]), Err(DecodeError::Truncated));
            }
        }
        let mut beyond = Vec::new();
        put(1 << 62, 0, 0x7f, &mut beyond);
        assert_eq!(read(&beyond), Err(DecodeError::Overflow));
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Ok(127));
        assert_eq!(read(&[0xff; 20]), Err(DecodeError::Overflow));
    }

    #[test]
    fn a_number_that_does_not_end_is_refused() {
        assert_eq!(read(&[0x7f], 0x7f), Err(DecodeError::Truncated));
        assert_eq!(read(&[0x7f, 0x80], 0x7f), Err(DecodeError::Truncated));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x00], 0x7f), Err(DecodeError::Overflow));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0x7f], 0x7f), Ok(127 + (1 << 28) - 1));
        // Trailing zeros are permitted within the maximum length.
        assert_eq!(read(&[0x7f, 0x81, 0x80, 0x80, 0x00], 0x7f), Ok(128));
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 0x7f), Err(DecodeError::Overflow));
    }
}
