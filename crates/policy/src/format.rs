//! The form in which a policy's text is best read: what `fmt` makes of it.
//!
//! Lines are indented by two spaces a level, blanks at their ends and blank lines beyond one go.
//! Nothing is reordered, requoted or rewrapped, and comments stay; a list or mapping in brackets,
//! and a text of several lines, is moved as a whole. What is written unlike any policy, such as
//! `? key`, is left as it is: rather unformatted than changed.

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use crate::error::PolicyError;
use crate::node::{Node, Value};
use crate::report::{ReadOptions, Report};
use crate::syntax;

/// The policy's text in its canonical form, which means the same. Formatting that changes nothing.
///
/// # Errors
/// Every problem of the text as YAML; whether it makes sense as a policy doesn't matter.
pub fn fmt(name: &str, text: &str) -> Result<String, PolicyError> {
    let mut report = Report::new(name, ReadOptions::default());
    let tree = syntax::read(text, 0, &mut report);
    report.finish()?;
    let formatted = tree.as_ref().and_then(|tree| {
        let formatted = Outline::of(text)?.written();
        let mut report = Report::new(name, ReadOptions::default());
        let again = syntax::read(&formatted, 0, &mut report)?;
        (report.is_empty() && same(tree, &again)).then_some(formatted)
    });
    Ok(formatted.unwrap_or_else(|| text.to_owned()))
}

/// Whether two trees say the same, wherever it stands.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (
            Value::Scalar { text, plain },
            Value::Scalar {
                text: other,
                plain: other_plain,
            },
        ) => text == other && plain == other_plain,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len()
                && pairs.all(|(one, other)| one.0.value == other.0.value && same(&one.1, &other.1))
        }
        _ => false,
    }
}

/// What a line is, as far as its indentation is concerned.
#[derive(Clone, Copy)]
enum Line {
    /// Nothing, or nothing but a comment.
    Bare,
    /// It begins something, and belongs into this column.
    Begins(usize),
    /// It goes on with what began on that other line, counted from 0.
    Continues(usize),
}

/// A list or mapping that isn't complete yet.
struct Open {
    column: usize,
    is_map: bool,
    /// The next node is a mapping's key.
    at_key: bool,
    style: StructureStyle,
    first_line: usize,
}

struct Outline<'t> {
    lines: Vec<&'t str>,
    kinds: Vec<Line>,
    open: Vec<Open>,
    /// How many of the open ones are in brackets.
    in_flow: usize,
}

impl<'t> Outline<'t> {
    /// Nothing if there is a line that isn't understood.
    fn of(text: &'t str) -> Option<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<_> = text.lines().collect();
        let mut outline = Self {
            kinds: vec![Line::Bare; lines.len()],
            lines,
            open: Vec::new(),
            in_flow: 0,
        };
        for step in Parser::new_from_str(text) {
            let (event, span) = step.ok()?;
            let start = (span.start.line().checked_sub(1)?, span.start.col());
            let end = (span.end.line().checked_sub(1)?, span.end.col());
            outline.add(&event, start, end);
        }
        outline.is_complete().then_some(outline)
    }

