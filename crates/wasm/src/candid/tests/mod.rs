//! What goes in comes out, and whatever is wrong is told.

mod hostile;

use super::{Argument, Fault, Form, Of, argument, reply};

const BANK: &str = r#"
// A bank.
type Account = record { owner : principal; memo : opt blob };
type Money = nat64; /* of /* course */ */
type Alias = Money;
type Result = variant { ok : Alias; "not enough" : record { need : nat; have : int }; closed };
type Tree = variant { leaf; node : record { Tree; Tree } };
type Pay = func (Account, amount : Money) -> (Result);
service bank : (opt Account, reserved) -> {
  pay : Pay;
  get : () -> (nat) query;
  grow : (Tree) -> (Tree, opt opt text);
  numbers : (vec int16, float64, float32, nat8) -> (vec record { text; nat }) composite_query;
  forget : (record { 7 : bool; text }) -> () oneway;
  who : (service { get : () -> (nat) query }, func (nat) -> () query) -> (empty);
};
"#;

fn bytes(method: &str, text: &str) -> Result<Vec<u8>, Fault> {
    argument(Some(BANK), Of::Method(method), Argument::Candid(text))
}

fn from_json(method: &str, text: &str) -> Result<Vec<u8>, Fault> {
    argument(Some(BANK), Of::Method(method), Argument::Json(text))
}

/// A service whose method returns what it takes.
fn echo(types: &str) -> String {
    format!(
        "type List = opt record {{ head : int; tail : List }};\n\
         service : {{ m : ({types}) -> ({types}) }}"
    )
}

