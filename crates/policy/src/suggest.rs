//! What somebody probably meant to write.

/// The candidate that `given` is a misspelling or a shortening of, if there is one.
pub(crate) fn nearest<'c>(given: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let given = folded(given);
    let allowed = (given.chars().count() / 3).clamp(1, 3);
    let by_distance = candidates
        .iter()
        .map(|candidate| (distance(&given, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    by_distance.or_else(|| shortened(&given, candidates))
}

/// `filesystem` for `filesystem_policy`; only if one candidate alone begins like that.
fn shortened<'c>(given: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let mut matches = candidates
        .iter()
        .filter(|candidate| given.len() >= 3 && candidate.starts_with(given));
    let only = matches.next()?;
    matches.next().is_none().then_some(only)
}

/// Without the differences that are matters of habit: case, and the sign between words.
fn folded(name: &str) -> String {
    // No name is nearly as long; the limit keeps a hostile key from costing time.
    let head = name.chars().take(64);
    head.map(|c| {
        if matches!(c, '-' | ' ' | '.') {
            '_'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

/// How many characters to insert, delete, change or swap with their neighbour.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<_>, Vec<_>) = (from.chars().collect(), to.chars().collect());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = usize::from(from[i - 1] != to[j - 1]);
            let mut cost = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                cost = cost.min(before_last[j - 2] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn suggestions() {
        let fields = [
            "read_only",
            "read_write",
            "network_policies",
            "network_middlewares",
        ];
        for (given, meant) in [
            ("readonly", Some("read_only")),
            ("readOnly", Some("read_only")),
            ("read-write", Some("read_write")),
            ("read_wirte", Some("read_write")),
            ("network_pol", Some("network_policies")),
            ("network", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &fields), meant, "{given}");
        }
    }
}
