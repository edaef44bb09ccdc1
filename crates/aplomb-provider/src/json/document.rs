//! A complete JSON text.

use super::key::Key;
use super::scan::{Nodes, Scanner};
use super::view::View;

/// A JSON text that has been scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    text: &'a [u8],
    view: View<'a>,
    has_counts: bool,
}

impl<'a> Document<'a> {
    /// Scans a text to its end and records its values in `nodes`; `None` if it is not JSON.
    pub(crate) fn read<'t: 'a>(text: &'t [u8], nodes: &'a mut Nodes<'t>) -> Option<Self> {
        let document = Self::first(text, nodes)?;
        let rest = &text[document.text.len()..];
        rest.iter().all(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).then_some(document)
    }

    /// Scans the value that `text` starts with.
    pub(crate) fn first<'t: 'a>(text: &'t [u8], nodes: &'a mut Nodes<'t>) -> Option<Self> {
        nodes.clear();
        let mut scanner = Scanner::new(text, nodes);
        scanner.value(Key::Item, true).ok()?;
        let (len, has_counts) = (scanner.position(), scanner.has_counts());
        Some(Self { text: &text[..len], view: View::of(nodes), has_counts })
    }

    /// The bytes of the value.
    pub(crate) const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The value.
    pub(crate) const fn view(&self) -> View<'a> {
        self.view
    }

    /// Returns whether any name is that of a token count: without one there is no usage.
    pub(crate) const fn has_counts(&self) -> bool {
        self.has_counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Text;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Text that is JSON, or nearly.
    fn text() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "choices",
            "usage",
            "delta",
            "message",
            "content",
            "x",
            "prompt_tokens",
            "us\\u0061ge",
            "\\ud800",
            "ß",
        ]);
        let leaf = prop_oneof![
            4 => "\"([a-z \\[\\]{},:ß]|\\\\[\"\\\\/bfnrtu]|\\\\u[0-9a-fA-F]{4}|\\\\ud[89a-f]3d\\\\ud[c-e]00|\u{7f}|\u{1})*\"",
            2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?",
            1 => "[0-9]{300,320}",
            2 => "(true|false|null|tru|nul|\\.|)",
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            let field = (name.clone(), inner.clone(), "( |\n|\t|\r|)", "(:| :|: |;)")
                .prop_map(|(name, value, space, colon)| format!("{space}\"{name}\"{colon}{value}{space}"));
            prop_oneof![
                4 => prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(","))),
                2 => prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
                1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{},", items.join(","))),
            ]
        })
    }

    /// Every known name leads to the same value in both, at any depth.
    fn agree(view: View<'_>, value: &Value) -> Result<(), TestCaseError> {
        prop_assert_eq!(view.is_null(), value.is_null());
        prop_assert_eq!(view.as_bool(), value.as_bool());
        prop_assert_eq!(view.text(), value.as_str().map(Text::from));
        prop_assert_eq!(view.is_list(), value.is_array());
        prop_assert_eq!(view.is_object(), value.is_object());
        let is_empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        prop_assert_eq!(view.is_empty(), is_empty);
        let whole = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && (0.0..1e15).contains(&number))
                .then(|| format!("{number}").parse().unwrap_or(0))
        });
        prop_assert_eq!(view.count(), whole);
        for (item, expected) in view.items().zip(value.as_array().into_iter().flatten()) {
            agree(item, expected)?;
        }
        prop_assert_eq!(view.items().count(), value.as_array().map_or(0, Vec::len));
        for (key, name) in [
            (Key::Choices, "choices"),
            (Key::Usage, "usage"),
            (Key::Delta, "delta"),
            (Key::Message, "message"),
            (Key::Content, "content"),
            (Key::PromptTokens, "prompt_tokens"),
        ] {
            let expected = value.get(name);
            prop_assert_eq!(view.get(key).is_there(), expected.is_some());
            if let Some(expected) = expected {
                agree(view.get(key), expected)?;
            }
        }
        Ok(())
    }

    fn both(text: &[u8]) -> Result<(), TestCaseError> {
        let mut nodes = Nodes::new();
        let (own, theirs) = (Document::read(text, &mut nodes), serde_json::from_slice::<Value>(text));
        prop_assert_eq!(own.is_some(), theirs.is_ok(), "{:?}", String::from_utf8_lossy(text));
        if let (Some(own), Ok(theirs)) = (own, theirs) {
            agree(own.view(), &theirs)?;
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn json_is_what_serde_json_reads(text in text()) {
            both(text.as_bytes())?;
        }

        #[test]
        fn spoilt_json_is_refused_as_by_serde_json(text in text(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = text.into_bytes();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                both(&bytes)?;
                both(&bytes[..at])?;
            }
        }

        #[test]
        fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..40)) {
            both(&text)?;
        }
    }

    #[test]
    fn as_deep_as_serde_json_goes() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"message\":", "}")] {
            for depth in [1, 126, 127, 128, 100_000] {
                let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                both(text.as_bytes()).unwrap();
                let mut nodes = Nodes::new();
                let document = Document::read(text.as_bytes(), &mut nodes);
                assert_eq!(document.is_some(), depth <= 127, "{depth}");
            }
        }
    }

    #[test]
    fn a_value_and_the_rest() {
        let mut nodes = Nodes::new();
        let document = Document::first(b" {\"usage\": {}} x", &mut nodes).unwrap();
        assert_eq!(document.text().len(), 14);
        assert!(document.view().get(Key::Usage).is_object());
        assert!(Document::first(b"{\"usage\": ", &mut Nodes::new()).is_none());
        assert!(Document::read(b" {} {}", &mut Nodes::new()).is_none());
    }
}
