//! Parsers of the binary, for tests from outside: no promise to anybody else.

pub use crate::config::{Surroundings, read};
pub use crate::job_file::{Upload, take};
