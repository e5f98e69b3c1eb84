//! Cuts what an instance writes into lines of bounded length.

/// The line that is not at its end yet.
pub struct Splitter {
    rest: Vec<u8>,
    bytes_max: usize,
}

impl Splitter {
    /// Lines have `bytes_max` bytes at most; what is beyond begins another one.
    pub fn new(bytes_max: usize) -> Self {
        Self { rest: Vec::new(), bytes_max: bytes_max.max(1) }
    }

    /// The same, where `rest` came already.
    pub fn within(rest: Vec<u8>, bytes_max: usize) -> Self {
        Self { rest, ..Self::new(bytes_max) }
    }

    /// What came of a line that has not ended.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// Takes bytes; gives the lines that are whole now.
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

    /// The line that no end came for, where there is one.
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
