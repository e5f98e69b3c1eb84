//! Field blocks (RFC 7541): an encoder with full control of every byte, and a strict decoder for the edge's output.

use std::collections::VecDeque;

/// Name and value.
pub(crate) type Field = (String, String);

/// Length of each symbol's Huffman code (RFC 7541 appendix B), the last for EOS. The code is canonical, so that the
/// lengths define the code.
const CODE_BITS: [u8; 257] = [
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

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Each symbol's code with the length, in the order of the codes.
fn codes() -> Vec<(u32, u8, usize)> {
    let mut symbols: Vec<usize> = (0..CODE_BITS.len()).collect();
    symbols.sort_by_key(|symbol| (CODE_BITS[*symbol], *symbol));
    let (mut code, mut bits) = (0_u32, CODE_BITS[symbols[0]]);
    let mut codes = Vec::with_capacity(symbols.len());
    for (index, symbol) in symbols.into_iter().enumerate() {
        if index > 0 {
            code = (code + 1) << (CODE_BITS[symbol] - bits);
            bits = CODE_BITS[symbol];
        }
        codes.push((code, bits, symbol));
    }
    codes
}

/// `text` in Huffman code, padded according to section 5.2 of RFC 7541.
pub(crate) fn huffman(text: &[u8]) -> Vec<u8> {
    let codes = codes();
    let (mut held, mut count, mut bytes) = (0_u64, 0_u8, Vec::new());
    for byte in text {
        let (code, bits, _) = codes.iter().find(|(_, _, symbol)| *symbol == usize::from(*byte)).unwrap();
        held = held << bits | u64::from(*code);
        count += bits;
        while count >= 8 {
            count -= 8;
            bytes.push((held >> count) as u8);
        }
    }
    if count > 0 {
        bytes.push((held << (8 - count)) as u8 | (0xff >> count));
    }
    bytes
}

fn unhuffman(bytes: &[u8]) -> Vec<u8> {
    let codes = codes();
    let (mut code, mut bits, mut text) = (0_u32, 0_u8, Vec::new());
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        (code, bits) = (code << 1 | u32::from(bit), bits + 1);
        assert!(bits <= 30, "no Huffman code");
        if let Some((_, _, symbol)) = codes.iter().find(|(other, length, _)| (*other, *length) == (code, bits)) {
            text.push(u8::try_from(*symbol).expect("EOS within a string"));
            (code, bits) = (0, 0);
        }
    }
    assert!(bits < 8 && code == (1 << bits) - 1, "padding that is not the beginning of EOS, or too much of it");
    text
}

/// Integer with a prefix (RFC 7541 section 5.1); `first` holds the bits before the prefix.
pub(crate) fn integer(first: u8, prefix_bits: u8, value: usize) -> Vec<u8> {
    let most = (1_usize << prefix_bits) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let (mut bytes, mut rest) = (vec![first | most as u8], value - most);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

/// Plain string.
pub(crate) fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    [integer(0, 7, text.as_ref().len()), text.as_ref().to_vec()].concat()
}

/// String marked as Huffman coded, with arbitrary bytes.
pub(crate) fn coded_string(coded: &[u8]) -> Vec<u8> {
    [integer(0x80, 7, coded.len()), coded.to_vec()].concat()
}

/// Literal field without indexing (section 6.2.2).
pub(crate) fn literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// Literal field with incremental indexing (section 6.2.1).
pub(crate) fn indexed_literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// Indexed field (section 6.1).
pub(crate) fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// Dynamic table size update (section 6.3).
pub(crate) fn table_size(bytes: usize) -> Vec<u8> {
    integer(0x20, 5, bytes)
}

/// Literal fields.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    fields.into_iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// Decoder for the edge's field blocks on one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    dynamic: VecDeque<Field>,
    /// Table size chosen by the edge.
    size: usize,
    /// Maximum table size: the client's SETTINGS_HEADER_TABLE_SIZE.
    pub(crate) size_max: usize,
    /// Received table size updates.
    pub(crate) sizes: Vec<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { dynamic: VecDeque::new(), size: 4_096, size_max: 4_096, sizes: Vec::new() }
    }
}

impl Decoder {
    pub(crate) fn decode(&mut self, block: &[u8]) -> Vec<Field> {
        let (mut at, mut fields) = (block, Vec::new());
        while let Some(first) = at.first().copied() {
            if first & 0x80 != 0 {
                let index = take_integer(&mut at, 7);
                fields.push(self.entry(index));
                continue;
            }
            if first & 0xe0 == 0x20 {
                assert!(fields.is_empty(), "a change of the table's size within a block (RFC 7541 section 4.2)");
                self.size = take_integer(&mut at, 5);
                assert!(self.size <= self.size_max, "the table is {} bytes, more than allowed", self.size);
                self.sizes.push(self.size);
                self.evict();
                continue;
            }
            let enters = first & 0x40 != 0;
            let index = take_integer(&mut at, if enters { 6 } else { 4 });
            let name = if index == 0 { take_string(&mut at) } else { self.entry(index).0 };
            let field = (name, take_string(&mut at));
            if enters {
                self.dynamic.push_front(field.clone());
                self.evict();
            }
            fields.push(field);
        }
        assert!(self.size <= self.size_max, "the edge did not follow SETTINGS_HEADER_TABLE_SIZE");
        fields
    }

    fn entry(&self, index: usize) -> Field {
        let index = index.checked_sub(1).expect("index 0 (RFC 7541 section 6.1)");
        match STATIC.get(index) {
            Some((name, value)) => ((*name).to_owned(), (*value).to_owned()),
            None => self.dynamic.get(index - STATIC.len()).expect("an entry that is not in the table").clone(),
        }
    }

    fn evict(&mut self) {
        let size = |(name, value): &Field| name.len() + value.len() + 32;
        while self.dynamic.iter().map(size).sum::<usize>() > self.size {
            self.dynamic.pop_back();
        }
    }
}

fn take_integer(at: &mut &[u8], prefix_bits: u8) -> usize {
    let (first, mut rest) = at.split_first().expect("an integer");
    let most = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().expect("the rest of an integer");
            value += usize::from(byte & 0x7f) << shift;
            (rest, shift) = (after, shift + 7);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *at = rest;
    value
}

fn take_string(at: &mut &[u8]) -> String {
    let is_coded = at.first().expect("a string") & 0x80 != 0;
    let length = take_integer(at, 7);
    let (bytes, rest) = at.split_at(length);
    *at = rest;
    let bytes = if is_coded { unhuffman(bytes) } else { bytes.to_vec() };
    String::from_utf8(bytes).expect("a string in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7541_appendix_c_4_decode() {
        assert_eq!(
            huffman(b"www.example.com"),
            [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]
        );
        let mut decoder = Decoder::default();
        let first =
            [0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoder.decode(&first)[3], (":authority".to_owned(), "www.example.com".to_owned()));
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        assert_eq!(decoder.decode(&second)[3].1, "www.example.com");
        let third = [
            0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25, 0xa8, 0x49,
            0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
        ];
        assert_eq!(decoder.decode(&third)[4], ("custom-key".to_owned(), "custom-value".to_owned()));
        assert_eq!(integer(0, 5, 1_337), [31, 154, 10]);
    }
}
