//! Walks over a request once, without building it up in memory: what counts is where it stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::media::{Media, Rates};
use super::place::{Key, Place};
use super::{Estimate, Tokenizer};

/// Estimates a body; or tells the most output that it allows up to where it is no JSON any more.
pub(super) fn walk(body: &[u8], tokenizer: &dyn Tokenizer, rates: Rates) -> Result<Estimate, Option<u64>> {
    let mut sums = Sums { tokenizer, rates, input: 0, output: None, answers: 1 };
    let mut json = serde_json::Deserializer::from_slice(body);
    let here = Here { sums: &mut sums, place: Place::Top, media: None };
    let read = here.deserialize(&mut json).and_then(|()| json.end());
    let output = sums.output.map(|tokens| tokens.saturating_mul(sums.answers));
    read.map(|()| Estimate::new(sums.input, output)).map_err(|_| output)
}

struct Sums<'a> {
    tokenizer: &'a dyn Tokenizer,
    rates: Rates,
    input: u64,
    output: Option<u64>,
    answers: u64,
}

impl Sums<'_> {
    fn add(&mut self, tokens: u64) {
        self.input = self.input.saturating_add(tokens);
    }
}

/// A value that is about to be walked over.
struct Here<'s, 'a, 'm> {
    sums: &'s mut Sums<'a>,
    place: Place,
    /// The thing that the value is a part of, and the key it stands under.
    media: Option<(&'m mut Media, Key)>,
}

