//! The mark that a retry leaves for the layers inside while it runs an attempt.

use std::cell::Cell;

thread_local! {
    static MARK: Cell<Mark> = const { Cell::new(Mark { inside: false, paced: false }) };
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    inside: bool,
    paced: bool,
}

/// Says, while an attempt is called or polled, that a retry outside will send it again if it fails.
///
/// A retry layer inside sees it and stands down, so that retries do not multiply. In the other
/// direction a gate notes that it holds the attempt back until it can go: such a retry is no burden, and
/// costs no budget.
///
/// The mark lies in the thread, and only for one step at a time: it costs a few instructions, where
/// one in the request's extensions would cost three allocations for every call. Work that is handed
/// to a task of its own does not see it.
#[derive(Clone, Copy, Debug)]
pub struct RetryMark;

impl RetryMark {
    /// Whether this runs inside an attempt that will be retried from outside.
    #[inline]
    pub fn is_set() -> bool {
        MARK.get().inside
    }

    /// Sets the mark, until what is returned is dropped.
    #[inline]
    pub fn set() -> SetMark {
        SetMark { before: MARK.replace(Mark { inside: true, paced: false }) }
    }

    /// Takes the mark away, until what is returned is dropped: for work on behalf of a call that is a call of its
    /// own.
    #[inline]
    pub fn clear() -> SetMark {
        SetMark { before: MARK.replace(Mark { inside: false, paced: false }) }
    }

    /// Notes that the attempt this runs inside of is held back until it can go.
    #[doc(hidden)]
    pub fn note_paced() {
        MARK.set(Mark { paced: true, ..MARK.get() });
    }
}

/// A mark that is set, or was taken away: as it was before when this is dropped, also by a panic.
#[derive(Debug)]
#[must_use]
pub struct SetMark {
    before: Mark,
}

impl SetMark {
    /// Whether a gate has noted, since the mark was set, that it holds the attempt back.
    #[inline]
    pub fn is_paced(&self) -> bool {
        MARK.get().paced
    }
}

impl Drop for SetMark {
    #[inline]
    fn drop(&mut self) {
        MARK.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn the_mark_is_taken_back() {
        assert!(!RetryMark::is_set());
        let outer = RetryMark::set();
        let inner = RetryMark::set();
        RetryMark::note_paced();
        assert!(inner.is_paced());
        drop(inner);
        let cleared = RetryMark::clear();
        assert!(!RetryMark::is_set());
        drop(cleared);
        assert!(RetryMark::is_set() && !outer.is_paced(), "each has its own note");
        drop(outer);
        assert!(!RetryMark::is_set());
        let panicked = catch_unwind(|| {
            let _mark = RetryMark::set();
            panic!("in a step")
        });
        assert!(panicked.is_err() && !RetryMark::is_set());
    }
}