#[test]
fn values_come_back_as_text_and_as_json() {
    let cases = [
        ("nat", "1", "(1 : nat)", "1"),
        (
            "nat",
            "1_000_000_000_000_000_000_000",
            "(1_000_000_000_000_000_000_000 : nat)",
            "\"1000000000000000000000\"",
        ),
        ("int", "-0x10", "(-16 : int)", "-16"),
        (
            "nat64",
            "9007199254740992",
            "(9_007_199_254_740_992 : nat64)",
            "\"9007199254740992\"",
        ),
        (
            "int64",
            "-9007199254740991",
            "(-9_007_199_254_740_991 : int64)",
            "-9007199254740991",
        ),
        ("float64", "-.5e1", "(-5.0 : float64)", "-5"),
        ("float32", "2", "(2.0 : float32)", "2"),
        ("text", r#""\"é\u{e9}\n""#, r#"("\"éé\n")"#, r#""\"éé\n""#),
        ("blob", r#"blob "\00a""#, r#"(blob "\00\61")"#, "\"0061\""),
        (
            "vec nat8",
            "vec { 0; 255 }",
            r#"(blob "\00\ff")"#,
            "\"00ff\"",
        ),
        (
            "vec bool",
            "vec { true; false; }",
            "(vec { true; false })",
            "[true,false]",
        ),
        ("opt nat8", "opt 3", "(opt (3 : nat8))", "3"),
        ("opt nat8", "null", "(null)", "null"),
        ("opt opt text", "opt null", "(opt null)", "[null]"),
        (
            "opt opt text",
            "opt opt \"x\"",
            "(opt opt \"x\")",
            "[\"x\"]",
        ),
        (
            "principal",
            "principal \"aaaaa-aa\"",
            "(principal \"aaaaa-aa\")",
            "\"aaaaa-aa\"",
        ),
        (
            "func () -> ()",
            "func \"aaaaa-aa\".m",
            "(func \"aaaaa-aa\".m)",
            "\"aaaaa-aa.m\"",
        ),
        (
            "service {}",
            "service \"aaaaa-aa\"",
            "(service \"aaaaa-aa\")",
            "\"aaaaa-aa\"",
        ),
        (
            "record { b : nat8; a : text }",
            "record { a = \"x\"; b = 1 }",
            "(record { a = \"x\"; b = 1 : nat8 })",
            "{\"a\":\"x\",\"b\":1}",
        ),
        (
            "record { text; bool }",
            "record { \"x\"; true }",
            "(record { \"x\"; true })",
            "[\"x\",true]",
        ),
        (
            "record { 5 : bool; text }",
            "record { 5 = true; \"x\" }",
            "(record { 5 = true; 6 = \"x\" })",
            "{\"5\":true,\"6\":\"x\"}",
        ),
        ("record {}", "record {}", "(record {})", "{}"),
        (
            "variant { a; b : nat8 }",
            "variant { a }",
            "(variant { a })",
            "{\"a\":null}",
        ),
        (
            "variant { a; b : nat8 }",
            "variant { b = 1 }",
            "(variant { b = 1 : nat8 })",
            "{\"b\":1}",
        ),
        (
            "variant { \"a,b\" : nat8 }",
            "variant { \"a,b\" = 1 }",
            "(variant { \"a,b\" = 1 : nat8 })",
            "{\"a,b\":1}",
        ),
        (
            "record { _ : nat8; vec : null }",
            "record { _ = 1; \"vec\" = null }",
            "(record { _ = 1 : nat8; \"vec\" = null : null })",
            "{\"_\":1,\"vec\":null}",
        ),
        (
            "List",
            "opt record { head = 1; tail = opt record { head = 2 } }",
            "(\n  opt record {\n    head = 1 : int;\n    tail = opt record { head = 2 : int; tail = null };\n  },\n)",
            "{\"head\":1,\"tail\":{\"head\":2,\"tail\":null}}",
        ),
        ("nat, text", "(1, \"x\")", "(1 : nat, \"x\")", "[1,\"x\"]"),
        ("", "()", "()", "[]"),
    ];
    let mut wrong = Vec::new();
    for (types, text, candid, json) in cases {
        let (interface, of) = (echo(types), Of::Method("m"));
        let interface = Some(interface.as_str());
        let bytes = argument(interface, of, Argument::Candid(text)).unwrap();
        let shown = |form| reply(interface, of, &bytes, form).unwrap();
        // What is printed can be read again.
        let list = match types {
            "nat, text" | "" => json.to_owned(),
            _ => format!("[{json}]"),
        };
        let again = [
            argument(interface, of, Argument::Candid(candid)),
            argument(interface, of, Argument::Json(&list)),
        ];
        let expected = (
            candid.to_owned(),
            json.to_owned(),
            [Ok(bytes.clone()), Ok(bytes.clone())],
        );
        let is = (shown(Form::Candid), shown(Form::Json), again);
        if is != expected {
            wrong.push((types, is, expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn long_values_are_broken_into_lines() {
    let interface = echo("vec record { name : text; values : vec nat32 }");
    let text = format!(
        "vec {{ record {{ name = \"a\"; values = vec {{ {} }} }}; record {{ name = \"b\"; values = vec {{}} }} }}",
        "1000000; ".repeat(4)
    );
    let bytes = argument(Some(&interface), Of::Method("m"), Argument::Candid(&text)).unwrap();
    let shown = reply(Some(&interface), Of::Method("m"), &bytes, Form::Candid).unwrap();
    let expected = "\
(
  vec {
    record {
      name = \"a\";
      values = vec {
        1_000_000 : nat32;
        1_000_000 : nat32;
        1_000_000 : nat32;
        1_000_000 : nat32;
      };
    };
    record { name = \"b\"; values = vec {} };
  },
)";
    assert_eq!(shown, expected);
    let again = argument(Some(&interface), Of::Method("m"), Argument::Candid(&shown)).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn the_bytes_are_those_that_the_crate_makes() {
    use candid::Encode;
    let owner = candid::Principal::anonymous();
    #[derive(candid::CandidType)]
    struct Account {
        owner: candid::Principal,
        memo: Option<Vec<u8>>,
    }
    let expected = Encode!(&Account { owner, memo: None }, &7_u64).unwrap();
    let text = format!("(record {{ owner = principal \"{owner}\" }}, 7)");
    let back = |bytes: &[u8]| {
        candid::decode_args::<(Account2, u64)>(bytes)
            .map(|(account, n)| (account.owner, account.memo, n))
    };
    #[derive(candid::Deserialize, candid::CandidType)]
    struct Account2 {
        owner: candid::Principal,
        memo: Option<Vec<u8>>,
    }
    assert_eq!(
        back(&bytes("pay", &text).unwrap()).unwrap(),
        (owner, None, 7)
    );
    assert_eq!(back(&expected).unwrap(), (owner, None, 7));
    assert_eq!(bytes("get", "()").unwrap(), Encode!().unwrap());
    assert_eq!(
        argument(None, Of::Method("x"), Argument::Candid("(true, \"x\")")).unwrap(),
        Encode!(&true, &"x").unwrap()
    );
}

#[test]
fn without_an_interface_a_value_is_what_it_looks_like() {
    let of = Of::Method("m");
    let shown = |given| {
        let bytes = argument(None, of, given).unwrap();
        (
            bytes.starts_with(b"DIDL"),
            reply(None, of, &bytes, Form::Candid).unwrap(),
        )
    };
    let cases = [
        (
            Argument::Candid("(1, 1 : nat, -2.5, null)"),
            "(1 : int, 1 : nat, -2.5 : float64, null : null)",
        ),
        (
            Argument::Candid("vec { 1; 2 }"),
            "(vec { 1 : int; 2 : int })",
        ),
        (
            Argument::Candid("vec { 1 : nat8; 2 }"),
            "(blob \"\\01\\02\")",
        ),
        (
            Argument::Candid("record { a = 1 }"),
            "(record { 97 = 1 : int })",
        ),
        (
            Argument::Json("[1, \"x\", [true], {\"a\": 2.5}]"),
            "(1 : int, \"x\", vec { true }, record { 97 = 2.5 : float64 })",
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(shown(given), (true, expected.to_owned()));
    }
    assert_eq!(argument(None, of, Argument::Nothing), Ok(Vec::new()));
}

#[test]
fn an_argument_is_made_of_what_a_method_takes() {
    let empty = b"DIDL\0\0".to_vec();
    let of = Of::Method("get");
    assert_eq!(argument(Some(BANK), of, Argument::Nothing), Ok(empty));
    let init = argument(Some(BANK), Of::Init, Argument::Nothing).unwrap();
    assert_eq!(
        reply(Some(BANK), Of::Init, &init, Form::Json).unwrap(),
        "[null,null]"
    );
    // A note may say what is known.
    let noted = bytes(
        "pay",
        "(record { owner = principal \"aaaaa-aa\" : principal }, 1 : nat64)",
    );
    assert_eq!(
        noted,
        bytes("pay", "(record { owner = principal \"aaaaa-aa\" }, (1))")
    );
    // A method that the interface doesn't know.
    assert!(bytes("other", "(1)").is_ok());
}

#[test]
fn a_wrong_argument_says_where_and_what() {
    let mut wrong = Vec::new();
    let cases = [
        ("get", "(1)", "it takes no arguments, and 1 is given"),
        (
            "pay",
            "(1)",
            "it takes 2 arguments, (Account, Money), and 1 is given",
        ),
        (
            "pay",
            "(record { owner = principal \"aaaaa-aa\" }, \"x\")",
            "character 43: expected nat64, found a text",
        ),
        (
            "pay",
            "(record { owner = \"aaaaa-aa\" }, 1)",
            "character 19: expected principal, found a text\nhint: principal \"aaaaa-aa\"",
        ),
        (
            "pay",
            "(record { }, 1)",
            "character 2: the field owner is missing\nhint: it is a principal",
        ),
        (
            "pay",
            "(record { owner = principal \"aaaaa-aa\"; memmo = null }, 1)",
            "there is no field memmo\nhint: its fields are owner; memo",
        ),
        (
            "pay",
            "(record { owner = principal \"aaaaa-ab\" }, 1)",
            "character 29: \"aaaaa-ab\" would be written",
        ),
        (
            "pay",
            "(record { owner = principal \"aaaaa-aa\"; memo = blob \"\" }, 1)",
            "expected opt blob, found a blob\nhint: opt stands",
        ),
        (
            "numbers",
            "(vec { 1; 2; 40000 }, 1, 1, 1)",
            "character 14: expected int16, found the number 40000",
        ),
        (
            "numbers",
            "(vec {}, 1, 1, -1)",
            "expected nat8, found the number -1",
        ),
        (
            "numbers",
            "(vec {}, 1, 1, 1 : nat16)",
            "expected nat8, found nat16\nhint: leave the type out",
        ),
        (
            "grow",
            "(variant { laef })",
            "there is no tag laef\nhint: its tags are leaf; node",
        ),
        ("grow", "(variant { node })", "the tag node has a value"),
        (
            "grow",
            "(variant { leaf }",
            "character 18: expected \",\" or \")\", found the end",
        ),
        (
            "grow",
            "1, 2",
            "character 2: expected the end, found \",\"\nhint: several arguments",
        ),
        (
            "forget",
            "(record { 7 = true; x })",
            "expected a value, found \"x\"\nhint: a text stands",
        ),
        (
            "forget",
            "(record { 7 = true; 7 = false })",
            "the field 7 is there twice",
        ),
        (
            "get",
            "(\n  \"a\n)",
            "line 2, character 3: this text doesn't end",
        ),
        ("get", "(\"\\q\")", "character 3: there is no such escape"),
        ("get", "(1 : Money)", "there is no type \"Money\""),
        ("get", "(0x)", "expected 1 to 32 digits after 0x"),
        ("get", "(12a)", "a number goes on with a letter"),
        ("get", "(#)", "there is no \"#\" in Candid"),
    ];
    for (method, text, said) in cases {
        let fault = bytes(method, text).unwrap_err().to_string();
        wrong.extend((!fault.contains(said)).then_some((text, fault, said)));
    }
    let cases = [
        ("get", "{", "it is no JSON: EOF"),
        (
            "pay",
            "[{\"owner\": 1}, 1]",
            "[0].owner: expected principal, found a number",
        ),
        (
            "pay",
            "[{\"owner\": \"aaaaa-aa\", \"memo\": \"xx\"}, 1]",
            "[0].memo: expected blob, found a string\nhint: a list; or hex",
        ),
        (
            "grow",
            "{\"node\": [{\"leaf\": null}, {\"laef\": null}]}",
            "[0].node.1: there is no tag \"laef\"",
        ),
        (
            "numbers",
            "[[1, 1.5], 0, 0, 0]",
            "[0][1]: expected int16, found a number",
        ),
        ("pay", "[{\"x\": 1}, 2]", "the field owner is missing"),
    ];
    for (method, text, said) in cases {
        let fault = from_json(method, text).unwrap_err().to_string();
        wrong.extend((!fault.contains(said)).then_some((text, fault, said)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_reply_that_is_none_says_why() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "doesn't begin with DIDL"),
        (b"hello", "doesn't begin with DIDL"),
        (b"DIDL\x00\x01\x71\x02x", "Fail"),
        (b"DIDL\x00\x01\x7d\x01trailing", "Trailing"),
    ];
    for (bytes, said) in cases {
        let fault = reply(Some(BANK), Of::Method("get"), bytes, Form::Candid).unwrap_err();
        assert!(fault.why.contains(said), "{bytes:?}: {fault}");
        assert!(fault.hint.unwrap().contains("--output hex"));
    }
}

#[test]
fn a_broken_interface_is_told_and_replies_are_read_without_it() {
    let cases = [
        (
            "type A = B; type B = A; service : {}",
            "only another name of itself",
        ),
        (
            "service : { m : (A) -> () }",
            "character 18: there is no type \"A\"",
        ),
        (
            "type A = nat; type A = int",
            "the type \"A\" is there twice",
        ),
        (
            "type A = record { a : nat; a : int }",
            "the field a is there twice",
        ),
        ("import \"x.did\"; service : {}", "it imports another file"),
        ("type A = nat; service : A", "its service isn't one"),
        (
            "type A = record { 4294967295 : nat; nat }",
            "no number is left",
        ),
        ("type A = record { 4294967296 : nat }", "below 4294967296"),
        (
            "service : { m : () -> () } x",
            "expected a type or a service",
        ),
    ];
    for (interface, said) in cases {
        let fault =
            argument(Some(interface), Of::Method("m"), Argument::Candid("(1)")).unwrap_err();
        assert!(fault.to_string().contains(said), "{interface}: {fault}");
        assert!(fault.hint.unwrap().contains("--arg-hex"));
        let read = reply(
            Some(interface),
            Of::Method("m"),
            b"DIDL\0\x01\x7d\x05",
            Form::Candid,
        );
        assert_eq!(read.unwrap(), "(5 : nat)");
    }
}
