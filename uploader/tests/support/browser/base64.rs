//! Base64 in the form of the browser's protocol.

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0_usize, |number, at| (number << 8) | usize::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = if at <= group.len() { BASE64[(number >> (18 - 6 * at)) & 63] } else { b'=' };
            text.push(char::from(digit));
        }
    }
    text
}

pub(super) fn decode(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| BASE64.iter().position(|digit| *digit == byte))
        .map(|at| u8::try_from(at).unwrap())
        .collect();
    let mut bytes = Vec::with_capacity(digits.len());
    for group in digits.chunks(4) {
        let number = (0..4).fold(0_u32, |number, at| (number << 6) | u32::from(*group.get(at).unwrap_or(&0)));
        bytes.extend(&number.to_be_bytes()[1..group.len()]);
    }
    bytes
}
