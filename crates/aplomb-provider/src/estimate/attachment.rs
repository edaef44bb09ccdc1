//! Rough token counts of images, audio and files.

/// Tokens per image at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageTokens {
    pub(crate) standard: u64,
    pub(crate) low_detail: u64,
}

impl ImageTokens {
    /// OpenAI, 1,024 by 1,024 pixels: 85 for the whole image and 170 for each of four tiles.
    pub(crate) const OPENAI: Self = Self { standard: 765, low_detail: 85 };
    /// Anthropic, the largest image that is not scaled down: width × height / 750.
    pub(crate) const ANTHROPIC: Self = Self { standard: 1_600, low_detail: 1_600 };
    /// Google, one tile or a small image.
    pub(crate) const GOOGLE: Self = Self { standard: 258, low_detail: 258 };
    /// Somewhere in the middle.
    pub(crate) const UNKNOWN: Self = Self { standard: 1_000, low_detail: 85 };
}

/// Bytes of audio per token: 32 tokens a second at 128 kbit/s.
const AUDIO_BYTES: u64 = 500;

/// Bytes of a file per token: a page of a PDF has about 50 KB and 2,000 tokens.
const FILE_BYTES: u64 = 25;

/// Tokens of a file that is only referenced, so that its size is unknown.
const REFERENCED: u64 = 1_000;

/// The kind of an attachment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Audio,
    Text,
    #[default]
    File,
}

impl Kind {
    /// By media type (`image/png`) or format (`png`).
    fn of(format: &str) -> Option<Self> {
        match format.split('/').next()? {
            "image" | "png" | "jpeg" | "jpg" | "gif" | "webp" => Some(Self::Image),
            "audio" | "wav" | "mp3" | "flac" | "ogg" | "opus" | "pcm16" => Some(Self::Audio),
            "text" | "txt" | "md" | "csv" | "html" => Some(Self::Text),
            "application" | "pdf" | "video" | "mp4" | "docx" | "xlsx" => Some(Self::File),
            _ => None,
        }
    }
}

/// The meaning of a field of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Format,
    Detail,
    Reference,
    Data,
    Other,
}

impl Field {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"mimeType" | b"mime_type" | b"media_type" | b"format" => Self::Format,
            b"detail" => Self::Detail,
            b"url" | b"file_id" | b"fileUri" | b"file_uri" | b"file_url" | b"uri" | b"s3Location" => {
                Self::Reference
            }
            b"data" | b"bytes" | b"file_data" => Self::Data,
            _ => Self::Other,
        }
    }
}

/// An attachment, as far as its fields have been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attachment {
    kind: Kind,
    /// Characters of its data, mostly base64.
    data: u64,
    is_referenced: bool,
    is_low_detail: bool,
}

impl Attachment {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// An attachment given as one string: Ollama's images, the `image_url` of the Responses API.
    pub(super) fn inline(kind: Kind, text: &str) -> Self {
        let mut attachment = Self::new(kind);
        attachment.add(text, !text.contains("://") && !text.starts_with("file-"));
        attachment
    }

    /// Reads a field with a string value.
    pub(super) fn read(&mut self, field: Field, text: &str) {
        match field {
            Field::Format => self.kind = Kind::of(text).unwrap_or(self.kind),
            Field::Detail => self.is_low_detail = text == "low",
            Field::Reference | Field::Data => self.add(text, field == Field::Data),
            Field::Other => {}
        }
    }

    /// Adds data, or a reference to it. Either may be a `data:` URL.
    fn add(&mut self, text: &str, is_data: bool) {
        let url = text.strip_prefix("data:");
        if let Some(kind) = url.and_then(Kind::of) {
            self.kind = kind;
        }
        if is_data || url.is_some() {
            self.data = self.data.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        } else {
            self.is_referenced = true;
        }
    }

    pub(super) fn tokens(&self, image: ImageTokens) -> u64 {
        let bytes = self.data.saturating_mul(3) / 4;
        match self.kind {
            _ if self.data == 0 && !self.is_referenced => 0,
            Kind::Image if self.is_low_detail => image.low_detail,
            Kind::Image => image.standard,
            _ if self.data == 0 => REFERENCED,
            Kind::Audio => bytes.div_ceil(AUDIO_BYTES),
            Kind::Text => self.data.div_ceil(4),
            Kind::File => bytes.div_ceil(FILE_BYTES),
        }
    }
}
