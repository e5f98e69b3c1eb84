//! The peer's unidirectional streams: its control stream, those of QPACK, and others (RFC 9114 §6.2 and §7.2, RFC 9204
//! §4.2).

use std::time::Instant;

use super::super::qpack::{DecoderStream, EncoderStream, Refused};
use super::super::{Service, Turn};
use super::Connection;
use super::frame::{self, Code, Fault, FrameHead, kind, stream_type};
use super::output::Action;
use super::reader::{Event, FrameReader, Treatment};
use super::settings;

/// Streams that are open at once. A client needs three, and may try what it likes with others (§6.2.3).
const STREAMS_MAX: usize = 32;
/// Bytes of a stream of a type that is not known that are read and discarded, before the peer is asked to stop (§6.2).
const UNKNOWN_BYTES_MAX: usize = 16 * 1024;
/// Bytes of SETTINGS.
const SETTINGS_BYTES_MAX: u64 = 2 * 1024;
/// Bytes of a frame that is one number (RFC 9000 §16).
const NUMBER_BYTES_MAX: u64 = 8;

/// What a stream is for.
#[derive(Debug)]
enum Purpose {
    /// Not known before its type came whole: these are its first bytes.
    Unknown(Vec<u8>),
    Control(FrameReader),
    Encoder(EncoderStream),
    Decoder(DecoderStream),
    /// Nothing that is known: so many bytes are still discarded.
    Discard(usize),
}

impl Purpose {
    /// Whether it is one of those that may not end while the connection lasts.
    const fn is_critical(&self) -> bool {
        matches!(self, Self::Control(_) | Self::Encoder(_) | Self::Decoder(_))
    }
}

/// The peer's unidirectional streams, and what its control stream has said.
#[derive(Debug, Default)]
pub(super) struct Unidirectional {
    streams: Vec<(u64, Purpose)>,
    /// SETTINGS came.
    has_settings: bool,
    /// The push ID of its last GOAWAY (§5.2).
    goaway: Option<u64>,
    /// Its last MAX_PUSH_ID (§7.2.7).
    push_id_max: Option<u64>,
}

impl Unidirectional {
    /// Drops a stream that the peer abandoned. Whether the connection needs it.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let Some(index) = self.streams.iter().position(|(other, _)| *other == id) else { return false };
        self.streams.swap_remove(index).1.is_critical()
    }

    fn take(&mut self, id: u64) -> Option<Purpose> {
        let index = self.streams.iter().position(|(other, _)| *other == id)?;
        Some(self.streams.swap_remove(index).1)
    }

    /// What a stream is for by its type, if there is no other for that.
    fn purpose(&self, kind: u64) -> Result<Purpose, Fault> {
        let purpose = match kind {
            stream_type::CONTROL => Purpose::Control(FrameReader::default()),
            stream_type::QPACK_ENCODER => Purpose::Encoder(EncoderStream),
            stream_type::QPACK_DECODER => Purpose::Decoder(DecoderStream::default()),
            // §6.2.2: a client does not push.
            stream_type::PUSH => return Err(Fault::Connection(Code::StreamCreation)),
            _ => return Ok(Purpose::Discard(UNKNOWN_BYTES_MAX)),
        };
        // §6.2.1, RFC 9204 §4.2: one of each.
        let is_same = |(_, other): &(u64, Purpose)| std::mem::discriminant(other) == std::mem::discriminant(&purpose);
        if self.streams.iter().any(is_same) { Err(Fault::Connection(Code::StreamCreation)) } else { Ok(purpose) }
    }

    /// What becomes of a frame of the control stream by its head.
    fn treat(&self, head: FrameHead) -> Result<Treatment, Fault> {
        // §6.2.1.
        if !self.has_settings && head.kind != kind::SETTINGS {
            return Err(Fault::Connection(Code::MissingSettings));
        }
        match head.kind {
            // §7.2.4.
            kind::SETTINGS if self.has_settings => Err(Fault::Connection(Code::FrameUnexpected)),
            kind::SETTINGS if head.length > SETTINGS_BYTES_MAX => Err(Fault::Connection(Code::ExcessiveLoad)),
            // §7.1.
            kind::GOAWAY | kind::MAX_PUSH_ID | kind::CANCEL_PUSH if head.length > NUMBER_BYTES_MAX => {
                Err(Fault::Connection(Code::Frame))
            }
            kind::SETTINGS | kind::GOAWAY | kind::MAX_PUSH_ID | kind::CANCEL_PUSH => Ok(Treatment::Whole),
            // §7.2.1, §7.2.2, §7.2.5: of requests, and of servers.
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE => Err(Fault::Connection(Code::FrameUnexpected)),
            kind if kind::is_of_http2(kind) => Err(Fault::Connection(Code::FrameUnexpected)),
            // §9.
            _ => Ok(Treatment::Discard),
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let each = self.streams.iter().map(|(_, purpose)| match purpose {
            Purpose::Unknown(bytes) => bytes.capacity(),
            Purpose::Control(reader) => reader.held_bytes(),
            Purpose::Encoder(_) | Purpose::Decoder(_) | Purpose::Discard(_) => 0,
        });
        self.streams.capacity() * size_of::<(u64, Purpose)>() + each.sum::<usize>()
    }
}

