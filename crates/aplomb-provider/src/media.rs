//! What a body is made of.

use crate::Head;

/// What a body is made of, as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// Server-sent events.
    Events,
    /// JSON: a single value, or a list of what would have been the chunks of a stream.
    Json,
    /// JSON, one value to a line.
    Lines,
    /// Anything else, which is believed.
    Other,
}

/// The fields that an event stream begins with, a comment, and a byte order mark.
const FIELDS: [&[u8]; 6] = [b"data:", b"event:", b":", b"id:", b"retry:", b"\xEF\xBB\xBF"];

impl Media {
    /// So many bytes always tell: as many as the longest field has.
    pub(crate) const MOST_TO_TELL: usize = 6;

    /// By the media type; `None` where there is none.
    pub(crate) fn of(head: &Head<'_>) -> Option<Self> {
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
        let is_any = |subtypes: &[&str]| subtypes.contains(&subtype);
        let is_json =
            is_any(&["json", "x-ndjson", "ndjson", "jsonl", "x-jsonlines"]) || subtype.ends_with("+json");
        let has_lines = ["ndjson", "jsonl", "stream+json"].iter().any(|lines| subtype.contains(lines));
        match (is_json, has_lines) {
            (true, true) => Self::Lines,
            (true, false) => Self::Json,
            (false, _) => Self::Other,
        }
    }

    /// By the bytes that a body begins with, space apart; `None` where that are too few to tell.
    pub(crate) fn starting(start: &[u8]) -> Option<Self> {
        match start.first()? {
            b'{' | b'[' => Some(Self::Json),
            _ if FIELDS.iter().any(|field| start.starts_with(field)) => Some(Self::Events),
            _ if FIELDS.iter().any(|field| field.starts_with(start)) => None,
            _ => Some(Self::Other),
        }
    }
}
