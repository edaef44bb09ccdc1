//! Frames that were read before their time.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body::Frame;

/// Frames in order. Most answers come in one, for which there is room without an allocation.
#[derive(Default)]
pub(super) struct Kept {
    first: Option<Frame<Bytes>>,
    others: VecDeque<Frame<Bytes>>,
}

impl Kept {
    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        if self.is_empty() {
            self.first = Some(frame);
        } else {
            self.others.push_back(frame);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Frame<Bytes>> {
        self.first.take().or_else(|| self.others.pop_front())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// The data of the frames, in order.
    pub(super) fn data(&self) -> impl Iterator<Item = &Bytes> {
        self.first.iter().chain(&self.others).filter_map(Frame::data_ref)
    }
}
