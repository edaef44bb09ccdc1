//! The services that a call passes.

use aplomb_admission::Admission;
use aplomb_core::Copied;
use aplomb_retry::Retry;

use super::admission::EndpointAdmission;
use super::body::UntilRead;
use super::classifier::EndpointClassifier;
use super::inspect::Inspect;

/// The services that one call passes, from the outermost to the client.
pub(super) type CallStack<S> = Retry<
    Admission<Inspect<S>, EndpointAdmission, EndpointClassifier, UntilRead>,
    Copied,
    EndpointClassifier,
>;
