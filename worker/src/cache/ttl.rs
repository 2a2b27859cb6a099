//! TTL jitter: entries warmed together must not expire together, and a second run must not move them back into step.
//!
//! So the jitter is a function of the key alone. It only ever shortens: a TTL is a promise about staleness.

use std::time::Duration;

/// FNV-1a, 64 bits, with the finalizer of MurmurHash3 behind it: FNV's high bits hardly change with the last bytes of
/// short keys, and those are what is used here. It must stay as it is: another hash shifts every expiry once.
fn hash(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// `ttl`, shortened by up to `permille` thousandths of it (more than 1000 counts as 1000), evenly spread over the keys
/// and always the same for a key. In whole milliseconds; never above `ttl`, except that the least is one.
#[must_use]
pub fn jittered(ttl: Duration, permille: u16, key: &[u8]) -> Duration {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let widest_cut_ms = u128::from(ttl_ms) * u128::from(permille.min(1000)) / 1000;
    // hash / 2⁶⁴ is in [0, 1), so the cut is in [0, widest_cut_ms].
    let cut_ms = (u128::from(hash(key)) * (widest_cut_ms + 1)) >> 64;
    let cut_ms = u64::try_from(cut_ms).unwrap_or(u64::MAX);
    Duration::from_millis(ttl_ms.saturating_sub(cut_ms).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_keeps_its_jitter_from_release_to_release() {
        let hour = Duration::from_secs(3600);
        assert_eq!(
            jittered(hour, 100, b"user:1"),
            Duration::from_millis(3_491_866)
        );
        assert_eq!(
            jittered(hour, 100, b"user:2"),
            Duration::from_millis(3_471_438)
        );
    }

    #[test]
    fn no_jitter_is_no_change() {
        for ttl_ms in [1, 999, 86_400_000] {
            let ttl = Duration::from_millis(ttl_ms);
            assert_eq!(jittered(ttl, 0, b"k"), ttl);
        }
    }

    #[test]
    fn neighbouring_keys_spread_evenly() {
        const KEYS: usize = 100_000;
        const TENTHS: usize = 10;
        let ttl = Duration::from_secs(1000);
        let mut counts = [0_usize; TENTHS];
        for n in 0..KEYS {
            let cut = ttl - jittered(ttl, 200, format!("product:{n}").as_bytes());
            let tenth = usize::try_from(cut.as_millis()).unwrap() * TENTHS / 200_001;
            counts[tenth] += 1;
        }
        // 10,000 are expected in each, with a standard deviation of 95.
        for count in counts {
            assert!(count.abs_diff(KEYS / TENTHS) < 500, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_in_range_and_always_the_same(
            ttl_ms in 1_u64..=u64::MAX,
            permille in 0_u16..=1200,
            key in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let ttl = Duration::from_millis(ttl_ms);
            let jittered_ttl = jittered(ttl, permille, &key);
            let least = u128::from(ttl_ms) * u128::from(1000 - permille.min(1000)) / 1000;
            prop_assert!(jittered_ttl <= ttl);
            prop_assert!(jittered_ttl >= Duration::from_millis(1));
            prop_assert!(jittered_ttl.as_millis() >= least);
            prop_assert_eq!(jittered_ttl, jittered(ttl, permille, &key));
        }
    }
}
