//! The level of a bucket, and an instant, in few bytes.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::Bucket;
use crate::meter::Meter;

/// Until when a bucket is drawn, and which quota it belongs to. The quotas of a key may be set in another order
/// when it comes back into use, or be others.
#[derive(Clone, Copy)]
pub(super) struct Level {
    // As bytes, so that there is no gap between this and the next.
    drawn_until: [u8; 8],
    mark: u32,
}

impl Level {
    pub(super) fn of(meter: &Meter, bucket: &Bucket) -> Self {
        Self { drawn_until: bucket.drawn_until().to_ne_bytes(), mark: mark(meter) }
    }

    pub(super) fn is_of(&self, meter: &Meter) -> bool {
        self.mark == mark(meter)
    }

    pub(super) const fn drawn_until(&self) -> u64 {
        u64::from_ne_bytes(self.drawn_until)
    }
}

/// A hash of what the quota counts and of its window: FNV-1a, by Fowler, Noll and Vo. Quotas of one key that have
/// the same are told apart by their order.
fn mark(meter: &Meter) -> u32 {
    let quota = meter.quota();
    let window = quota.window().as_nanos().to_le_bytes();
    let bytes = quota.dimension().name().bytes().chain(window);
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// An instant in half the bytes: its distance in nanoseconds from one that is the same for all.
#[derive(Clone, Copy)]
pub(super) struct Since(i64);

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl From<Instant> for Since {
    fn from(at: Instant) -> Self {
        let origin = origin();
        // 292 years of them fit. Clocks that are paused may be behind one that is not.
        let nanos = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
        Self(nanos(at.saturating_duration_since(origin)) - nanos(origin.saturating_duration_since(at)))
    }
}

impl Since {
    pub(super) fn instant(self) -> Instant {
        let distance = Duration::from_nanos(self.0.unsigned_abs());
        if self.0 < 0 {
            origin() - distance
        } else {
            origin() + distance
        }
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Level").field(&self.drawn_until()).finish()
    }
}

impl fmt::Debug for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.instant().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_comes_back_to_the_nanosecond() {
        let origin = origin();
        for nanos in [0, 1, 999_999_999, 1_000_000_001, 63_072_000_000_000_001] {
            let distance = Duration::from_nanos(nanos);
            for at in [origin + distance, origin.checked_sub(distance).unwrap_or(origin)] {
                assert_eq!(Since::from(at).instant(), at);
            }
        }
    }
}
