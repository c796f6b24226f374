//! Documents from tokens (GraphQL §2.2 to §2.12).

use super::document::{Document, MAX_DEPTH, OperationDefinition, Selection};
use super::lexer::{Lexer, Token};
use super::{InvalidGraphql, OperationType};

/// Reads a document of operations and fragments; anything else in it is an error.
pub(super) fn parse(text: &str) -> Result<Document, InvalidGraphql> {
    let mut lexer = Lexer::new(text);
    let token = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        depth: 0,
    };
    let mut document = Document::default();
    while parser.token != Token::End {
        parser.definition(&mut document)?;
    }
    let unnamed = document.operations.iter().any(|one| one.name.is_none());
    if unnamed && document.operations.len() > 1 {
        return Err(InvalidGraphql::new("one of several operations has no name"));
    }
    Ok(document)
}

/// One token ahead of what was read.
struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn definition(&mut self, document: &mut Document) -> Result<(), InvalidGraphql> {
        let kind = match self.token {
            Token::Punctuator(b'{') => {
                document.operations.push(OperationDefinition {
                    kind: OperationType::Query,
                    name: None,
                    selection: self.selection_set()?,
                });
                return Ok(());
            }
            Token::Name("query") => OperationType::Query,
            Token::Name("mutation") => OperationType::Mutation,
            Token::Name("subscription") => OperationType::Subscription,
            Token::Name("fragment") => return self.fragment(document),
            _ => return Err(unexpected("an operation or a fragment")),
        };
        self.advance()?;
        let name = match self.token {
            Token::Name(_) => Some(self.name()?.to_owned()),
            _ => None,
        };
        if name.is_some() && document.operations.iter().any(|one| one.name == name) {
            return Err(InvalidGraphql::new("two operations have the same name"));
        }
        if document.operations.len() == MAX_DEFINITIONS {
            return Err(InvalidGraphql::new("the document has too many operations"));
        }
        self.variables()?;
        self.directives()?;
        document.operations.push(OperationDefinition {
            kind,
            name,
            selection: self.selection_set()?,
        });
        Ok(())
    }

    fn fragment(&mut self, document: &mut Document) -> Result<(), InvalidGraphql> {
        self.advance()?;
        let name = self.name()?;
        if name == "on" {
            return Err(InvalidGraphql::new("a fragment has no name"));
        }
        self.keyword("on")?;
        self.name()?;
        self.directives()?;
        let selection = self.selection_set()?;
        match document.fragments.insert(name.to_owned(), selection) {
            None => Ok(()),
            Some(_) => Err(InvalidGraphql::new("two fragments have the same name")),
        }
    }

    fn selection_set(&mut self) -> Result<Selection, InvalidGraphql> {
        let mut selection = Selection::default();
        self.selections(&mut selection)?;
        Ok(selection)
    }

    /// `{ … }`, whose fields are added to `into`.
    fn selections(&mut self, into: &mut Selection) -> Result<(), InvalidGraphql> {
        self.punctuator(b'{')?;
        self.deeper()?;
        loop {
            match self.token {
                Token::Spread => self.spread(into)?,
                _ => self.field(into)?,
            }
            if self.skip(b'}')? {
                break;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// `alias: name(arguments) @directives { … }`.
    fn field(&mut self, into: &mut Selection) -> Result<(), InvalidGraphql> {
        let mut name = self.name()?;
        if self.skip(b':')? {
            name = self.name()?;
        }
        into.fields.insert(name.to_owned());
        self.arguments()?;
        self.directives()?;
        if self.token == Token::Punctuator(b'{') {
            self.selection_set()?;
        }
        Ok(())
    }

    /// `...Name`, or `... on Type { … }`.
    fn spread(&mut self, into: &mut Selection) -> Result<(), InvalidGraphql> {
        self.advance()?;
        match self.token {
            Token::Name("on") => {
                self.advance()?;
                self.name()?;
            }
            Token::Name(name) => {
                self.advance()?;
                into.spreads.insert(name.to_owned());
                return self.directives();
            }
            _ => {}
        }
        self.directives()?;
        self.selections(into)
    }

    /// `($name: Type = value @directive)`.
    fn variables(&mut self) -> Result<(), InvalidGraphql> {
        if !self.skip(b'(')? {
            return Ok(());
        }
        loop {
            self.punctuator(b'$')?;
            self.name()?;
            self.punctuator(b':')?;
            self.type_reference()?;
            if self.skip(b'=')? {
                self.value()?;
            }
            self.directives()?;
            if self.skip(b')')? {
                return Ok(());
            }
        }
    }

    fn type_reference(&mut self) -> Result<(), InvalidGraphql> {
        if self.skip(b'[')? {
            self.deeper()?;
            self.type_reference()?;
            self.depth -= 1;
            self.punctuator(b']')?;
        } else {
            self.name()?;
        }
        self.skip(b'!')?;
        Ok(())
    }

    fn directives(&mut self) -> Result<(), InvalidGraphql> {
        while self.skip(b'@')? {
            self.name()?;
            self.arguments()?;
        }
        Ok(())
    }

    fn arguments(&mut self) -> Result<(), InvalidGraphql> {
        if !self.skip(b'(')? {
            return Ok(());
        }
        loop {
            self.name()?;
            self.punctuator(b':')?;
            self.value()?;
            if self.skip(b')')? {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<(), InvalidGraphql> {
        match self.token {
            Token::Name(_) | Token::Number | Token::Text => self.advance(),
            Token::Punctuator(b'$') => {
                self.advance()?;
                self.name().map(|_| ())
            }
            Token::Punctuator(b'[') => {
                self.advance()?;
                self.deeper()?;
                while !self.skip(b']')? {
                    self.value()?;
                }
                self.depth -= 1;
                Ok(())
            }
            Token::Punctuator(b'{') => {
                self.advance()?;
                self.deeper()?;
                while !self.skip(b'}')? {
                    self.name()?;
                    self.punctuator(b':')?;
                    self.value()?;
                }
                self.depth -= 1;
                Ok(())
            }
            _ => Err(unexpected("a value")),
        }
    }

    fn deeper(&mut self) -> Result<(), InvalidGraphql> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(InvalidGraphql::new("the document is nested too deeply"));
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), InvalidGraphql> {
        self.token = self.lexer.next()?;
        Ok(())
    }

    fn name(&mut self) -> Result<&'t str, InvalidGraphql> {
        let Token::Name(name) = self.token else {
            return Err(unexpected("a name"));
        };
        self.advance()?;
        Ok(name)
    }

    fn keyword(&mut self, word: &str) -> Result<(), InvalidGraphql> {
        if self.token != Token::Name(word) {
            return Err(unexpected(word));
        }
        self.advance()
    }

    fn punctuator(&mut self, byte: u8) -> Result<(), InvalidGraphql> {
        if self.skip(byte)? {
            return Ok(());
        }
        Err(unexpected(&char::from(byte).to_string()))
    }

    /// Whether it was there; if so, it's read.
    fn skip(&mut self, byte: u8) -> Result<bool, InvalidGraphql> {
        let there = self.token == Token::Punctuator(byte);
        if there {
            self.advance()?;
        }
        Ok(there)
    }
}

/// Keeps the search for equal names from being worth anything to an attacker.
const MAX_DEFINITIONS: usize = 256;

fn unexpected(wanted: &str) -> InvalidGraphql {
    InvalidGraphql(format!("the document lacks {wanted} where one must be"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str, name: Option<&str>) -> Result<Vec<String>, InvalidGraphql> {
        Ok(parse(text)?.select(name)?.fields)
    }

    #[test]
    fn aliases_and_fragments_do_not_hide_fields() {
        assert_eq!(
            fields(
                "query Q($a: [Int!]! = [1, 2] @d, $b: X = {c: {d: E}}) @x(y: $a) {
                   viewer: deleteAll(if: true) @skip(if: $b) { id }
                   ... on Query { b ... { c } }
                   ...F
                 }
                 fragment F on Query @z { d: e ...G } fragment G on Query { f { g } ...F }",
                None
            ),
            Ok(["b", "c", "deleteAll", "e", "f"]
                .map(str::to_owned)
                .to_vec())
        );
    }

    #[test]
    fn the_operation_that_runs_is_judged() {
        let two = "query A { a } mutation B { b }";
        assert_eq!(fields(two, Some("B")), Ok(vec!["b".to_owned()]));
        assert!(fields(two, None).is_err());
        assert!(fields(two, Some("C")).is_err());
        assert!(fields("{ a }", Some("A")).is_err());
        assert!(fields("fragment F on Q { a }", None).is_err());
        let kind = parse("mutation B { b }").and_then(|d| d.select(None));
        assert_eq!(
            kind.map(|o| o.operation_type),
            Ok(Some(OperationType::Mutation))
        );
    }

    #[test]
    fn malformed_documents_are_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{ a",
            "{ a }}",
            "{ a } { b }",
            "{ a } query B { b }",
            "query A { a } query A { b }",
            "query { a(b) }",
            "query { a() }",
            "query () { a }",
            "query ($a) { a }",
            "{ a: }",
            "{ ...F }",
            "{ ... on }",
            "fragment on on Q { a } { b }",
            "fragment F on Q { a } fragment F on Q { b } { ...F }",
            "{ ...F } fragment F on Q { ...F }",
            "type T { a: Int }",
            "schema { query: Q }",
            "extend type T { a: Int }",
            "\"doc\" query { a }",
            "Query { a }",
            "{ a(b: [) }",
            "{ a(b: {c 1}) }",
        ] {
            assert!(fields(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_everywhere() {
        let nested = |open: &str, middle: &str, close: &str, depth: usize| {
            format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
        };
        assert!(parse(&nested("{a", "", "}", 64)).is_ok());
        assert!(parse(&nested("{a", "", "}", 65)).is_err());
        for (open, middle, close) in [("[", "", "]"), ("{a:", "1", "}")] {
            let value = nested(open, middle, close, 100_000);
            assert!(parse(&format!("{{ a(b: {value}) }}")).is_err());
        }
        let kind = nested("[", "Int", "]", 100_000);
        assert!(parse(&format!("query ($a: {kind}) {{ a }}")).is_err());
        assert!(parse(&nested("{...", "", "}", 30_000)).is_err());
        assert!(parse(&format!("{{ {} }}", "a ".repeat(70_000))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn any_tokens_are_read_or_refused(
            words in proptest::collection::vec(
                proptest::sample::select(vec!["{", "}", "(", ")", "[", "]", ":", "$", "@", "...", "on", "query", "fragment", "a", "F", "1", "\"\"", "=", "!"]),
                0..60,
            ),
        ) {
            let _ = fields(&words.join(" "), None);
        }
    }
}
