//! In which order values came, in one number.

/// The area under coverage over time, as a part of that of a list in perfect order: the same moments, the k-th of them for the
/// k-th key of the ranking. `moments` (in any unit) and `priorities` are by rank; coverage is looked at until the last moment.
/// Where all came at one moment, every order is as good.
pub(super) fn order(moments: &[u64], priorities: &[u64]) -> f64 {
    let end = moments.iter().max().copied().unwrap_or_default();
    let area = |moments: &[u64]| -> f64 {
        let parts = moments.iter().zip(priorities);
        parts
            .map(|(at, priority)| (end - at) as f64 * *priority as f64)
            .sum()
    };
    let mut perfect = moments.to_vec();
    perfect.sort_unstable();
    let most = area(&perfect);
    if most == 0.0 {
        1.0
    } else {
        area(moments) / most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_order_is_the_measure() {
        assert_eq!(order(&[10, 20, 30], &[9, 5, 1]), 1.0);
        // Two of one batch come at one moment.
        assert_eq!(order(&[10, 10, 30], &[9, 5, 1]), 1.0);
    }

    #[test]
    fn what_comes_late_costs_its_priority_for_so_long() {
        // In order 9 × 20 + 5 × 10 = 230; the first two exchanged, 5 × 20 + 9 × 10 = 190.
        assert_eq!(order(&[20, 10, 30], &[9, 5, 1]), 190.0 / 230.0);
        assert_eq!(order(&[30, 20, 10], &[9, 5, 1]), 70.0 / 230.0);
    }

    #[test]
    fn nothing_and_all_at_once_are_in_order() {
        assert_eq!(order(&[], &[]), 1.0);
        assert_eq!(order(&[7, 7], &[2, 1]), 1.0);
    }
}
