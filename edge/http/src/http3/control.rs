//! Unidirectional streams of the peer: the control stream, the QPACK streams, and unknown streams (RFC 9114 §6.2 and
//! §7.2, RFC 9204 §4.2).

use std::time::Instant;

use super::super::qpack::{DecoderStream, EncoderStream, Refused};
use super::super::{Service, Turn};
use super::Connection;
use super::frame::{self, Code, Fault, FrameHead, kind, stream_type};
use super::output::Action;
use super::reader::{Event, FrameReader, Treatment};
use super::settings;

/// Maximum concurrent streams. A client needs three, and may experiment with more (§6.2.3).
const STREAMS_MAX: usize = 32;
/// Bytes of a stream of unknown type that are discarded before the peer is asked to stop (§6.2).
const UNKNOWN_BYTES_MAX: usize = 16 * 1024;
/// Maximum bytes of SETTINGS.
const SETTINGS_BYTES_MAX: u64 = 2 * 1024;
/// Maximum bytes of a frame with a single number (RFC 9000 §16).
const NUMBER_BYTES_MAX: u64 = 8;

/// Purpose of a stream.
#[derive(Debug)]
enum Purpose {
    /// Unknown until the type is complete; holds the first bytes.
    Unknown(Vec<u8>),
    Control(FrameReader),
    Encoder(EncoderStream),
    Decoder(DecoderStream),
    /// Unknown type; holds the number of bytes still to discard.
    Discard(usize),
}

impl Purpose {
    /// Returns true for a stream that must not end before the connection.
    const fn is_critical(&self) -> bool {
        matches!(self, Self::Control(_) | Self::Encoder(_) | Self::Decoder(_))
    }
}

/// Unidirectional streams of the peer, and the state of the control stream.
#[derive(Debug, Default)]
pub(super) struct Unidirectional {
    streams: Vec<(u64, Purpose)>,
    /// True once SETTINGS arrived.
    has_settings: bool,
    /// Push ID of the peer's last GOAWAY (§5.2).
    goaway: Option<u64>,
    /// Value of the peer's last MAX_PUSH_ID (§7.2.7).
    push_id_max: Option<u64>,
}

impl Unidirectional {
    /// Removes a stream abandoned by the peer. Returns true if the connection needs the stream.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let Some(index) = self.streams.iter().position(|(other, _)| *other == id) else { return false };
        self.streams.swap_remove(index).1.is_critical()
    }

    fn take(&mut self, id: u64) -> Option<Purpose> {
        let index = self.streams.iter().position(|(other, _)| *other == id)?;
        Some(self.streams.swap_remove(index).1)
    }

    /// Returns the purpose for a stream type, unless a stream with that purpose exists.
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

    /// Decides by the head how to read a frame of the control stream.
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
            // §7.2.1, §7.2.2, §7.2.5: frames of requests and of servers.
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
    /// Handles bytes of a stream without a request.
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
            // §6.2.1, RFC 9204 §4.2. A stream that ends before the type has no meaning (§6.2).
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

    /// Charges each instruction like a control frame, including instructions before a refused instruction, an error of
    /// `code`: the first error is the same for any split of the input.
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

    /// Handles a frame with a single number.
    fn control_frame(&mut self, kind: u64, number: u64) -> Result<(), Fault> {
        let Unidirectional { goaway, push_id_max, .. } = &mut self.unidirectional;
        match kind {
            // §7.2.3: no push was ever promised.
            kind::CANCEL_PUSH => return Err(Fault::Connection(Code::Id)),
            // §7.2.7: the value must not decrease.
            kind::MAX_PUSH_ID => {
                if push_id_max.is_some_and(|before| number < before) {
                    return Err(Fault::Connection(Code::Id));
                }
                *push_id_max = Some(number);
            }
            // §5.2: the value must not increase. The GOAWAY of a client concerns pushes, which do not exist, and
            // announces that the client leaves; as over HTTP/2, no new work is begun, and this end's GOAWAY names the
            // accepted requests.
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
