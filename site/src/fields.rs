//! Field values of RFC 9110 §5: joining lines, splitting lists.

use std::borrow::Cow;

/// Joins the lines of one field, in their order (RFC 9110 §5.3); a single line is borrowed.
#[inline]
#[must_use]
pub fn joined<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let mut lines = lines.into_iter();
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
    let mut whole = [first, second].join(b", ".as_slice());
    for line in lines {
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(line);
    }
    Some(Cow::Owned(whole))
}

/// The members of a list without quoted text; empty members are skipped (RFC 9110 §5.6.1.2).
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trimmed).filter(|member| !member.is_empty())
}

/// `value` without the white space of RFC 9110 §5.6.3 at its ends.
#[must_use]
pub fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_in_order_and_one_is_borrowed() {
        assert_eq!(joined([]), None);
        assert!(matches!(joined([b"a".as_slice()]), Some(Cow::Borrowed(b"a"))));
        assert_eq!(joined([b"a, b".as_slice(), b"c"]).as_deref(), Some(b"a, b, c".as_slice()));
    }

    #[test]
    fn empty_members_and_white_space_do_not_count() {
        let found: Vec<&[u8]> = members(b" ,a ,\t, b\t,,c d,").collect();
        assert_eq!(found, [b"a".as_slice(), b"b", b"c d"]);
        assert_eq!(members(b"").count(), 0);
    }
}