impl<'de> DeserializeSeed<'de> for Here<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match (self.place, &self.media) {
            (Place::Other, _) => json.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Here<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match (self.place, self.media) {
            (Place::Media(_), Some((media, key))) => media.said(key, text),
            // A whole thing in one string: Ollama's images, the Responses API's `image_url`.
            (Place::Media(kind), None) => {
                let mut media = Media { kind, ..Media::default() };
                media.held(text, !text.contains("://") && !text.starts_with("file-"));
                self.sums.add(media.tokens(self.sums.rates));
            }
            (Place::Prompt | Place::Json, _) => {
                let tokens = self.sums.tokenizer.tokens(text);
                self.sums.add(tokens);
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        match self.place {
            Place::Limit => self.sums.output = Some(self.sums.output.unwrap_or(0).max(number)),
            Place::Answers => self.sums.answers = self.sums.answers.max(number),
            // A prompt may come as the tokens themselves.
            Place::Prompt | Place::Json => self.sums.add(1),
            Place::Top | Place::Media(_) | Place::Other => {}
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        loop {
            let media = self.media.as_mut().map(|(media, key)| (&mut **media, *key));
            // A list is not a request, and what is in it is none either.
            let place = if self.place == Place::Top {
                Place::Other
            } else {
                self.place
            };
            let here = Here { sums: self.sums, place, media };
            if items.next_element_seed(here)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Self { sums, place, media } = self;
        let mut own = Media::default();
        if let Place::Media(kind) = place {
            own.kind = kind;
        }
        let is_part = media.is_some();
        let media = media.map_or(&mut own, |(media, _)| media);
        while let Some((next, key, cost)) =
            fields.next_key_seed(InPlace { place, tokenizer: sums.tokenizer })?
        {
            sums.add(cost);
            let part = matches!((place, next), (Place::Media(_), Place::Media(_)));
            let media = part.then_some((&mut *media, key));
            // A sibling may tell how closely an image is looked at.
            fields.next_value_seed(Here { sums, place: next, media })?;
        }
        if !is_part && matches!(place, Place::Media(_)) {
            let tokens = media.tokens(sums.rates);
            sums.add(tokens);
        }
        Ok(())
    }
}

/// Reads a key: what its value is, and what the key itself comes to.
struct InPlace<'a> {
    place: Place,
    tokenizer: &'a dyn Tokenizer,
}

impl<'de> DeserializeSeed<'de> for InPlace<'_> {
    type Value = (Place, Key, u64);

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for InPlace<'_> {
    type Value = (Place, Key, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let cost = match self.place {
            // The name, its quotes, a colon and a comma.
            Place::Json => self.tokenizer.tokens(key).saturating_add(1),
            _ => 0,
        };
        Ok((self.place.of(key), Key::of(key), cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CharactersPerToken;
    use serde_json::{Value, json};

    fn estimate(body: &Value) -> (u64, Option<u64>) {
        let estimate = of(body.to_string().as_bytes());
        (estimate.input(), estimate.output())
    }

    fn of(body: &[u8]) -> Estimate {
        Estimate::of(body, &CharactersPerToken::default(), Rates::OPENAI)
    }

    #[test]
    fn the_prompt_in_every_shape() {
        for (body, expected) in [
            (
                json!({"model": "mmmm", "max_tokens": 100, "n": 2, "messages": [
                    {"role": "system", "content": "12345678"},
                    {"role": "user", "content": [{"type": "text", "text": "1234"}]}
                ]}),
                (3, Some(200)),
            ),
            (
                json!({"max_tokens": 5, "system": "1234", "messages": [{"role": "user", "content": "12345"}]}),
                (3, Some(5)),
            ),
            (json!({"max_output_tokens": 7, "instructions": "1234", "input": "1234"}), (2, Some(7))),
            (
                json!({"contents": [{"role": "user", "parts": [{"text": "12345678"}]}],
                    "systemInstruction": {"parts": [{"text": "1234"}]},
                    "generationConfig": {"maxOutputTokens": 9, "candidateCount": 3}}),
                (3, Some(27)),
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"text": "1234"}]}], "system": [{"text": "1234"}],
                    "inferenceConfig": {"maxTokens": 9}}),
                (2, Some(9)),
            ),
            (
                json!({"message": "1234", "chat_history": [{"message": "1234"}], "preamble": "1"}),
                (3, None),
            ),
            (json!({"inputs": "12345", "parameters": {"max_new_tokens": 4}}), (2, Some(4))),
            (json!({"prompt": "1234", "options": {"num_predict": 4}}), (1, Some(4))),
            (json!({"input": [[1, 2, 3], [4]]}), (4, None)),
            (json!({"input": ["1234", "5"]}), (2, None)),
            (json!({"inputText": "1234", "textGenerationConfig": {"maxTokenCount": 4}}), (1, Some(4))),
            (json!([1, 2]), (0, None)),
            (json!("text"), (0, None)),
            (json!({"max_tokens": -1, "n": 0}), (0, None)),
            (json!({"max_tokens": u64::MAX, "n": 2}), (0, Some(u64::MAX))),
        ] {
            assert_eq!(estimate(&body), expected, "{body}");
        }
    }

    /// It is sent and charged all the same: what serde refuses, a server may read.
    #[test]
    fn what_can_not_be_read_to_its_end_comes_to_a_token_for_four_bytes() {
        let deep = format!(r#"{{"max_tokens": 7, "n": 2, "tools": {}"#, "[".repeat(200));
        for (body, output) in [
            (&br#"{"max_tokens": 7, "messages": [{"content": "12345678\ud83d"}]}"#[..], Some(7)),
            (br#"{"messages": [{"content": "12345678\ud83d"}], "max_tokens": 7}"#, None),
            (deep.as_bytes(), Some(14)),
            (br#"{"prompt": "12345678""#, None),
            (br#" [{"prompt": "12345678""#, None),
        ] {
            assert_eq!(of(body), Estimate::new((body.len() as u64).div_ceil(4), output));
        }
        // What is no JSON at all is no prompt.
        for body in [
            &b"not JSON"[..],
            b"--boundary\r\ncontent-disposition: form-data",
            b"",
            b"\xEF\xBB\xBF",
            b"\0",
        ] {
            assert_eq!(of(body), Estimate::default());
        }
    }

    #[test]
    fn a_byte_order_mark_changes_nothing() {
        let body = r#"{"prompt": "12345678", "max_tokens": 7}"#;
        assert_eq!(of(format!("\u{feff}{body}").as_bytes()), of(body.as_bytes()));
        assert_eq!(of(body.as_bytes()), Estimate::new(2, Some(7)));
    }

    #[test]
    fn tools_and_their_calls_are_read_too() {
        let tools = json!({"tools": [{"type": "function", "function": {"name": "weather",
            "description": "What the weather is like somewhere",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]});
        let written = tools["tools"].to_string().len() as u64 / 4;
        let (read, _) = estimate(&tools);
        assert!(read.abs_diff(written) < written / 3, "{read} {written}");
        let call =
            json!({"messages": [{"tool_calls": [{"function": {"name": "f", "arguments": "12345678"}}]}]});
        assert_eq!(estimate(&call).0, 2);
        let call =
            json!({"messages": [{"content": [{"type": "tool_use", "id": "x", "input": {"city": "Bonn"}}]}]});
        assert_eq!(estimate(&call).0, 3);
    }

    #[test]
    fn images_sounds_and_files() {
        let data = "A".repeat(4_000);
        let url = format!("data:image/png;base64,{data}");
        let pdf = format!("data:application/pdf;base64,{data}");
        for (part, tokens) in [
            (json!({"type": "image_url", "image_url": {"url": url}}), 765),
            (json!({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}), 85),
            (json!({"type": "input_image", "image_url": url}), 765),
            (
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
                765,
            ),
            (json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}), 1_000),
            (json!({"image": {"format": "png", "source": {"bytes": data}}}), 765),
            (json!({"inlineData": {"mimeType": "image/png", "data": data}}), 765),
            (json!({"inline_data": {"mime_type": "audio/mp3", "data": data}}), 6),
            (json!({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://x"}}), 1_000),
            (json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}), 6),
            (json!({"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}), 121),
            (json!({"type": "input_file", "file_data": pdf}), 121),
            (json!({"type": "input_file", "file_id": "file-1"}), 1_000),
            (
                json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": data}}),
                1_000,
            ),
            (
                json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "1234"}]}}),
                1,
            ),
            (json!({"image_url": {}}), 0),
        ] {
            let body = json!({"messages": [{"role": "user", "content": [part]}]});
            assert_eq!(estimate(&body).0, tokens, "{}", &part.to_string()[..60.min(part.to_string().len())]);
        }
        let ollama = json!({"prompt": "1234", "images": [data, data]});
        assert_eq!(estimate(&ollama).0, 1 + 2 * 765);
    }
}
