//! Names that may have been meant.

/// Names that are listed at most.
const LISTED: usize = 12;

/// What to say about a name that isn't among these: the one that was probably meant, and some of
/// those that there are. `verb` says who has them: "it exports".
pub(crate) fn hint(name: &str, verb: &str, there: &[&str]) -> String {
    let nearest = there.iter().min_by_key(|known| distance(name, known));
    let meant = nearest.filter(|known| distance(name, known) <= name.chars().count() / 3 + 1);
    let mut listed: Vec<&str> = there.iter().take(LISTED).copied().collect();
    if there.len() > LISTED {
        listed.push("…");
    }
    let listed = format!("{verb} {}", listed.join(", "));
    match meant {
        Some(meant) => format!("did you mean `{meant}`? {listed}"),
        None => listed,
    }
}

/// How many letters are to be put in, taken out or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    // Names come from a module: the work is bounded by the first letters.
    let (from, to): (Vec<char>, Vec<char>) = (
        from.chars().take(64).collect(),
        to.chars().take(64).collect(),
    );
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for at in 0..to.len() {
            let change = diagonal + usize::from(*letter != to[at]);
            diagonal = row[at + 1];
            row[at + 1] = change.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("add", "ad", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(
            hint("ad", "it exports", &["add", "sub"]),
            "did you mean `add`? it exports add, sub"
        );
        assert_eq!(hint("multiply", "it has", &["add"]), "it has add");
    }
}
