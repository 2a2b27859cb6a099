//! Ids of requests: by its id, a request whose answer was lost is known again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::SystemTime;

/// An id that nobody else has, of a command's request.
pub fn new(command: &str) -> String {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    // Seeded by the system's randomness.
    let random = RandomState::new().hash_one(std::process::id());
    format!("{command}-{nanos:x}-{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_requests_have_one_id_and_each_fits() {
        let (one, other) = (new("submit"), new("submit"));
        assert_ne!(one, other);
        assert!(one.len() <= 128, "{one}");
    }
}
