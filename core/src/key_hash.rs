//! The hash by which keys are chosen: the same one everywhere, so that what is chosen once is chosen again.

/// FNV-1a, 64 bits, with the finalizer of MurmurHash3 behind it, so that low hashes are evenly spread over keys that differ in their last
/// digits only.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}
