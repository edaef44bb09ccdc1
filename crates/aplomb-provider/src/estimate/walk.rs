//! Walks over the JSON of a request once, without building it up in memory.

use super::attachment::{Attachment, Field, ImageTokens};
use super::part::Part;
use super::tokenizer::Counter;
use crate::json::{Kind, Lexed, Lexer, MAX_DEPTH, Malformed, Text, whole};

/// The tokens of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) input: u64,
    pub(super) output: Option<u64>,
}

/// Counts the tokens of a body. If the body is not JSON, the error is the maximum output up to where the JSON
/// breaks off.
pub(super) fn count(body: &[u8], counter: Counter<'_>, image: ImageTokens) -> Result<Counted, Option<u64>> {
    let sums = Sums { counter, image, input: 0, output: None, answers: 1 };
    let mut walk = Walk { lexer: Lexer::new(body), depth: 0, sums };
    let read = walk.value(Part::Request, None).and_then(|()| walk.lexer.end());
    let Sums { input, output, answers, .. } = walk.sums;
    let output = output.map(|tokens| tokens.saturating_mul(answers));
    read.map(|()| Counted { input, output }).map_err(|Malformed| output)
}

struct Walk<'b, 'c> {
    lexer: Lexer<'b>,
    depth: u8,
    sums: Sums<'c>,
}

/// The attachment that a value belongs to, and the field that it is.
type FieldOf<'m> = (&'m mut Attachment, Field);

impl Walk<'_, '_> {
    fn value(&mut self, part: Part, attachment: Option<FieldOf<'_>>) -> Lexed {
        match self.lexer.next()? {
            b'"' => {
                let (kind, raw) = self.lexer.string()?;
                self.sums.text(part, attachment, kind, raw);
            }
            b'{' => {
                self.enter()?;
                self.object(part, attachment.map(|(attachment, _)| attachment))?;
                self.depth -= 1;
            }
            b'[' => {
                self.enter()?;
                self.list(part, attachment)?;
                self.depth -= 1;
            }
            b't' => drop(self.lexer.literal(b"rue")?),
            b'f' => drop(self.lexer.literal(b"alse")?),
            b'n' => drop(self.lexer.literal(b"ull")?),
            byte => {
                let number = self.lexer.number(byte)?;
                self.sums.number(part, number);
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> Lexed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(Malformed)
        } else {
            Ok(())
        }
    }

    /// The members of an object, which may be a part of an attachment.
    fn object(&mut self, part: Part, outer: Option<&mut Attachment>) -> Lexed {
        let mut own = match part {
            Part::Attachment(kind) if outer.is_none() => Some(Attachment::new(kind)),
            _ => None,
        };
        let mut attachment = outer.or(own.as_mut());
        let mut byte = self.lexer.next()?;
        while byte != b'}' {
            if byte != b'"' {
                return Err(Malformed);
            }
            let (kind, name) = self.lexer.string()?;
            if self.lexer.next()? != b':' {
                return Err(Malformed);
            }
            let (next, field) = match part {
                Part::Ignored => (Part::Ignored, Field::Other),
                _ => self.sums.name(part, kind, name),
            };
            let is_field = matches!((part, next), (Part::Attachment(_), Part::Attachment(_)));
            let attachment = attachment.as_deref_mut().filter(|_| is_field);
            self.value(next, attachment.map(|attachment| (attachment, field)))?;
            byte = self.lexer.after_item(b'}')?;
        }
        if let Some(own) = own {
            self.sums.add(own.tokens(self.sums.image));
        }
        Ok(())
    }

    fn list(&mut self, part: Part, mut attachment: Option<FieldOf<'_>>) -> Lexed {
        // A list is not a request, and neither are its items.
        let part = if part == Part::Request {
            Part::Ignored
        } else {
            part
        };
        if self.lexer.next()? == b']' {
            return Ok(());
        }
        loop {
            self.lexer.back();
            let attachment = attachment.as_mut().map(|(attachment, field)| (&mut **attachment, *field));
            self.value(part, attachment)?;
            if self.lexer.after_item(b']')? == b']' {
                return Ok(());
            }
        }
    }
}

struct Sums<'a> {
    counter: Counter<'a>,
    image: ImageTokens,
    input: u64,
    output: Option<u64>,
    answers: u64,
}

impl Sums<'_> {
    fn add(&mut self, tokens: u64) {
        self.input = self.input.saturating_add(tokens);
    }

    /// Counts a name, and says which part its value is, and which field of an attachment.
    fn name(&mut self, part: Part, kind: Kind, raw: &[u8]) -> (Part, Field) {
        if part == Part::Json {
            // The name, its quotes, a colon and a comma.
            let tokens = self.counter.tokens(kind, raw).saturating_add(1);
            self.add(tokens);
            return (Part::Json, Field::Other);
        }
        let escaped;
        let name = match kind {
            Kind::EscapedText => {
                escaped = Text::written(raw).read().into_owned();
                escaped.as_bytes()
            }
            _ => raw,
        };
        let field = match part {
            Part::Attachment(_) => Field::of(name),
            _ => Field::Other,
        };
        (part.at(name), field)
    }

    fn text(&mut self, part: Part, attachment: Option<FieldOf<'_>>, kind: Kind, raw: &[u8]) {
        match (part, attachment) {
            (Part::Attachment(_), Some((attachment, field))) => {
                attachment.read(field, &Text::written(raw).read());
            }
            (Part::Attachment(kind), None) => {
                let attachment = Attachment::inline(kind, &Text::written(raw).read());
                self.add(attachment.tokens(self.image));
            }
            (Part::Prompt | Part::Json, _) => {
                let tokens = self.counter.tokens(kind, raw);
                self.add(tokens);
            }
            _ => {}
        }
    }

    /// Only whole numbers count.
    fn number(&mut self, part: Part, raw: &[u8]) {
        if part == Part::Ignored {
            return;
        }
        let Some(number) = whole(raw) else {
            return;
        };
        match part {
            Part::OutputLimit => self.output = Some(self.output.unwrap_or(0).max(number)),
            Part::AnswerCount => self.answers = self.answers.max(number),
            // A prompt may consist of token numbers.
            Part::Prompt | Part::Json => self.add(1),
            Part::Request | Part::Attachment(_) | Part::Ignored => {}
        }
    }
}
