//! Generates the Rust code of `stoke.v1` and the descriptor set that gRPC reflection serves.

use std::path::PathBuf;

const FILES: [&str; 8] = [
    "stoke/v1/access_service.proto",
    "stoke/v1/plan.proto",
    "stoke/v1/job.proto",
    "stoke/v1/job_service.proto",
    "stoke/v1/budget_service.proto",
    "stoke/v1/cache_service.proto",
    "stoke/v1/fleet_service.proto",
    "stoke/v1/worker_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("stoke.bin");
    tonic_prost_build::configure()
        .file_descriptor_set_path(descriptors)
        .bytes(".stoke.v1.Segment")
        .bytes(".stoke.v1.EntryBatch")
        .bytes(".stoke.v1.KeysQuestion")
        .bytes(".stoke.v1.AccessedKey")
        .compile_protos(&FILES, &["."])?;
    Ok(())
}
