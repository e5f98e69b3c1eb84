//! Parses server-sent events from bytes in arbitrary pieces (the HTML standard, "Parsing an event stream").

/// Upper bound of bytes of an event; a stream with a larger event is given up.
pub(crate) const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The name; `message` by default.
    pub(crate) name: String,
    /// The data, lines joined by line feeds.
    pub(crate) data: String,
}

/// Upper bound of bytes of an id; a longer one is ignored.
const ID_BYTES_MAX: usize = 256;

/// The error of an event larger than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream has more than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLarge;

/// Takes bytes and gives events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    /// The id of the current event.
    id: Option<String>,
    last_id: Option<String>,
    after_return: bool,
    begun: bool,
}

impl Parser {
    /// Takes the next bytes, and returns the completed events.
    ///
    /// # Errors
    /// [`EventTooLarge`]; the stream cannot be read on.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLarge> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                // The second half of CR LF, which may arrive in a later piece than the first.
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    events.extend(self.end_of_line());
                }
                other => {
                    self.after_return = false;
                    self.line.push(*other);
                    if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                        return Err(EventTooLarge);
                    }
                }
            }
        }
        Ok(events)
    }

    /// Returns the id of the last complete event, or of an earlier one.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = if self.begun { &line } else { line.strip_prefix('\u{feff}').unwrap_or(&line) };
        self.begun = true;
        if line.is_empty() {
            return self.end_of_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "id" if value.len() <= ID_BYTES_MAX && !value.contains('\0') => self.id = Some(value.to_owned()),
            // `retry` has no use here, and a line that begins with a colon keeps the connection alive.
            _ => {}
        }
        None
    }

    fn end_of_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        // An id counts with or without an event.
        self.last_id = self.id.take().or_else(|| self.last_id.take());
        let name = if name.is_empty() { "message".to_owned() } else { name };
        has_data.then_some(Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Vec<(String, String)> {
        Parser::default().take(text.as_bytes()).unwrap().into_iter().map(|e| (e.name, e.data)).collect()
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        assert_eq!(whole("event: step\ndata: {}\n\n"), [pair("step", "{}")]);
        assert_eq!(whole("\u{feff}data:a\r\ndata: b\r\n\r\n"), [pair("message", "a\nb")]);
        assert_eq!(whole(": still here\n\nevent: x\n\ndata\n\n"), [pair("message", "")]);
        assert_eq!(whole("id: 1\rdata:  a\r\r"), [pair("message", " a")]);
        assert_eq!(whole("data: cut off"), []);
    }

    #[test]
    fn the_last_id_is_that_of_a_whole_event() {
        let mut parser = Parser::default();
        assert_eq!(parser.last_id(), None);
        assert_eq!(parser.take(b"id: 1-2\n\n").unwrap(), []);
        assert_eq!(parser.last_id(), Some("1-2"));
        assert_eq!(parser.take(b"id: 1-3\ndata: a\n").unwrap(), []);
        assert_eq!(parser.last_id(), Some("1-2"));
        assert_eq!(parser.take(b"\ndata: b\n\n").unwrap().len(), 2);
        assert_eq!(parser.last_id(), Some("1-3"));
    }

    #[test]
    fn an_endless_event_is_given_up() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1024 * 1024];
        let given_up = (0..9).find_map(|_| parser.take(&piece).err());
        assert_eq!(given_up, Some(EventTooLarge));
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            events in proptest::collection::vec(("[a-z]{1,6}", "[^\r\n\u{feff}]{0,12}(\n[^\r\n]{0,6}){0,2}"), 0..5),
            line_end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            cuts in proptest::collection::vec(1_usize..9, 1..40),
        ) {
            let mut text = String::new();
            for (name, data) in &events {
                text += &format!("event: {name}{line_end}");
                for line in data.split('\n') {
                    text += &format!("data: {line}{line_end}");
                }
                text += line_end;
            }
            let mut parser = Parser::default();
            let mut found = Vec::new();
            let mut rest = text.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                found.extend(parser.take(piece).unwrap().into_iter().map(|e| (e.name, e.data)));
                rest = after;
            }
            prop_assert_eq!(found, events);
        }
    }
}
