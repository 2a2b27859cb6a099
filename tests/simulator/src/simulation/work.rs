//! Work: jobs from their creation to their end, the workers' runs of them, and what is outside.
//!
//! What is decided comes from the shipped types: a job's steps from the coordinator's `Jobs`, what a worker does of it from
//! its `Part`, how checkpoints are written from its `Keeper`. Here are the calls between them, an origin and a cache that
//! know what is true, and W1 to W5 of DESIGN §6.

mod check;
mod checkpoint;
mod go;
mod job;
mod lead;
mod operator;
mod outside;
mod records;
mod run;
mod worker;

pub(super) use go::{Go, Load};
pub(super) use job::{Job, member};
pub(super) use lead::Plannings;
pub(super) use outside::{Cache, PlanStore};
pub(super) use records::Records;
pub(super) use run::Run;
pub(super) use worker::Mine;
