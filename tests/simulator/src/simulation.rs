//! The simulation: the whole control plane over the in-memory store, in one thread and by one seed.
//!
//! Workers and coordinators do what their drivers do (`worker::heart`, `worker::job::run`, `coordinator::lead`): read, let the
//! shipped types decide, commit what those say through the shipped translation into the store's records. Around them is what a cluster can
//! meet: clocks that drift, processes that stop, crash and come back, messages lost, late and repeated, a store that
//! refuses or is slow, leases that end early and late. For a while; then all is healed, and the budget must be in use again.
//!
//! Some seeds have jobs that are planned, handed out, worked on and ended (see `work`), with an application beside them that
//! uses the cache; in the others workers want whatever they can get.
//!
//! After every event B1 to B4 and W1 to W5 are checked in true time, B5 once all has been well for 2·Q, and in the end that all
//! jobs have ended.

mod check;
mod coordinator;
mod fault;
mod fences;
mod machine;
mod network;
mod query;
mod seeds;
mod setup;
mod store;
mod work;
mod worker;
mod world;

pub use fences::{Fence, Whose};
pub use seeds::{Seeds, run, run_without};
pub use world::{Failure, Report, simulate, simulate_without};
