//! The format of a body.

use http::header::CONTENT_ENCODING;

use crate::Head;

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// Server-sent events.
    Events,
    /// JSON: one value, or a list of what would have been the chunks of a stream.
    Json,
    /// JSON, one value per line.
    JsonLines,
    /// The binary frames of an AWS event stream.
    AwsEvents,
    /// A web page, where an answer was expected: a proxy's, or that of a login.
    Page,
    /// Anything else, which is trusted.
    Opaque,
}

/// Possible starts of an event stream: a field, a comment or a byte order mark.
const EVENT_STARTS: [&[u8]; 6] = [b"data:", b"event:", b":", b"id:", b"retry:", b"\xEF\xBB\xBF"];

/// Starts of a web page, in lower case.
const PAGE_STARTS: [&[u8]; 3] = [b"<!doct", b"<html>", b"<html "];

/// Starts of compressed bodies that do not say so: gzip, zstd.
const COMPRESSED_STARTS: [&[u8]; 2] = [b"\x1F\x8B", b"\x28\xB5\x2F\xFD"];

/// Fields that start an event stream under another media type.
const EVENT_FIELDS: [&[u8]; 2] = [b"data:", b"event:"];

impl BodyFormat {
    /// The number of bytes that is always enough to recognize a format, that of the longest field.
    pub(crate) const MAX_START: usize = 6;

    /// By the head; `None` if it does not say.
    pub(crate) fn declared(head: &Head<'_>) -> Option<Self> {
        if is_compressed(head) {
            return Some(Self::Opaque);
        }
        Self::of_media_type(head)
    }

    /// By the media type, if there is one.
    pub(crate) fn of_media_type(head: &Head<'_>) -> Option<Self> {
        let media_type = head.media_type()?;
        Some(if media_type.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else if media_type.eq_ignore_ascii_case("text/event-stream") {
            Self::Events
        } else {
            Self::of_other(&media_type.to_ascii_lowercase())
        })
    }

    fn of_other(media_type: &str) -> Self {
        let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
        if subtype == "vnd.amazon.eventstream" {
            return Self::AwsEvents;
        }
        let is_any = |subtypes: &[&str]| subtypes.contains(&subtype);
        let is_json =
            is_any(&["json", "x-ndjson", "ndjson", "jsonl", "x-jsonlines"]) || subtype.ends_with("+json");
        let has_lines = ["ndjson", "jsonl", "stream+json"].iter().any(|lines| subtype.contains(lines));
        match (is_json, has_lines) {
            (true, true) => Self::JsonLines,
            (true, false) => Self::Json,
            (false, _) => Self::Opaque,
        }
    }

    /// Returns whether a body that is declared as this may be something else: servers send events as JSON or plain text, and
    /// proxies send pages as anything.
    pub(crate) fn is_uncertain(self, head: &Head<'_>) -> bool {
        let is_text = || head.media_type().is_some_and(|media_type| media_type.starts_with("text/"));
        match self {
            Self::Json | Self::JsonLines | Self::Events => true,
            Self::Opaque => is_text() && !is_compressed(head),
            Self::AwsEvents | Self::Page => false,
        }
    }

    /// The format of a body that is declared as this, by its first bytes after any white space; `None` if they are too few to
    /// tell.
    pub(crate) fn seen(self, start: &[u8]) -> Option<Self> {
        let starts_any = |all: &[&[u8]]| all.iter().any(|known| start.starts_with(known));
        let may_start_any = |all: &[&[u8]]| all.iter().any(|known| known.starts_with(start));
        let is_json = matches!(self, Self::Json | Self::JsonLines);
        match start.first()? {
            // JSON and events do not start with it.
            b'<' if self != Self::Opaque => Some(Self::Page),
            b'<' => is_page(start).map(|is| if is { Self::Page } else { self }),
            // Text may start with a colon, JSON may not.
            b':' if is_json => Some(Self::Events),
            b'd' | b'e' if self != Self::Events && starts_any(&EVENT_FIELDS) => Some(Self::Events),
            b'd' | b'e' if self != Self::Events && may_start_any(&EVENT_FIELDS) => None,
            0x1F | 0x28 if is_json && starts_any(&COMPRESSED_STARTS) => Some(Self::Opaque),
            0x1F | 0x28 if is_json && may_start_any(&COMPRESSED_STARTS) => None,
            _ => Some(self),
        }
    }

    /// By the first bytes after any white space; `None` if they are too few to tell.
    pub(crate) fn starting_with(start: &[u8]) -> Option<Self> {
        match start.first()? {
            b'{' | b'[' => Some(Self::Json),
            b'<' => is_page(start).map(|is| if is { Self::Page } else { Self::Opaque }),
            _ if EVENT_STARTS.iter().any(|field| start.starts_with(field)) => Some(Self::Events),
            _ if EVENT_STARTS.iter().any(|field| field.starts_with(start)) => None,
            _ => Some(Self::Opaque),
        }
    }
}

/// Returns whether a body is HTML; `None` if its first bytes are too few to tell. XML is not.
fn is_page(start: &[u8]) -> Option<bool> {
    let start = &start[..start.len().min(BodyFormat::MAX_START)].to_ascii_lowercase();
    if PAGE_STARTS.contains(&start.as_slice()) {
        return Some(true);
    }
    let may_be = PAGE_STARTS.iter().any(|known| known.starts_with(start));
    (!may_be).then_some(false)
}

/// Returns whether the head says that the body is compressed. Some proxies leave an empty header, which says nothing.
pub(crate) fn is_compressed(head: &Head<'_>) -> bool {
    let values = head.headers().get_all(CONTENT_ENCODING).iter();
    let mut codings = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}
