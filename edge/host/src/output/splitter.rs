//! Splits the output of an instance into lines of bounded length.

/// Splitter with an incomplete line.
pub struct Splitter {
    rest: Vec<u8>,
    bytes_max: usize,
}

impl Splitter {
    /// Creates a splitter for lines of at most `bytes_max` bytes; a longer line continues as another line.
    pub fn new(bytes_max: usize) -> Self {
        Self { rest: Vec::new(), bytes_max: bytes_max.max(1) }
    }

    /// Creates a splitter with the received beginning `rest` of a line.
    pub fn within(rest: Vec<u8>, bytes_max: usize) -> Self {
        Self { rest, ..Self::new(bytes_max) }
    }

    /// Returns the incomplete line.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// Adds bytes; returns the completed lines.
    pub fn take(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let room = self.bytes_max.saturating_sub(self.rest.len());
            let end = memchr::memchr(b'\n', bytes);
            let length = end.unwrap_or(bytes.len());
            if length > room {
                let (now, later) = bytes.split_at(room);
                self.rest.extend_from_slice(now);
                bytes = later;
                lines.extend(self.finish());
                continue;
            }
            let (now, later) = bytes.split_at(length);
            self.rest.extend_from_slice(now);
            bytes = later.get(1..).unwrap_or_default();
            if end.is_some() {
                lines.push(self.line());
            }
        }
        lines
    }

    /// Returns the last line without an end, if any.
    pub fn finish(&mut self) -> Option<String> {
        (!self.rest.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> String {
        let bytes = std::mem::take(&mut self.rest);
        let plain = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        String::from_utf8_lossy(plain).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut splitter = Splitter::new(100);
        assert_eq!(splitter.take(b"on"), Vec::<String>::new());
        assert_eq!(splitter.take(b"e\r\ntwo\n\nthr"), ["one", "two", ""]);
        assert_eq!(splitter.take(b"ee\xff\n"), ["three\u{fffd}"]);
        assert_eq!(splitter.finish(), None);
        splitter.take(b"end");
        assert_eq!(splitter.finish(), Some("end".to_owned()));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut splitter = Splitter::new(4);
        assert_eq!(splitter.take(b"abcdefghij\nk"), ["abcd", "efgh", "ij"]);
        assert_eq!(splitter.take(b"lmn\n"), ["klmn"]);
        assert_eq!(splitter.take(b"\n"), [""]);
    }
}
