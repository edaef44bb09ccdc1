//! What images, sounds and files come to, roughly.

use super::place::Key;

/// What media come to at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Tokens of an image.
    pub(crate) image: u64,
    /// Tokens of an image in low detail.
    pub(crate) low_image: u64,
}

impl Rates {
    /// OpenAI's for 1,024 by 1,024 pixels: 85 for the whole and 170 for each of four tiles.
    pub(crate) const OPENAI: Self = Self { image: 765, low_image: 85 };
    /// Anthropic's for the largest image that is not scaled down: width × height / 750.
    pub(crate) const ANTHROPIC: Self = Self { image: 1_600, low_image: 1_600 };
    /// Google's for a tile, or an image that is small.
    pub(crate) const GOOGLE: Self = Self { image: 258, low_image: 258 };
    /// About the middle.
    pub(crate) const UNKNOWN: Self = Self { image: 1_000, low_image: 85 };
}

/// 32 tokens a second, at 128 kbit/s.
const AUDIO_BYTES: u64 = 500;

/// A page of a PDF is some 50 KB and comes to some 2,000 tokens.
const FILE_BYTES: u64 = 25;

/// A file that is only named: nobody knows its size.
const NAMED: u64 = 1_000;

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Audio,
    Text,
    #[default]
    File,
}

impl Kind {
    /// By a media type (`image/png`) or a format (`png`).
    pub(crate) fn of(format: &str) -> Option<Self> {
        match format.split('/').next()? {
            "image" | "png" | "jpeg" | "jpg" | "gif" | "webp" => Some(Self::Image),
            "audio" | "wav" | "mp3" | "flac" | "ogg" | "opus" | "pcm16" => Some(Self::Audio),
            "text" | "txt" | "md" | "csv" | "html" => Some(Self::Text),
            "application" | "pdf" | "video" | "mp4" | "docx" | "xlsx" => Some(Self::File),
            _ => None,
        }
    }
}

/// A thing that is not text, as far as it has been seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Media {
    pub(crate) kind: Kind,
    /// Characters of its data, mostly in base64.
    pub(crate) data: u64,
    pub(crate) is_named: bool,
    pub(crate) is_low: bool,
}

impl Media {
    /// What a text says that stands under `key`.
    pub(super) fn said(&mut self, key: Key, text: &str) {
        match key {
            Key::Format => self.kind = Kind::of(text).unwrap_or(self.kind),
            Key::Detail => self.is_low = text == "low",
            Key::Name | Key::Data => self.held(text, key == Key::Data),
            Key::Outer => {}
        }
    }

    /// The data itself, or a name for it. Either may be a `data:` URL.
    pub(super) fn held(&mut self, text: &str, is_data: bool) {
        let url = text.strip_prefix("data:");
        if let Some(kind) = url.and_then(Kind::of) {
            self.kind = kind;
        }
        if is_data || url.is_some() {
            self.data = self.data.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        } else {
            self.is_named = true;
        }
    }

    pub(crate) fn tokens(&self, rates: Rates) -> u64 {
        let bytes = self.data.saturating_mul(3) / 4;
        match self.kind {
            _ if self.data == 0 && !self.is_named => 0,
            Kind::Image if self.is_low => rates.low_image,
            Kind::Image => rates.image,
            _ if self.data == 0 => NAMED,
            Kind::Audio => bytes.div_ceil(AUDIO_BYTES),
            Kind::Text => self.data.div_ceil(4),
            Kind::File => bytes.div_ceil(FILE_BYTES),
        }
    }
}
