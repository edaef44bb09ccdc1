//! Eight bytes of JSON at a time.

const EACH: u64 = u64::MAX / 0xFF;
/// The bits that no ASCII has.
pub(super) const HIGH: u64 = EACH * 0x80;
const BLANKS: u64 = EACH * 0x20;

/// Marks, among eight bytes, where a text may end: the lowest mark is right, whatever those above are.
/// With the classic test for a zero byte (H. S. Warren, "Hacker's Delight", 6-1).
pub(super) const fn stops(word: u64) -> u64 {
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(EACH) & !word
    }
    let controls = word.wrapping_sub(EACH * 0x20) & !word;
    let quotes = zeros(word ^ (EACH * b'"' as u64));
    let backslashes = zeros(word ^ (EACH * b'\\' as u64));
    (controls | quotes | backslashes) & HIGH
}

/// How many blanks eight bytes begin with.
pub(super) const fn blanks(word: u64) -> usize {
    ((word ^ BLANKS).trailing_zeros() / 8) as usize
}
