//! Doors for tests, fuzzing and the simulator: to what parses what comes from outside (`tests/parsing`), and to what a
//! leader decides about jobs (`tests/simulator`). Nothing else goes through them.

use stoke_core::job::Spec;
use stoke_proto::v1;
use stoke_store::Snapshot;
use stoke_store::record::RecordError;

pub use crate::lead::{At, Jobs, Known, Planning, Step, tasks};
pub use crate::view::{JobView, View};

/// What a leader makes of the store's records as they stood at one revision: those under [`View::keys`].
///
/// # Errors
/// Where a record that only coordinators write cannot be read: it may be newer than this program.
pub fn view(snapshot: &Snapshot) -> Result<View, RecordError> {
    View::parse(snapshot)
}

/// What a coordinator makes of a job that it is asked for.
///
/// # Errors
/// What it answers.
pub fn job_spec(spec: v1::JobSpec) -> Result<Spec, tonic::Status> {
    crate::service::job_spec(spec)
}
