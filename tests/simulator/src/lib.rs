//! The proofs (DESIGN §9): a model check of the budget's protocol, and a seeded simulation of the whole control plane, both of
//! the shipped types.
//!
//! Neither has rules of its own: what is decided comes from `core::ledger`, the coordinator's `Jobs` and the workers' `Part`s,
//! and what is committed is what those say. Here are only the world around them (clocks, messages, crashes, an origin and a
//! cache) and the invariants: B1 to B5 of DESIGN §5, W1 to W5 of DESIGN §6.

pub mod model;
pub mod simulation;
