//! Fields of OpenSSH's binary formats (RFC 4251 §5), read and written.

/// Unread rest.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Reads a `string`: its length, then its bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    pub(super) fn is_at_end(self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a `string`. Every text written here is far shorter than the length field allows.
pub(super) fn put_string(into: &mut Vec<u8>, string: &[u8]) {
    into.extend(u32::try_from(string.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend(string);
}
