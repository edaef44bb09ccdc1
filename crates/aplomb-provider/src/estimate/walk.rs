//! Walks over the JSON of a request once, without building it up in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::attachment::{Attachment, Field, ImageTokens};
use super::part::Part;
use super::tokenizer::Tokenizer;

/// The tokens of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) input: u64,
    pub(super) output: Option<u64>,
}

/// Counts the tokens of a body. If the body is not JSON, the error is the maximum output up to where the JSON
/// breaks off.
pub(super) fn count(
    body: &[u8],
    tokenizer: &dyn Tokenizer,
    image: ImageTokens,
) -> Result<Counted, Option<u64>> {
    let mut sums = Sums { tokenizer, image, input: 0, output: None, answers: 1 };
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = Value { sums: &mut sums, part: Part::Request, attachment: None };
    let read = value.deserialize(&mut json).and_then(|()| json.end());
    let output = sums.output.map(|tokens| tokens.saturating_mul(sums.answers));
    read.map(|()| Counted { input: sums.input, output }).map_err(|_| output)
}

struct Sums<'a> {
    tokenizer: &'a dyn Tokenizer,
    image: ImageTokens,
    input: u64,
    output: Option<u64>,
    answers: u64,
}

impl Sums<'_> {
    fn add(&mut self, tokens: u64) {
        self.input = self.input.saturating_add(tokens);
    }
}

/// A value that is about to be read.
struct Value<'s, 'a, 'm> {
    sums: &'s mut Sums<'a>,
    part: Part,
    /// The attachment that the value belongs to, and the field that it is.
    attachment: Option<(&'m mut Attachment, Field)>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.part {
            Part::Ignored => json.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match (self.part, self.attachment) {
            (Part::Attachment(_), Some((attachment, field))) => attachment.read(field, text),
            (Part::Attachment(kind), None) => {
                let tokens = Attachment::inline(kind, text).tokens(self.sums.image);
                self.sums.add(tokens);
            }
            (Part::Prompt | Part::Json, _) => {
                let tokens = self.sums.tokenizer.tokens(text);
                self.sums.add(tokens);
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        match self.part {
            Part::OutputLimit => self.sums.output = Some(self.sums.output.unwrap_or(0).max(number)),
            Part::AnswerCount => self.sums.answers = self.sums.answers.max(number),
            // A prompt may consist of token numbers.
            Part::Prompt | Part::Json => self.sums.add(1),
            Part::Request | Part::Attachment(_) | Part::Ignored => {}
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
        // A list is not a request, and neither are its items.
        let part = if self.part == Part::Request {
            Part::Ignored
        } else {
            self.part
        };
        loop {
            let attachment = self.attachment.as_mut().map(|(attachment, field)| (&mut **attachment, *field));
            if items.next_element_seed(Value { sums: self.sums, part, attachment })?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Self { sums, part, attachment } = self;
        let is_nested = attachment.is_some();
        let mut own = match part {
            Part::Attachment(kind) => Attachment::new(kind),
            _ => Attachment::default(),
        };
        let attachment = attachment.map_or(&mut own, |(attachment, _)| attachment);
        while let Some((next, field, cost)) =
            fields.next_key_seed(Name { part, tokenizer: sums.tokenizer })?
        {
            sums.add(cost);
            let is_field = matches!((part, next), (Part::Attachment(_), Part::Attachment(_)));
            let attachment = is_field.then_some((&mut *attachment, field));
            fields.next_value_seed(Value { sums, part: next, attachment })?;
        }
        if !is_nested && matches!(part, Part::Attachment(_)) {
            let tokens = attachment.tokens(sums.image);
            sums.add(tokens);
        }
        Ok(())
    }
}

/// Reads a name: which part its value is, which field of an attachment, and how many tokens the name has.
struct Name<'a> {
    part: Part,
    tokenizer: &'a dyn Tokenizer,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = (Part, Field, u64);

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = (Part, Field, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let cost = match self.part {
            // The name, its quotes, a colon and a comma.
            Part::Json => self.tokenizer.tokens(name).saturating_add(1),
            _ => 0,
        };
        Ok((self.part.at(name), Field::of(name), cost))
    }
}
