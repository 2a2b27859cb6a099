//! Doors to what parses what comes from outside, for tests and fuzzing (`tests/parsing`). Nothing else goes through them.

use stoke_core::job::Spec;
use stoke_proto::v1;

/// What a coordinator makes of a job that it is asked for.
///
/// # Errors
/// What it answers.
pub fn job_spec(spec: v1::JobSpec) -> Result<Spec, tonic::Status> {
    crate::service::job_spec(spec)
}
