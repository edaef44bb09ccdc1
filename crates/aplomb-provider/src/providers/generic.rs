//! Whoever is not known.

use super::provider;
use crate::dialect::Dialect;

provider! {
    /// The dialect for whoever is not known: gateways, self-hosted servers, everyone else.
    ///
    /// It goes by the status, tries the common shapes of error bodies, honours the codes, headers and
    /// words of every known provider and understands every known stream. What it does not understand it
    /// holds against nobody: a stream of an unknown shape that ends is taken as whole, and its events
    /// as content.
    Generic: Dialect {
        name: "generic",
        ..Dialect::ANY
    }
}
