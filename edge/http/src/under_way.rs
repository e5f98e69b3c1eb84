//! Kinds of requests under way on a connection: a drain has a time limit for each.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Media type of event streams, which never end by themselves.
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Kind of a request, by the awaited event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderWay {
    /// The response is awaited.
    Request,
    /// The rest of the request body is awaited.
    Upload,
    /// The client is still reading the response.
    Download,
    /// Events are sent without end.
    EventStream,
}

impl UnderWay {
    /// All kinds, by index.
    pub const ALL: [Self; 4] = [Self::Request, Self::Upload, Self::Download, Self::EventStream];
}

/// Set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Empty set.
    pub const NONE: Self = Self(0);

    /// Returns true if the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the set with `kind`.
    #[must_use]
    pub const fn with(self, kind: UnderWay) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Returns true if the set contains `kind`.
    #[must_use]
    pub const fn has(self, kind: UnderWay) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Returns the set without the kinds in `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl From<UnderWay> for Kinds {
    fn from(kind: UnderWay) -> Self {
        Self::NONE.with(kind)
    }
}

impl FromIterator<UnderWay> for Kinds {
    fn from_iter<I: IntoIterator<Item = UnderWay>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Returns true if `fields` describe an event stream.
#[must_use]
pub fn is_event_stream(fields: &HeaderMap) -> bool {
    let media_type = fields.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let (name, rest) = media_type.split_at_checked(EVENT_STREAM.len()).unwrap_or_default();
    name.eq_ignore_ascii_case(EVENT_STREAM) && matches!(rest.first(), None | Some(b';' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        use UnderWay::{Download, EventStream, Request, Upload};
        let two: Kinds = [Upload, EventStream].into_iter().collect();
        assert_eq!([Request, Upload, Download, EventStream].map(|kind| two.has(kind)), [false, true, false, true]);
        assert_eq!(two.without(Upload.into()), EventStream.into());
        assert!(two.without(two).is_empty() && Kinds::default().is_empty() && !two.is_empty());
    }

    #[test]
    fn event_streams_are_known_by_their_media_type() {
        let of = |media_type: &'static str| {
            is_event_stream(&HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]))
        };
        assert!(
            ["text/event-stream", "Text/Event-Stream;charset=utf-8", "text/event-stream ; a=b"].into_iter().all(of)
        );
        assert!(!["text/event-streams", "text/html", "text/event", "", "x text/event-stream"].into_iter().any(of));
        assert!(!is_event_stream(&HeaderMap::new()));
    }
}
