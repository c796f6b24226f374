//! Text to [`Node`] tree: YAML, with hard limits and without its surprises.
//!
//! Refused here: anything that isn't one YAML document, duplicate keys, keys that aren't scalars,
//! merge keys, tags, and text built to blow up. Aliases are copied when they're met, and each copy
//! counts against [`MAX_NODES`] but shares its text, so the memory that a file takes is bounded
//! whatever it does.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::load::MAX_FILE_BYTES;
use crate::node::{Entry, Node, Value};
use crate::position::{Located, Position};
use crate::quote::quoted;
use crate::report::Report;
use crate::stop::{Stop, explain, position_of, tab_stop};

/// Values and keys in one policy, each copy made by an alias included.
const MAX_NODES: usize = 100_000;

/// Lists and mappings inside each other, in the text. Aliases can nest deeper, but each level costs
/// a copy of all that is below, so [`MAX_NODES`] ends that at some hundred levels.
pub(crate) const MAX_DEPTH: usize = 32;

/// The tree of `text`, which is file number `file` of the report; nothing if a reported problem
/// leaves no tree to look at.
pub(crate) fn read(text: &str, file: u16, report: &mut Report) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        let size = text.len();
        let message = format!("the policy has {size} bytes; at most {MAX_FILE_BYTES} are allowed");
        report.push(None, message, None);
        return None;
    }
    let tree = Builder::new(text, file, report).document();
    match tree {
        Ok(tree) => tree,
        Err(Stop {
            position,
            message,
            hint,
        }) => {
            report.push(
                Some(position.in_file(file)),
                message,
                hint.map(str::to_owned),
            );
            None
        }
    }
}

type Step<'t> = (Event<'t>, Position);

struct Builder<'t, 'r> {
    lines: Vec<&'t str>,
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    file: u16,
    report: &'r mut Report,
}

impl<'t, 'r> Builder<'t, 'r> {
    fn new(text: &'t str, file: u16, report: &'r mut Report) -> Self {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
            emit_comments: false,
        };
        Self {
            lines: text.lines().collect(),
            parser: Parser::new_from_str_with_options(text, options),
            anchors: HashMap::new(),
            nodes: 0,
            file,
            report,
        }
    }

    /// The one document of the stream; nothing if the stream is empty.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, position) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Stop::new(position, "a second YAML document begins here")
                        .hint("a policy is one document; remove the `---` line"));
                }
                Event::DocumentStart(..) => {
                    let first = self.next()?;
                    root = Some(self.node(first)?);
                }
                _ => return Err(unexpected(position)),
            }
        }
    }

    /// The node that begins with this event.
    fn node(&mut self, (event, position): Step<'t>) -> Result<Node, Stop> {
        self.charge(1, position)?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, position),
            Event::Scalar(text, style, anchor, tag) => {
                let string = self.is_tagged_string(tag.as_deref(), position);
                let plain = style == ScalarStyle::Plain && !string;
                let text = Rc::from(&*text);
                (Value::Scalar { text, plain }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.is_tagged_string(tag.as_deref(), position);
                (self.list()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.is_tagged_string(tag.as_deref(), position);
                (self.map()?, anchor)
            }
            _ => return Err(unexpected(position)),
        };
        let node = Node { position, value };
        if anchor != 0 {
            self.charge(node.size(), position)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                first => items.push(self.node(first)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<Rc<str>, Position> = HashMap::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                first => self.node(first)?,
            };
            if let Some(tab) = self.tab_before(key.position) {
                return Err(tab_stop(tab));
            }
            let first = self.next()?;
            let value = self.node(first)?;
            let Some(key) = self.key(key) else { continue };
            if let Some(earlier) = seen.get(&key.value) {
                self.report.add_with_hint(
                    key.position,
                    format!("duplicate key {}", quoted(&key.value)),
                    format!("the first one is at {earlier}"),
                );
                continue;
            }
            seen.insert(Rc::clone(&key.value), key.position);
            entries.push((key, value));
        }
    }

    /// The key as text, unless it's of a kind that no policy has.
    fn key(&mut self, key: Node) -> Option<Located<Rc<str>>> {
        match key.value {
            Value::Scalar { text, plain: true } if &*text == "<<" => {
                self.report.add_with_hint(
                    key.position,
                    "merge keys (`<<`) are not supported",
                    "write the fields out; an alias for a whole value works",
                );
                None
            }
            Value::Scalar { text, .. } => Some(Located::new(text, key.position)),
            Value::List(_) | Value::Map(_) => {
                self.report.add_with_hint(
                    key.position,
                    format!("a key must be a name, found {}", key.found()),
                    "put quotes around the key if it's meant as text",
                );
                None
            }
        }
    }

    /// A tab, if nothing but blanks stands before this place on its line. The parser lets one pass
    /// before a mapping's first field, though how deep it indents depends on who looks at it.
    fn tab_before(&self, position: Position) -> Option<Position> {
        let line = self.lines.get(position.line.checked_sub(1)?)?.as_bytes();
        let before = line.get(..position.column - 1)?;
        // From the end, so that the fields of one long line don't each look at all of it.
        if !before.iter().rev().all(|byte| matches!(byte, b' ' | b'\t')) {
            return None;
        }
        let column = before.iter().position(|byte| *byte == b'\t')? + 1;
        Some(Position { column, ..position })
    }

    /// What `*name` stands for. The parser knows the name; it's ours only when it's complete.
    fn alias(&mut self, anchor: usize, position: Position) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Stop::new(
                position,
                "this alias is inside the value that it stands for",
            ));
        };
        let size = node.size();
        if self.nodes + size > MAX_NODES {
            return Err(too_large(position));
        }
        self.nodes += size;
        Ok(node.copied_to(position))
    }

    /// Whether the tag makes this a string. Other tags have no meaning in a policy and are reported.
    fn is_tagged_string(&mut self, tag: Option<&Tag>, position: Position) -> bool {
        let Some(tag) = tag else { return false };
        let string = tag.is_yaml_core_schema_tag("str") || tag.original() == "!";
        if !string {
            self.report.add_with_hint(
                position,
                format!(
                    "the tag {} has no meaning in a policy",
                    quoted(&tag.original())
                ),
                "remove the tag and write the value plainly",
            );
        }
        string
    }

    fn charge(&mut self, nodes: usize, position: Position) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(too_large(position));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Step<'t>, Stop> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => {
                Ok((event, position_of(&start).in_file(self.file)))
            }
            Some(Err(error)) => Err(explain(&error, &self.lines)),
            None => Err(Stop::new(
                Position::START,
                "the YAML parser ended too early",
            )),
        }
    }
}

fn too_large(position: Position) -> Stop {
    Stop::new(
        position,
        format!("the policy has more than {MAX_NODES} values, counting those that aliases repeat"),
    )
}

/// Can't happen with a parser that balances its events.
fn unexpected(position: Position) -> Stop {
    Stop::new(position, "not valid YAML: a value was expected here")
}
