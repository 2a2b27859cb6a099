//! A key as it is counted: which pattern found it, and what was written in the places of its names, in one piece of bytes.

/// Writes a key into `packed`.
pub(super) fn pack(rule: usize, values: &[&[u8]], packed: &mut Vec<u8>) {
    packed.clear();
    packed.extend_from_slice(&bounded(rule).to_be_bytes());
    let Some((last, before)) = values.split_last() else {
        return;
    };
    for value in before {
        packed.extend_from_slice(&bounded(value.len()).to_be_bytes());
        packed.extend_from_slice(value);
    }
    packed.extend_from_slice(last);
}

/// The pattern's number, and as many values as were packed.
pub(super) fn unpack(packed: &[u8], values: usize) -> (usize, Vec<&[u8]>) {
    let (rule, mut rest) = number(packed);
    let mut found = Vec::with_capacity(values);
    for _ in 1..values {
        let (length, behind) = number(rest);
        let (value, behind) = behind.split_at(length.min(behind.len()));
        found.push(value);
        rest = behind;
    }
    found.push(rest);
    (rule, found)
}

/// The pattern's number alone.
pub(super) fn rule(packed: &[u8]) -> usize {
    number(packed).0
}

/// No line is as long as this can be.
fn bounded(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn number(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first_chunk() {
        Some((number, rest)) => (u32::from_be_bytes(*number) as usize, rest),
        None => (0, &[]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out(number in 0..64usize, values in prop::collection::vec(any::<Vec<u8>>(), 1..5)) {
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let mut packed = Vec::new();
            pack(number, &values, &mut packed);
            prop_assert_eq!(rule(&packed), number);
            prop_assert_eq!(unpack(&packed, values.len()), (number, values));
        }
    }
}
