//! The format of a body.

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
    /// Anything else, which is trusted.
    Opaque,
}

/// Possible starts of an event stream: a field, a comment or a byte order mark.
const EVENT_STARTS: [&[u8]; 6] = [b"data:", b"event:", b":", b"id:", b"retry:", b"\xEF\xBB\xBF"];

/// Fields that start an event stream under another media type.
const EVENT_FIELDS: [&[u8]; 2] = [b"data:", b"event:"];

impl BodyFormat {
    /// The number of bytes that is always enough to recognize a format, that of the longest field.
    pub(crate) const MAX_START: usize = 6;

    /// By the media type; `None` if there is none.
    pub(crate) fn declared(head: &Head<'_>) -> Option<Self> {
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

    /// Returns whether a body that is declared as something else may be an event stream anyway: servers send
    /// events as JSON or plain text.
    pub(crate) fn may_be_events(self, head: &Head<'_>) -> bool {
        let is_text = || head.media_type().is_some_and(|media_type| media_type.starts_with("text/"));
        self == Self::Json || (self == Self::Opaque && is_text())
    }

    /// Returns whether the first bytes after any white space of a body that is declared as this are those of events;
    /// `None` if they are too few to tell.
    pub(crate) fn is_events(self, start: &[u8]) -> Option<bool> {
        match start.first()? {
            // Text may start with a colon, JSON may not.
            b':' => Some(self == Self::Json),
            b'd' | b'e' if EVENT_FIELDS.iter().any(|field| start.starts_with(field)) => Some(true),
            b'd' | b'e' if EVENT_FIELDS.iter().any(|field| field.starts_with(start)) => None,
            _ => Some(false),
        }
    }

    /// By the first bytes after any white space; `None` if they are too few to tell.
    pub(crate) fn starting_with(start: &[u8]) -> Option<Self> {
        match start.first()? {
            b'{' | b'[' => Some(Self::Json),
            _ if EVENT_STARTS.iter().any(|field| start.starts_with(field)) => Some(Self::Events),
            _ if EVENT_STARTS.iter().any(|field| field.starts_with(start)) => None,
            _ => Some(Self::Opaque),
        }
    }
}