impl<S: Service> Connection<S> {
    /// Takes bytes of a stream that is none of a request.
    pub(super) fn take_own(&mut self, id: u64, bytes: &[u8], ends: bool, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let purpose = match self.unidirectional.take(id) {
            Some(purpose) => purpose,
            None if self.actions.iter().any(|action| action.ends(id)) => return Ok(()),
            None if self.unidirectional.streams.len() >= STREAMS_MAX => {
                return Err(Fault::Connection(Code::ExcessiveLoad));
            }
            None => {
                self.floods.control(turn.now)?;
                Purpose::Unknown(Vec::new())
            }
        };
        let purpose = self.take_bytes_for(purpose, bytes, turn.now)?;
        if ends {
            // §6.2.1, RFC 9204 §4.2. One that ends before its type is of no meaning (§6.2).
            let is_critical = purpose.is_critical();
            return if is_critical { Err(Fault::Connection(Code::ClosedCriticalStream)) } else { Ok(()) };
        }
        if let Purpose::Discard(0) = purpose {
            self.actions.push(Action::Stop(id, Code::StreamCreation));
        } else {
            self.unidirectional.streams.push((id, purpose));
        }
        Ok(())
    }

    fn take_bytes_for(&mut self, purpose: Purpose, bytes: &[u8], now: Instant) -> Result<Purpose, Fault> {
        match purpose {
            Purpose::Unknown(mut first) => {
                first.extend_from_slice(bytes);
                let Some((kind, rest)) = frame::number(&first) else { return Ok(Purpose::Unknown(first)) };
                let purpose = self.unidirectional.purpose(kind)?;
                if rest.is_empty() { Ok(purpose) } else { self.take_bytes_for(purpose, rest, now) }
            }
            Purpose::Control(mut reader) => {
                self.take_control(&mut reader, bytes, now)?;
                Ok(Purpose::Control(reader))
            }
            Purpose::Encoder(stream) => {
                self.count_instructions(stream.read(bytes), Code::QpackEncoderStream, now)?;
                Ok(Purpose::Encoder(stream))
            }
            Purpose::Decoder(mut stream) => {
                self.count_instructions(stream.read(bytes), Code::QpackDecoderStream, now)?;
                Ok(Purpose::Decoder(stream))
            }
            Purpose::Discard(left) => Ok(Purpose::Discard(left.saturating_sub(bytes.len()))),
        }
    }

    /// Each costs what a frame of control costs, also those before one that is refused with `code`: the first fault is
    /// the same, in whatever pieces they come.
    fn count_instructions(&mut self, read: Result<usize, Refused>, code: Code, now: Instant) -> Result<(), Fault> {
        let (Ok(count) | Err(Refused { after: count })) = read;
        for _ in 0..count {
            self.floods.control(now)?;
        }
        read.map(drop).map_err(|_refused| Fault::Connection(code))
    }

    fn take_control(&mut self, reader: &mut FrameReader, mut bytes: &[u8], now: Instant) -> Result<(), Fault> {
        loop {
            let Self { unidirectional, floods, .. } = self;
            let event = reader.next(&mut bytes, |head| {
                floods.control(now)?;
                unidirectional.treat(head)
            })?;
            match event {
                Some(Event::Frame(kind::SETTINGS, payload)) => {
                    settings::check(&payload)?;
                    self.unidirectional.has_settings = true;
                }
                Some(Event::Frame(kind, payload)) => self.control_frame(kind, frame::only_number(&payload)?)?,
                Some(Event::Piece(_)) => {}
                None => return Ok(()),
            }
        }
    }

    /// Takes a frame that is one number.
    fn control_frame(&mut self, kind: u64, number: u64) -> Result<(), Fault> {
        let Unidirectional { goaway, push_id_max, .. } = &mut self.unidirectional;
        match kind {
            // §7.2.3: nothing was ever promised.
            kind::CANCEL_PUSH => return Err(Fault::Connection(Code::Id)),
            // §7.2.7: it may not become less.
            kind::MAX_PUSH_ID => {
                if push_id_max.is_some_and(|before| number < before) {
                    return Err(Fault::Connection(Code::Id));
                }
                *push_id_max = Some(number);
            }
            // §5.2: it may not become more. A client's is about pushes, of which there are none, and says that it will
            // go; as over HTTP/2, nothing more is begun for it, and our GOAWAY tells what was.
            kind::GOAWAY => {
                if goaway.is_some_and(|before| number > before) {
                    return Err(Fault::Connection(Code::Id));
                }
                *goaway = Some(number);
                self.last_goaway();
            }
            _ => {}
        }
        Ok(())
    }
}
