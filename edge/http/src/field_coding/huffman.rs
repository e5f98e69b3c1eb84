//! Strings in the static Huffman code (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and the codes of
//! the next length continue from there. So the lengths of Appendix B define the whole code, and the tables are
//! computed.

use super::DecodeError;

/// Symbol that ends a string and is never written (RFC 7541 §5.2).
const END: usize = 256;

/// Code length of each symbol in bits: the bytes in order, then [`END`].
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// Longest code.
const LENGTH_MAX: usize = 30;

/// Bits looked up at once. The codes of letters, digits and most punctuation are no longer.
const FAST_BITS: usize = 10;

/// [`FAST_BITS`] and [`LENGTH_MAX`], in the type of bit counts.
const FAST_BITS_COUNT: u32 = 10;
const LENGTH_MAX_COUNT: u32 = 30;

/// Tables computed from [`LENGTHS`].
struct Tables {
    /// Code of each symbol, in the low bits.
    codes: [u32; 257],
    /// Symbol and code length for each value of the next [`FAST_BITS`]; length 0 for longer codes.
    fast: [(u8, u8); 1 << FAST_BITS],
    /// For each length: the first code, the number of codes, and the index of the first symbol in `sorted`.
    lengths: [(u32, u32, usize); LENGTH_MAX + 1],
    /// Symbols in the order of their codes.
    sorted: [u16; 257],
}

static TABLES: Tables = tables();

/// Computes the tables.
#[expect(clippy::indexing_slicing, reason = "while it is compiled: a place beyond the end is no build")]
#[expect(clippy::cast_possible_truncation, reason = "symbols are at most 256, and those that are looked up 255")]
const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; 257],
        fast: [(0, 0); 1 << FAST_BITS],
        lengths: [(0, 0, 0); LENGTH_MAX + 1],
        sorted: [0; 257],
    };
    let (mut length, mut code, mut place) = (1, 0_u32, 0);
    while length <= LENGTH_MAX {
        code <<= 1;
        tables.lengths[length] = (code, 0, place);
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = code;
                tables.sorted[place] = symbol as u16;
                if length <= FAST_BITS {
                    let (begin, number) = ((code as usize) << (FAST_BITS - length), 1 << (FAST_BITS - length));
                    let mut at = begin;
                    while at < begin + number {
                        tables.fast[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                tables.lengths[length].1 += 1;
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables
}

/// Returns the encoded length of `text` in bytes.
#[must_use]
pub fn encoded_bytes(text: &[u8]) -> usize {
    let bits = text.iter().map(|byte| usize::from(LENGTHS.get(usize::from(*byte)).copied().unwrap_or_default()));
    bits.sum::<usize>().div_ceil(8)
}

/// Appends the encoded `text`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for byte in text {
        let symbol = usize::from(*byte);
        let code = TABLES.codes.get(symbol).copied().unwrap_or_default();
        let length = u32::from(LENGTHS.get(symbol).copied().unwrap_or_default());
        bits = (bits << length) | u64::from(code);
        count += length;
        while count >= 8 {
            count -= 8;
            out.extend((bits >> count).to_be_bytes().last());
        }
    }
    if count > 0 {
        // The last byte is padded with the first bits of the end symbol: ones.
        out.extend(((bits << (8 - count)) | (0xff >> count)).to_be_bytes().last());
    }
}

/// Appends the decoded text of `coded`. 5 bytes decode to at most 8.
///
/// # Errors
/// Fails if the input contains the end symbol, or is padded with anything but fewer than eight of its first bits.
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let start = out.len();
    // No code has fewer than 5 bits.
    out.resize(start + coded.len() * 8 / 5, 0);
    let mut slots = out.get_mut(start..).unwrap_or_default().iter_mut();
    let decoded = decode_into(coded, &mut slots);
    let unused = slots.len();
    out.truncate(out.len() - unused);
    decoded
}

/// Fills `slots`, which are sufficient, with the decoded text of `coded`.
fn decode_into(coded: &[u8], slots: &mut std::slice::IterMut<'_, u8>) -> Result<(), DecodeError> {
    // Next bits, highest first, followed by zeros.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = coded;
    loop {
        if let Some((eight, after)) = rest.split_first_chunk::<8>()
            && count == 0
        {
            (bits, count, rest) = (u64::from_be_bytes(*eight), 64, after);
        }
        while count <= 56
            && let Some((byte, after)) = rest.split_first()
        {
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
            rest = after;
        }
        // The shortest code has 5 bits, and the longest fast lookup 10. The bits certainly contain a whole fast code.
        let enough = if rest.is_empty() { 0 } else { FAST_BITS_COUNT };
        loop {
            let (mut symbol, mut length) = fast(bits);
            if length == 0 {
                if count < LENGTH_MAX_COUNT && !rest.is_empty() {
                    break;
                }
                (symbol, length) = slow(bits)?;
            }
            if length > count {
                let is_filled_with_ones = bits.leading_ones() == count;
                return if count < 8 && is_filled_with_ones { Ok(()) } else { Err(DecodeError::Huffman) };
            }
            if let Some(slot) = slots.next() {
                *slot = symbol;
            }
            bits <<= length;
            count -= length;
            if count < enough {
                break;
            }
        }
    }
}

