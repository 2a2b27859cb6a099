//! What somebody may have meant who mistyped a name.

/// The one of `known` that is nearest to `typed`, where one is near: at most a third of its characters are wrong, left out,
/// too many, or swapped with a neighbour; one may always be.
pub(super) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = |name: &str| (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(typed, name), name))
        // A name of which nothing is right is not near, however short.
        .filter(|(distance, name)| *distance <= allowed(name) && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// How many characters must be changed, added, removed or swapped with their neighbour ("optimal string alignment").
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_found_and_nothing_else() {
        let known = ["qps", "capacity", "fraction", "in-flight", "burst"];
        for (typed, meant) in [
            ("qsp", Some("qps")),
            ("qp", Some("qps")),
            ("inflight", Some("in-flight")),
            ("in_flight", Some("in-flight")),
            ("capcity", Some("capacity")),
            ("rate", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
