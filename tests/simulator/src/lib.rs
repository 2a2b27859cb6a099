//! The budget's proofs (DESIGN §9): a model check and a seeded simulation, both of the shipped ledger types.
//!
//! Neither has rules of its own: what is decided comes from `core::ledger`, what is committed from its `LedgerTxn`s. Here
//! are only the world around them (clocks, messages, crashes) and the invariants B1 to B5 of DESIGN §5.

pub mod model;
pub mod simulation;
