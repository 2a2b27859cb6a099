//! Answers to `SENTINEL GET-MASTER-ADDR-BY-NAME`.

use stoke_worker::doors;

/// Who is named has a host that can be shown and looked up, and a port that can be listened on.
///
/// # Panics
/// Where that is not so.
pub fn sentinel_master(bytes: &[u8]) {
    let Some(named) = doors::sentinel_master(bytes) else {
        return;
    };
    assert!((1..=255).contains(&named.host().len()));
    let breaks = |char: char| char.is_control() || char.is_whitespace();
    assert!(!named.host().contains(breaks));
    assert!(named.port() > 0);
}
