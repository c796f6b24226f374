use proptest::prelude::*;

use super::fmt;

fn formatted(text: &str) -> String {
    fmt("p", text).unwrap_or_else(|error| panic!("{error}\nin:\n{text}"))
}

#[test]
fn lines_and_comments() {
    let text = "\u{feff}\n\n# a policy  \nversion: 1   # always\r\n\n\n\nnetwork_policies:\n      # the forge\n      forge:\n          \
                endpoints:\n          -   host: x.example\n              port: 443\n          # not this\n          - { host: y.example,\n                \
                port: 80 }\n          binaries:\n            - path: /x\n# end\nrego: |\n      package p\n\n        x := 1\n\n\n";
    let expected = "# a policy\nversion: 1   # always\n\nnetwork_policies:\n  # the forge\n  forge:\n    endpoints:\n      \
                    - host: x.example\n        port: 443\n      # not this\n      - { host: y.example,\n            \
                    port: 80 }\n    binaries:\n      - path: /x\n# end\nrego: |\n  package p\n\n    x := 1\n";
    assert_eq!(formatted(text), expected);
    assert_eq!(formatted(expected), expected);
}

#[test]
fn what_is_not_understood_stays() {
    for text in [
        "? a\n:    b\n",
        "a:\n   !!str\n   b\n",
        "version: 1\nrego: |4\n      x\n",
    ] {
        let read = formatted(text);
        assert_eq!(formatted(&read), read, "{text}");
    }
    assert_eq!(formatted("? a\n:    b\n"), "? a\n:    b\n");
}

#[test]
fn text_that_is_not_yaml_is_refused() {
    let error = fmt("p", "a: [\n").expect_err("refused");
    assert_eq!(error.to_string(), "p:1:4: this `[` is never closed");
    assert!(fmt("p", "a: 1\na: 2\n").is_err());
}

#[test]
fn the_complete_example_keeps_what_its_lines_say() {
    let text = include_str!("../../tests/complete.yaml");
    let once = formatted(text);
    assert_eq!(formatted(&once), once);
    assert_eq!(
        once.lines().map(str::trim).collect::<Vec<_>>(),
        text.lines().map(str::trim).collect::<Vec<_>>()
    );
}

/// YAML as it may stand in a policy, and how it's laid out.
#[derive(Clone, Debug)]
enum Tree {
    Text(&'static str),
    List(Vec<Tree>),
    Map(Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let texts = [
        "x", "443", "'a: b'", "\"# no\"", "[a, b]", "{ a: b }", "\"a\\n\"",
    ];
    let leaf = prop::sample::select(texts.to_vec()).prop_map(Tree::Text);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::List),
            prop::collection::vec(inner, 1..4).prop_map(Tree::Map),
        ]
    })
}

/// How far inner lines are indented, and blanks after a dash; from a list that is gone round.
struct Layout<'w> {
    widths: &'w [usize],
    used: usize,
}

impl Layout<'_> {
    fn width(&mut self) -> usize {
        self.used += 1;
        self.widths[self.used % self.widths.len()]
    }

    /// The lines of a tree, the first of which stands behind something.
    fn lines(&mut self, tree: &Tree) -> Vec<String> {
        match tree {
            Tree::Text(text) => vec![(*text).to_owned()],
            Tree::List(items) => {
                let mut lines = Vec::new();
                for item in items {
                    let blanks = self.width() - 1;
                    let inner = self.lines(item);
                    for (index, line) in inner.iter().enumerate() {
                        let lead = if index == 0 { "-" } else { " " };
                        lines.push(format!("{lead}{}{line}", " ".repeat(blanks)));
                    }
                }
                lines
            }
            Tree::Map(values) => {
                let mut lines = Vec::new();
                for (index, value) in values.iter().enumerate() {
                    if let Tree::Text(text) = value {
                        lines.push(format!("k{index}: {text}"));
                        continue;
                    }
                    lines.push(format!("k{index}:"));
                    // A list may stand right below its key.
                    let width = self.width();
                    let flush = width % 2 == 1 && matches!(value, Tree::List(_));
                    let indent = " ".repeat(if flush { 0 } else { width });
                    let inner = self.lines(value);
                    lines.extend(inner.iter().map(|line| format!("{indent}{line}")));
                }
                lines
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// However a policy is indented, it's formatted alike.
    #[test]
    fn the_layout_of_the_text_is_lost(tree in tree(), widths in prop::collection::vec(2_usize..7, 1..6)) {
        let written = |widths: &[usize]| {
            let root = Tree::Map(vec![tree.clone()]);
            Layout { widths, used: 0 }.lines(&root).join("\n") + "\n"
        };
        let canonical = written(&[2]);
        prop_assert_eq!(&formatted(&written(&widths)), &canonical);
        prop_assert_eq!(&formatted(&canonical), &canonical);
    }
}
