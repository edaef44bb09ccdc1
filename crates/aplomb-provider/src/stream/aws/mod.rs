//! A parser for AWS event streams: binary frames, split at any byte, in bounded memory.
//!
//! <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html>

mod base64;
mod frame;

pub(super) use base64::decode_base64;
pub(super) use frame::AwsItem;

use std::{fmt, mem};

use self::frame::PRELUDE;

/// The longest frame that is kept. A longer one is reported without its payload.
const MAX_FRAME: usize = 1024 * 1024;

/// The capacity of the buffer that is kept between frames.
const RETAINED_CAPACITY: usize = 64 * 1024;

/// Parses an AWS event stream.
#[derive(Default)]
pub(super) struct AwsParser {
    /// The beginning of a frame from earlier chunks, up to `MAX_FRAME`.
    frame: Vec<u8>,
    /// The bytes that are left of an oversized frame.
    skipping: usize,
    is_damaged: bool,
}

impl AwsParser {
    /// Reads the next bytes and reports the items that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], emit: &mut dyn FnMut(AwsItem<'_>)) {
        while !bytes.is_empty() && !self.is_damaged {
            if self.skipping > 0 {
                let skipped = self.skipping.min(bytes.len());
                self.skipping -= skipped;
                bytes = &bytes[skipped..];
                if self.skipping == 0 {
                    emit(AwsItem::Oversized);
                }
                continue;
            }
            bytes = self.next(bytes, emit);
        }
    }

    /// Returns whether the body may end here: not inside a frame.
    pub(super) fn is_complete(&self) -> bool {
        self.frame.is_empty() && self.skipping == 0 && !self.is_damaged
    }

    /// Reads a frame, or a part of one. Returns the rest of the bytes.
    fn next<'a>(&mut self, bytes: &'a [u8], emit: &mut dyn FnMut(AwsItem<'_>)) -> &'a [u8] {
        if self.frame.len() < PRELUDE {
            // The length of a frame is known once its prelude is complete.
            if self.frame.is_empty() && bytes.len() >= PRELUDE {
                let Some(length) = frame::length(bytes) else {
                    return self.damaged(emit);
                };
                if length <= bytes.len() && length <= MAX_FRAME {
                    self.read(&bytes[..length], emit);
                    return &bytes[length..];
                }
            }
            let taken = bytes.len().min(PRELUDE - self.frame.len());
            self.frame.extend_from_slice(&bytes[..taken]);
            if self.frame.len() == PRELUDE && frame::length(&self.frame).is_none() {
                return self.damaged(emit);
            }
            return &bytes[taken..];
        }
        let Some(length) = frame::length(&self.frame) else {
            return self.damaged(emit);
        };
        let missing = length - self.frame.len();
        if length > MAX_FRAME {
            self.frame.clear();
            self.skipping = missing;
            return bytes;
        }
        let taken = missing.min(bytes.len());
        self.frame.extend_from_slice(&bytes[..taken]);
        if taken == missing {
            let mut frame = mem::take(&mut self.frame);
            self.read(&frame, emit);
            frame.clear();
            frame.shrink_to(RETAINED_CAPACITY);
            self.frame = frame;
        }
        &bytes[taken..]
    }

    /// Reads a complete frame.
    fn read(&mut self, frame: &[u8], emit: &mut dyn FnMut(AwsItem<'_>)) {
        match frame::item(frame) {
            Some(item) => emit(item),
            None => {
                self.damaged(emit);
            }
        }
    }

    fn damaged(&mut self, emit: &mut dyn FnMut(AwsItem<'_>)) -> &'static [u8] {
        self.is_damaged = true;
        emit(AwsItem::Damaged);
        &[]
    }
}

/// Without the bytes, which are the answer.
impl fmt::Debug for AwsParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsParser").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::frame::crc32;
    use super::*;
    use proptest::prelude::*;

    fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in headers {
            bytes.push(u8::try_from(name.len()).unwrap());
            bytes.extend(name.bytes());
            bytes.push(7);
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value.bytes());
        }
        let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = [length(16 + bytes.len() + payload.len()), length(bytes.len())].concat();
        frame.extend(crc32(&frame).to_be_bytes());
        frame.extend(bytes);
        frame.extend(payload);
        frame.extend(crc32(&frame).to_be_bytes());
        frame
    }

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
        let mut items = Vec::new();
        let mut parser = AwsParser::default();
        for chunk in chunks {
            parser.push(chunk, &mut |item| {
                items.push(match item {
                    AwsItem::Event { name, payload } => {
                        format!("{name}|{}", String::from_utf8_lossy(payload))
                    }
                    AwsItem::Error { code, explanation } => {
                        format!("!{code}|{}", String::from_utf8_lossy(explanation))
                    }
                    AwsItem::Oversized => "long".to_owned(),
                    AwsItem::Damaged => "damaged".to_owned(),
                });
            });
            assert!(parser.frame.len() <= MAX_FRAME);
        }
        (items, parser.is_complete())
    }

    fn event(payload: &[u8]) -> Vec<u8> {
        frame(&[(":event-type", "chunk"), (":message-type", "event")], payload)
    }

    /// From AWS's own tests.
    #[test]
    fn an_empty_frame() {
        let empty = b"\0\0\0\x10\0\0\0\0\x05\xC2\x48\xEB\x7D\x98\xC8\xFF";
        assert_eq!(frame(&[], b""), empty);
        assert_eq!(read([&empty[..]]), (vec!["|".to_owned()], true));
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn events_and_errors() {
        let exception = frame(
            &[
                (":exception-type", "throttlingException"),
                (":message-type", "exception"),
            ],
            b"{}",
        );
        let error = frame(
            &[
                (":message-type", "error"),
                (":error-code", "InternalError"),
                (":error-message", "m"),
            ],
            b"",
        );
        let all = [event(b"hi"), exception, error].concat();
        let expected =
            ["chunk|hi", "!throttlingException|{}", "!InternalError|m"].map(str::to_owned).to_vec();
        for size in [1, 5, all.len()] {
            assert_eq!(read(all.chunks(size)), (expected.clone(), true));
        }
        assert!(!read([&all[..all.len() - 1]]).1);
    }

    #[test]
    fn what_is_damaged_ends_the_stream() {
        let whole = [event(b"one"), event(b"two")].concat();
        for at in 0..event(b"one").len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(read([&bytes[..]]), (vec!["damaged".to_owned()], false), "{at}");
            assert_eq!(read(bytes.chunks(3)), (vec!["damaged".to_owned()], false), "{at}");
        }
    }

    #[test]
    fn a_prelude_is_checked_as_soon_as_it_is_complete() {
        for size in [1, 5, 12] {
            assert_eq!(read(b"twelve bytes".chunks(size)), (vec!["damaged".to_owned()], false), "{size}");
        }
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in any::<prop::sample::Index>(), size in 1_usize..40,
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|payload| event(payload)).chain(*b"x").collect();
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(read(bytes.chunks(size)), read([&bytes[..]]));
        }
    }

    #[test]
    fn oversized_frames_are_reported_without_their_payload() {
        let all = [event(&vec![b'x'; MAX_FRAME]), event(b"hi")].concat();
        for size in [1_000, all.len()] {
            assert_eq!(read(all.chunks(size)), (vec!["long".to_owned(), "chunk|hi".to_owned()], true));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (read([&bytes[..]]), frame::item(&bytes));
        }
    }
}