/// Returns the symbol of the highest bits and the code length; no match for more than [`FAST_BITS`].
#[inline]
fn fast(bits: u64) -> (u8, u32) {
    let place = usize::try_from(bits >> (64 - FAST_BITS)).unwrap_or_default();
    let (symbol, length) = TABLES.fast.get(place).copied().unwrap_or_default();
    (symbol, u32::from(length))
}

/// Returns the same for longer codes.
fn slow(bits: u64) -> Result<(u8, u32), DecodeError> {
    for ((first, number, place), length) in TABLES.lengths.iter().zip(0_u32..).skip(FAST_BITS + 1) {
        let code = bits >> (64 - length);
        if let Some(further) = code.checked_sub(u64::from(*first))
            && further < u64::from(*number)
        {
            let place = place + usize::try_from(further).unwrap_or_default();
            let symbol = TABLES.sorted.get(place).copied().unwrap_or_default();
            return u8::try_from(symbol).map(|symbol| (symbol, length)).or(Err(DecodeError::Huffman));
        }
    }
    Err(DecodeError::Huffman)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        out
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        for (symbol, code) in [
            (0, 0x1ff8),
            (1, 0x007f_ffd8),
            (2, 0x0fff_ffe2),
            (9, 0x00ff_ffea),
            (10, 0x3fff_fffc),
            (22, 0x3fff_fffe),
            (32, 0x14),
            (usize::from(b'/'), 0x18),
            (usize::from(b'0'), 0),
            (usize::from(b'<'), 0x7ffc),
            (usize::from(b'\\'), 0x7fff0),
            (usize::from(b'a'), 3),
            (usize::from(b'z'), 0x7b),
            (usize::from(b'~'), 0x1ffd),
            (127, 0x0fff_fffc),
            (195, 0x7fff1),
            (249, 0x0fff_fffe),
            (255, 0x03ff_ffee),
            (END, 0x3fff_ffff),
        ] {
            assert_eq!(TABLES.codes[symbol], code, "{symbol}");
        }
        // The code is complete: every bit sequence begins with exactly one symbol.
        let shares: u64 = LENGTHS.iter().map(|length| 1 << (LENGTH_MAX - usize::from(*length))).sum();
        assert_eq!(shares, 1 << LENGTH_MAX);
    }

    #[test]
    fn a_string_is_filled_up_with_fewer_than_eight_ones() {
        // "a" is 00011.
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        assert_eq!(decoded(&[0b0001_1110]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(DecodeError::Huffman));
        // "&" is 11111000, without padding.
        assert_eq!(decoded(&[0b1111_1000]), Ok(b"&".to_vec()));
        assert_eq!(decoded(&[0b1111_1000, 0xff]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0xff]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }

    #[test]
    fn the_symbol_that_ends_a_string_is_refused() {
        for ones in 1..12 {
            assert_eq!(decoded(&vec![0xff; ones]), Err(DecodeError::Huffman));
        }
        assert_eq!(decoded(&[0b0001_1111, 0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Huffman));
    }

    #[test]
    fn every_byte_is_read_as_it_was_written() {
        for byte in 0..=u8::MAX {
            for text in [vec![byte], vec![byte; 9], vec![b'a', byte, b'z'], vec![byte, 10, byte]] {
                assert_eq!(decoded(&encoded(&text)).as_ref(), Ok(&text));
                assert_eq!(encoded(&text).len(), encoded_bytes(&text));
            }
        }
    }

    proptest! {
        #[test]
        fn every_string_is_read_as_it_was_written(text: Vec<u8>) {
            let coded = encoded(&text);
            prop_assert_eq!(coded.len(), encoded_bytes(&text));
            prop_assert_eq!(decoded(&coded), Ok(text));
        }

        #[test]
        fn what_is_read_is_written_in_the_same_way(coded: Vec<u8>) {
            if let Ok(text) = decoded(&coded) {
                prop_assert!(text.len() * 5 <= coded.len() * 8);
                prop_assert_eq!(encoded(&text), coded);
            }
        }
    }
}
