//! A frame: a prelude (the lengths of frame and headers, and a CRC-32 of both), headers, a payload and a CRC-32 of
//! everything before it, all in big-endian order.

use std::str;

/// The longest frame that AWS sends: 24 MiB of payload and 128 KiB of headers.
const MAX_LENGTH: usize = (24 * 1024 + 128) * 1024 + 16;

/// A part of an AWS event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AwsItem<'a> {
    /// An event and its payload.
    Event { name: &'a str, payload: &'a [u8] },
    /// An error: its code, and a payload or a message that explains it.
    Error { code: &'a str, explanation: &'a [u8] },
    /// A frame that was too long to keep.
    Oversized,
    /// Bytes that are not a frame. Nothing follows them.
    Damaged,
}

pub(super) const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// The length of a frame with this prelude, if the prelude is valid.
pub(super) fn length(prelude: &[u8]) -> Option<usize> {
    let length = usize::try_from(number(prelude, 0)?).ok()?;
    let is_valid = number(prelude, 8)? == crc32(&prelude[..8]);
    (is_valid && (PRELUDE + CHECKSUM..=MAX_LENGTH).contains(&length)).then_some(length)
}

/// The contents of a frame.
pub(super) fn item(frame: &[u8]) -> Option<AwsItem<'_>> {
    let (contents, checksum) = frame.split_at(frame.len().checked_sub(CHECKSUM)?);
    if number(checksum, 0)? != crc32(contents) {
        return None;
    }
    let headers_length = usize::try_from(number(contents, 4)?).ok()?;
    let (headers, payload) = contents.get(PRELUDE..)?.split_at_checked(headers_length)?;
    let headers = Headers::read(headers)?;
    Some(match headers.message_type {
        "exception" => AwsItem::Error { code: headers.exception_type, explanation: payload },
        "error" => AwsItem::Error { code: headers.error_code, explanation: headers.error_message.as_bytes() },
        _ => AwsItem::Event { name: headers.event_type, payload },
    })
}

/// The headers of a frame that matter.
#[derive(Default)]
struct Headers<'a> {
    message_type: &'a str,
    event_type: &'a str,
    exception_type: &'a str,
    error_code: &'a str,
    error_message: &'a str,
}

impl<'a> Headers<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut headers = Self::default();
        while let Some((&length, rest)) = bytes.split_first() {
            let (name, rest) = rest.split_at_checked(length.into())?;
            let (&kind, rest) = rest.split_first()?;
            let (value, rest) = value(kind, rest)?;
            let text = || str::from_utf8(value).unwrap_or_default();
            match name {
                b":message-type" => headers.message_type = text(),
                b":event-type" => headers.event_type = text(),
                b":exception-type" => headers.exception_type = text(),
                b":error-code" => headers.error_code = text(),
                b":error-message" => headers.error_message = text(),
                _ => {}
            }
            bytes = rest;
        }
        Some(headers)
    }
}

/// The value of a header, by its type, and the rest.
fn value(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match kind {
        // Booleans.
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        // A long, or a timestamp.
        5 | 8 => 8,
        // Bytes, or a string.
        6 | 7 => {
            let (length, rest) = bytes.split_first_chunk()?;
            return rest.split_at_checked(u16::from_be_bytes(*length).into());
        }
        // A UUID.
        9 => 16,
        _ => return None,
    };
    bytes.split_at_checked(length)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The CRC-32 of IEEE 802.3.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let update = |crc: u32, &byte: &u8| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(!0, update)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xEDB8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};
