//! Decoders of pushed encodings, as strict as browsers: any accepted encoding is accepted by browsers. Pure and slow.

use std::io::{self, BufRead, Read};

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::bufread::GzDecoder;

use super::encode::ZSTD_WINDOW_LOG_MAX;
use devanture_store::blobs::Form;

/// Returns a decoder of `bytes`.
pub(super) fn decoder<'b>(bytes: impl BufRead + 'b, form: Form) -> Option<Box<dyn Read + 'b>> {
    Some(match form {
        Form::Br | Form::BrQuick => Box::new(StrictBrotli::new(bytes)),
        Form::Gz | Form::GzQuick => Box::new(OneMember(GzDecoder::new(bytes))),
        Form::Zst | Form::ZstQuick => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
            Box::new(decoder)
        }
    })
}

/// Gzip with a single member. RFC 1952 §2.2 allows several, but browsers decode only the first, and curl refuses more.
struct OneMember<R>(GzDecoder<R>);

impl<R: BufRead> Read for OneMember<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 if !into.is_empty() => end(self.0.get_mut()),
            read => Ok(read),
        }
    }
}

/// Brotli without large windows, an extension of RFC 7932: browsers refuse large windows, which take up to a gigabyte
/// of memory instead of 16 MiB.
struct StrictBrotli<R> {
    from: R,
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    is_over: bool,
}

impl<R> StrictBrotli<R> {
    fn new(from: R) -> Self {
        let alloc = StandardAlloc::default;
        Self { from, state: BrotliState::new_strict(alloc(), alloc(), alloc()), is_over: false }
    }
}

impl<R: BufRead> Read for StrictBrotli<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while !self.is_over {
            let bytes = self.from.fill_buf()?;
            let (is_cut, mut unread, mut read) = (bytes.is_empty(), bytes.len(), 0);
            let (mut room, mut length, mut total) = (into.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut unread,
                &mut read,
                bytes,
                &mut room,
                &mut length,
                into,
                &mut total,
                &mut self.state,
            );
            self.from.consume(read);
            match result {
                BrotliResult::ResultSuccess => self.is_over = true,
                BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
                BrotliResult::NeedsMoreInput if is_cut && length == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            }
            if length > 0 {
                return Ok(length);
            }
        }
        end(&mut self.from)
    }
}

/// Checks that no bytes follow the end of the stream.
fn end(from: &mut impl BufRead) -> io::Result<usize> {
    if from.fill_buf()?.is_empty() { Ok(0) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;
    use proptest::prelude::*;

    use super::super::encode::{decoded_digest, encode};
    use super::*;
    use devanture_store::blobs::Quality;

    fn decodes(encoded: &[u8], form: Form, plain: &[u8]) -> bool {
        decoded_digest(encoded, form, plain.len() as u64) == Some(Digest::of(plain))
    }

    #[test]
    fn a_gzip_of_several_members_is_none_of_the_file_as_browsers_read_the_first_alone() {
        let plain = b"hello ".repeat(100);
        let member = |bytes: &[u8]| encode(bytes, Form::Gz, Quality::Quick).unwrap();
        let (one, other) = plain.split_at(300);
        assert!(decodes(&member(&plain), Form::Gz, &plain));
        for (first, rest) in [(member(one), member(other)), (member(&plain), member(b"")), (member(&plain), vec![0])] {
            assert!(!decodes(&[first, rest].concat(), Form::Gz, &plain));
        }
    }

    #[test]
    fn law_11_a_brotli_with_a_window_beyond_the_standard_is_not_decoded() {
        let plain = b"hello ".repeat(100);
        let encoded = |large_window: bool| {
            let lgwin = if large_window { 25 } else { 24 };
            let params = brotli::enc::BrotliEncoderParams { quality: 5, lgwin, large_window, ..Default::default() };
            let mut encoded = Vec::new();
            brotli::BrotliCompress(&mut &*plain, &mut encoded, &params).unwrap();
            encoded
        };
        assert!(decodes(&encoded(false), Form::Br, &plain));
        assert!(!decodes(&encoded(true), Form::Br, &plain));
        assert!(!decodes(&[encoded(false), vec![0]].concat(), Form::Br, &plain), "something follows its end");
    }

    /// Yields its bytes in small pieces.
    struct Pieces<'b>(&'b [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(into.len());
            self.0.read(into.get_mut(..length).unwrap_or_default())
        }
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_the_same_in_any_pieces(
            plain in proptest::collection::vec(0_u8..8, 1..4_000),
            pieces in 1_usize..50,
            room in 1_usize..200,
            cut in 1_usize..20,
        ) {
            for form in Form::ALL {
                let encoded = encode(&plain, form, Quality::Quick).unwrap();
                let decoded = |encoded: &[u8]| {
                    let mut decoder = decoder(io::BufReader::with_capacity(64, Pieces(encoded, pieces)), form).unwrap();
                    let (mut decoded, mut buffer) = (Vec::new(), vec![0; room]);
                    loop {
                        match decoder.read(&mut buffer) {
                            Ok(0) => return Some(decoded),
                            Ok(read) => decoded.extend_from_slice(&buffer[..read]),
                            Err(_) => return None,
                        }
                    }
                };
                prop_assert_eq!(decoded(&encoded), Some(plain.clone()), "{:?}", form);
                let cut = encoded.len().saturating_sub(cut);
                prop_assert_ne!(decoded(&encoded[..cut]), Some(plain.clone()), "{:?}", form);
            }
        }
    }
}
