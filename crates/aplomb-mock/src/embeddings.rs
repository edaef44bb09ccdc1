//! OpenAI's embeddings API.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Content;
use crate::api::Ask;
use crate::draw::{self, Lot};

/// Vectors of length one, the same for the same first text, its place in the request and the dimensions.
pub(crate) fn whole(ask: &Ask, answer: &Content) -> Bytes {
    let data: Vec<Value> = (0..ask.embeddings.inputs)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": encoded(ask, index)}))
        .collect();
    let usage = json!({"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens});
    let body = json!({"object": "list", "data": data, "model": ask.model, "usage": usage});
    Bytes::from(body.to_string())
}

fn encoded(ask: &Ask, index: usize) -> Value {
    let vector = vector(ask, index);
    if ask.embeddings.base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        base64(&bytes).into()
    } else {
        vector.into()
    }
}

fn vector(ask: &Ask, index: usize) -> Vec<f32> {
    let key = draw::key(&format!("{index}:{}", ask.prompt));
    let raw: Vec<f32> = (0..ask.embeddings.dimensions)
        .map(|at| {
            let bits = draw::bits(0, key, at as u64, Lot::Filler) >> 48;
            f32::from(u16::try_from(bits).unwrap_or(u16::MAX)) - 32_767.5
        })
        .collect();
    let length = raw.iter().map(|number| number * number).sum::<f32>().sqrt();
    raw.into_iter().map(|number| number / length).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at| group.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or(0);
            text.push(if digit <= group.len() {
                char::from(DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
