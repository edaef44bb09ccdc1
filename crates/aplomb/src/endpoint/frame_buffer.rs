//! Frames that are read before the caller asks for them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http_body::Frame;

/// Frames in order, in memory proportional to their bytes.
///
/// The first [`KEPT_APART`] frames are kept as they came; most answers have no more. Of later ones, small frames
/// are copied together: a frame of one byte takes a hundred to store.
#[derive(Default)]
pub(super) struct FrameBuffer {
    /// The data of the first frame: an answer in one frame needs no allocation.
    first: Option<Bytes>,
    others: VecDeque<Frame<Bytes>>,
    /// Small frames, copied together; they come after the others.
    merged: BytesMut,
    /// Bytes of data in all of them.
    bytes: usize,
}

/// The number of frames that are kept as they came.
const KEPT_APART: usize = 16;

/// A frame of at least this size is worth its own place: 4 KiB.
const LARGE: usize = 4 * 1024;

/// Small frames are merged up to this size: 32 KiB.
const MERGED: usize = 32 * 1024;

impl FrameBuffer {
    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        let size = frame.data_ref().map_or(0, Bytes::len);
        self.bytes += size;
        if self.is_empty() {
            match frame.into_data() {
                Ok(data) => self.first = Some(data),
                Err(trailers) => self.others.push_back(trailers),
            }
        } else if self.len() < KEPT_APART && self.merged.is_empty() {
            self.others.push_back(frame);
        } else {
            match frame.into_data() {
                Ok(data) if size < LARGE => {
                    self.merged.extend_from_slice(&data);
                    if self.merged.len() >= MERGED {
                        self.store_merged();
                    }
                }
                Ok(data) => {
                    self.store_merged();
                    self.others.push_back(Frame::data(data));
                }
                Err(other) => {
                    self.store_merged();
                    self.others.push_back(other);
                }
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Frame<Bytes>> {
        let first = self.first.take().map(Frame::data);
        let frame = first.or_else(|| self.others.pop_front()).or_else(|| {
            let merged = std::mem::take(&mut self.merged);
            (!merged.is_empty()).then(|| Frame::data(merged.freeze()))
        })?;
        self.bytes -= frame.data_ref().map_or(0, Bytes::len);
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty() && self.merged.is_empty()
    }

    /// The number of frames as they are stored.
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len() + usize::from(!self.merged.is_empty())
    }

    /// The number of bytes of data.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// All data in order: a copy only where there are several frames.
    pub(super) fn data(&self) -> Bytes {
        let mut pieces = self.first.iter().chain(self.others.iter().filter_map(Frame::data_ref));
        let first = pieces.next().cloned().unwrap_or_default();
        if first.len() == self.bytes {
            return first;
        }
        let mut all = BytesMut::with_capacity(self.bytes);
        all.extend_from_slice(&first);
        pieces.for_each(|piece| all.extend_from_slice(piece));
        all.extend_from_slice(&self.merged);
        all.freeze()
    }

    fn store_merged(&mut self) {
        if !self.merged.is_empty() {
            let merged = self.merged.split().freeze();
            self.others.push_back(Frame::data(merged));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(frames: impl IntoIterator<Item = Bytes>) -> FrameBuffer {
        let mut buffer = FrameBuffer::default();
        frames.into_iter().for_each(|frame| buffer.push(Frame::data(frame)));
        buffer
    }

    #[test]
    fn many_small_frames_take_little_more_than_their_bytes() {
        let buffer = filled((0..100_000).map(|n| Bytes::from(vec![b'x'; n % 3])));
        assert_eq!(buffer.bytes(), 99_999);
        assert!(buffer.len() <= KEPT_APART + 1 + buffer.bytes() / MERGED, "{}", buffer.len());
        assert!(filled((0..100_000).map(|_| Bytes::new())).len() <= KEPT_APART);
    }

    #[test]
    fn the_first_frames_and_large_ones_are_kept_as_they_came() {
        let large = Bytes::from(vec![b'x'; LARGE]);
        let mut buffer = filled((0..20).map(|_| large.clone()));
        assert_eq!(buffer.len(), 20);
        let frame = buffer.pop().unwrap().into_data().unwrap();
        assert_eq!(frame.as_ptr(), large.as_ptr(), "not a copy");
    }

    proptest! {
        #[test]
        fn bytes_and_trailers_come_out_in_order(
            sizes in proptest::collection::vec(prop_oneof![0..3_usize, 4_000..5_000_usize], 0..60),
            trailers in any::<bool>(),
        ) {
            let mut next = 0_u8;
            let mut all = Vec::new();
            let mut buffer = filled(sizes.into_iter().map(|size| {
                next = next.wrapping_add(1);
                all.extend(std::iter::repeat_n(next, size));
                Bytes::from(vec![next; size])
            }));
            if trailers {
                buffer.push(Frame::trailers(http::HeaderMap::new()));
            }
            prop_assert_eq!(&buffer.data()[..], &all[..]);
            prop_assert_eq!(buffer.bytes(), all.len());
            let mut out = Vec::new();
            let mut ended = false;
            while let Some(frame) = buffer.pop() {
                match frame.into_data() {
                    Ok(data) => out.extend_from_slice(&data),
                    Err(_) => ended = true,
                }
            }
            prop_assert!(buffer.is_empty() && buffer.bytes() == 0);
            prop_assert_eq!((out, ended), (all, trailers));
        }
    }
}
