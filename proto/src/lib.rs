//! Stoke's wire contract: the messages and services of `stoke.v1`, generated from `proto/stoke/v1`.
//!
//! The comments are the protos' own. Nothing below the borders of coordinator, worker and command line sees these
//! types: they are parsed once into those of `stoke-core`.

/// The package `stoke.v1`.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("stoke.v1");
}

/// The descriptors of all files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("stoke");

/// The largest gRPC message that either side sends or takes, in bytes: a band's segments are sent in parts below it.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The metadata key in which a coordinator that does not lead names the leader's address.
pub const LEADER_METADATA: &str = "stoke-leader";

/// What the reason of a job begins with that FAILED because planning was tried often enough: what was in its way may pass.
/// Other faults of planning are the job's own, and will be there again.
pub const PLANNING_GIVEN_UP: &str = "planning was given up: ";
