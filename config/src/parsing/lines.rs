//! Offsets of a text's lines, for positions without a count from the start.

/// Ends of a text's lines.
#[derive(Debug, Clone)]
pub struct Lines(Vec<usize>);

impl Lines {
    /// Finds the lines of `text`.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect())
    }

    /// Returns the line, from 1, of a byte offset; a line includes its end.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }

    /// Returns the line and the column, both from 1, of a byte offset in `text`, the text of these lines; columns are
    /// characters.
    #[must_use]
    pub fn place(&self, text: &[u8], offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = line.checked_sub(2).and_then(|before| self.0.get(before)).map_or(0, |end| end + 1);
        let before = text.get(start..offset.min(text.len())).unwrap_or_default();
        // Every byte except continuation bytes begins a character.
        let characters = before.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count();
        (line, characters + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_is_a_line_and_a_column_of_characters() {
        let text = "a\n\nb\u{fc}c\r\nd";
        let lines = Lines::of(text.as_bytes());
        let place = |what: &str| lines.place(text.as_bytes(), text.find(what).unwrap());
        assert_eq!([place("a"), place("b"), place("c"), place("d")], [(1, 1), (3, 1), (3, 3), (4, 1)]);
        assert_eq!(lines.place(text.as_bytes(), usize::MAX), (4, 2));
    }

    proptest! {
        #[test]
        fn the_line_is_that_of_counting(text in "[a\n\u{fc}]{0,60}", part in 0_usize..60) {
            let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let Some(&at) = offsets.get(part) else { return Ok(()) };
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
            prop_assert_eq!(Lines::of(text.as_bytes()).place(text.as_bytes(), at), (line, column));
        }
    }
}