    fn add(&mut self, event: &Event<'_>, start: (usize, usize), end: (usize, usize)) {
        match event {
            Event::Scalar(_, style, ..) => {
                self.begin(start, None);
                // A block's span ends where the next line begins.
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let last = if block && end.1 == 0 {
                    end.0
                } else {
                    end.0 + 1
                };
                if self.in_flow == 0 {
                    self.go_on(start.0, last);
                }
                self.close_node();
            }
            Event::Alias(_) => {
                self.begin(start, None);
                self.close_node();
            }
            Event::SequenceStart(style, ..) => self.enter(*style, false, start),
            Event::MappingStart(style, ..) => self.enter(*style, true, start),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = self.open.pop() else { return };
                if done.style == StructureStyle::Flow {
                    self.in_flow -= 1;
                    if self.in_flow == 0 {
                        self.go_on(done.first_line, end.0 + 1);
                    }
                }
                self.close_node();
            }
            _ => {}
        }
    }

    fn enter(&mut self, style: StructureStyle, is_map: bool, start: (usize, usize)) {
        let column = self.open.last().map_or(0, |parent| parent.column + 2);
        let block = style == StructureStyle::Block;
        self.begin(start, block.then_some(column));
        self.in_flow += usize::from(!block);
        self.open.push(Open {
            column,
            is_map,
            at_key: is_map,
            style,
            first_line: start.0,
        });
    }

    /// A node begins here; if it's the first on its line, the line's column is known. A list or
    /// mapping without brackets brings its own.
    fn begin(&mut self, (line, column): (usize, usize), own: Option<usize>) {
        let (Some(text), Some(Line::Bare)) = (self.lines.get(line), self.kinds.get(line)) else {
            return;
        };
        let indentation = text.len() - text.trim_start_matches(' ').len();
        let parent = self.open.last();
        let belongs = if self.in_flow > 0 {
            return;
        } else if column == indentation {
            let inner = match parent {
                Some(parent) if parent.is_map && parent.at_key => parent.column,
                Some(parent) => parent.column + 2,
                None => 0,
            };
            own.unwrap_or(inner)
        } else if text[indentation..].starts_with("- ") {
            match parent {
                // The parser lets a list that isn't indented begin behind its first dash.
                Some(parent) if parent.is_map => own.unwrap_or(parent.column),
                Some(parent) => parent.column,
                None => 0,
            }
        } else {
            return;
        };
        self.kinds[line] = Line::Begins(belongs);
    }

    fn go_on(&mut self, first: usize, end: usize) {
        let end = end.min(self.kinds.len());
        for kind in self.kinds.get_mut(first + 1..end).unwrap_or_default() {
            *kind = Line::Continues(first);
        }
    }

    fn close_node(&mut self) {
        if let Some(parent) = self.open.last_mut() {
            parent.at_key = parent.is_map && !parent.at_key;
        }
    }

    /// Whether every line is known to begin something or to go on with it, or is bare indeed.
    fn is_complete(&self) -> bool {
        let mut lines = self.lines.iter().zip(&self.kinds);
        lines.all(|(line, kind)| {
            let text = line.trim();
            let bare = text.is_empty() || text.starts_with('#') || matches!(text, "---" | "...");
            !matches!(kind, Line::Bare) || bare
        })
    }

    fn written(&self) -> String {
        let columns = self.columns();
        let mut out = String::new();
        for (index, line) in self.lines.iter().enumerate() {
            let (text, old) = (line.trim_end(), indentation(line));
            match self.kinds[index] {
                Line::Continues(first) => {
                    if !line.is_empty() {
                        let new =
                            (old + columns[first]).saturating_sub(indentation(self.lines[first]));
                        push(&mut out, new, &line[old..]);
                    } else {
                        out.push('\n');
                    }
                }
                Line::Bare if text.is_empty() => {
                    if !out.is_empty() && !out.ends_with("\n\n") {
                        out.push('\n');
                    }
                }
                _ => {
                    let goes_on = matches!(self.kinds.get(index + 1), Some(Line::Continues(_)));
                    let content = if goes_on {
                        &line[old..]
                    } else {
                        text.trim_start()
                    };
                    push(&mut out, columns[index], &one_blank_after_dashes(content));
                }
            }
        }
        let end = out.trim_end_matches('\n').len();
        out.truncate(end);
        out.push('\n');
        out
    }

    /// Where each line belongs. A comment goes with the line below or above that it's aligned with.
    fn columns(&self) -> Vec<usize> {
        let below = self.neighbours((0..self.lines.len()).rev());
        let above = self.neighbours(0..self.lines.len());
        let column = |index: usize| {
            let (below, above) = (below[index], above[index]);
            let old = indentation(self.lines[index]);
            let aligned = |near: &Option<(usize, usize)>| near.is_some_and(|(was, _)| was == old);
            let near = [below, above].into_iter().find(aligned).unwrap_or(below);
            near.map_or(0, |(_, column)| column)
        };
        (0..self.lines.len()).map(column).collect()
    }

    /// For each line, the last one up to it that begins something: its indentation, and its column.
    fn neighbours(&self, order: impl Iterator<Item = usize>) -> Vec<Option<(usize, usize)>> {
        let mut neighbours = vec![None; self.lines.len()];
        let mut last = None;
        for index in order {
            if let Line::Begins(column) = self.kinds[index] {
                last = Some((indentation(self.lines[index]), column));
            }
            neighbours[index] = last;
        }
        neighbours
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn push(out: &mut String, column: usize, text: &str) {
    out.extend(std::iter::repeat_n(' ', column));
    out.push_str(text);
    out.push('\n');
}

/// `-   x` as `- x`, since what is in the item is moved to that column.
fn one_blank_after_dashes(text: &str) -> String {
    let (mut dashes, mut rest) = (String::new(), text);
    while let Some(after) = rest.strip_prefix("- ") {
        dashes.push_str("- ");
        rest = after.trim_start_matches(' ');
    }
    dashes + rest
}

#[cfg(test)]
mod tests;
