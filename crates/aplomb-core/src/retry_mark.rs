//! The mark that a retry leaves for the layers inside while it runs an attempt.

use std::cell::Cell;

thread_local! {
    static MARK: Cell<Mark> = const { Cell::new(Mark { inside: false, paced: false }) };
}

#[derive(Clone, Copy)]
struct Mark {
    inside: bool,
    paced: bool,
}

/// Says, while an attempt is called or polled, that a retry outside will send it again if it fails.
///
/// A retry layer inside sees it and stands down, so that retries do not multiply. In the other
/// direction a gate notes that it held the attempt back until it could go: such a retry was no burden,
/// and costs no budget.
///
/// The mark lies in the thread, and only for one step at a time: it costs a few instructions, where
/// one in the request's extensions would cost three allocations for every call. Work that is handed
/// to another task (a `Buffer`) does not see it.
#[derive(Clone, Copy, Debug)]
pub struct RetryMark;

impl RetryMark {
    /// Whether this runs inside an attempt that will be retried from outside.
    pub fn is_set() -> bool {
        MARK.get().inside
    }

    /// Runs one step of an attempt that will be retried from here; says also whether a gate noted
    /// that it had held the attempt back.
    #[inline]
    pub fn enter<T>(step: impl FnOnce() -> T) -> (T, bool) {
        /// Takes the mark back, also when the step panics.
        struct Leave(Mark);
        impl Drop for Leave {
            fn drop(&mut self) {
                MARK.set(self.0);
            }
        }
        let _leave = Leave(MARK.replace(Mark { inside: true, paced: false }));
        let done = step();
        (done, MARK.get().paced)
    }

    /// Notes that the attempt this runs inside of was held back until it could go.
    pub(crate) fn note_paced() {
        MARK.set(Mark { paced: true, ..MARK.get() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn the_mark_is_taken_back() {
        assert!(!RetryMark::is_set());
        let ((inner, inside), paced) = RetryMark::enter(|| {
            let inner = RetryMark::enter(RetryMark::note_paced);
            (inner, RetryMark::is_set())
        });
        assert_eq!((inner, inside, paced), (((), true), true, false));
        assert!(!RetryMark::is_set());
        assert!(catch_unwind(|| RetryMark::enter(|| panic!("in a step"))).is_err());
        assert!(!RetryMark::is_set());
    }
}
