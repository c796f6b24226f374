//! Words of strangers: nothing panics, everything ends, and what is accepted comes back.

use crate::candid::{Argument, DEEPEST, Form, LONGEST_TEXT, Of, argument, reply};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Instant;

const OF: Of<'static> = Of::Method("m");

/// Words that come next to each other in Candid, so that some of it is read far.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "type",
        "A",
        "B",
        "=",
        ";",
        "record",
        "{",
        "}",
        "variant",
        "opt",
        "vec",
        "(",
        ")",
        ",",
        ":",
        "nat",
        "text",
        "service",
        "m",
        "->",
        "func",
        "query",
        "blob",
        "\"x\"",
        "\"\\ff\"",
        "1",
        "4294967295",
        "0X1f",
        "-",
        ".5",
        "null",
        "principal",
        "\"aaaaa-aa\"",
        "/*",
        "*/",
        "// x\n",
        "nat8",
        "_",
        "\"a,b\"",
        "true",
        "empty",
        "reserved",
        "é",
        "1e9999",
        "int",
    ]);
    vec(words, 0..40).prop_map(|words| words.join(" "))
}

/// An interface that is right, with types that are hard.
fn interface() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "nat",
        "int",
        "nat8",
        "text",
        "null",
        "reserved",
        "empty",
        "bool",
        "float32",
        "A",
        "B",
        "C",
        "principal",
        "blob",
        "service {}",
        "func (A) -> (B) query",
        "int64",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    let ty = leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|ty| format!("opt {ty}")),
            inner.clone().prop_map(|ty| format!("vec {ty}")),
            vec(inner.clone(), 0..3).prop_map(|types| format!("record {{ {} }}", types.join("; "))),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("record {{ \"a,b\" : {a}; _ : {b} }}")),
            (inner.clone(), inner)
                .prop_map(|(a, b)| format!("variant {{ \"x,name,unit\" : {a}; y : {b}; z }}")),
        ]
    });
    vec(ty, 5).prop_map(|types| {
        // A type that is only a name would go in a circle.
        let [a, b, c, take, give] = &types[..] else {
            return String::new();
        };
        format!(
            "type A = opt {a}; type B = record {{ b : {b} }}; type C = vec {c};\n\
             service : {{ m : ({take}) -> ({give}, opt {take}) }}"
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_interface_or_refused(text in prop_oneof![".{0,200}", soup()]) {
        let _ = argument(Some(&text), OF, Argument::Candid("(1)"));
        let _ = reply(Some(&text), OF, b"DIDL\0\x01\x7d\x05", Form::Candid);
    }

    #[test]
    fn any_text_is_an_argument_or_refused(
        text in prop_oneof![".{0,200}", soup()],
        interface in interface(),
    ) {
        for known in [None, Some(interface.as_str())] {
            let of = if known.is_some() { OF } else { Of::Init };
            if let Ok(bytes) = argument(known, of, Argument::Candid(&text)) {
                prop_assert!(bytes.starts_with(b"DIDL"));
            }
            let _ = argument(known, of, Argument::Json(&text));
        }
    }

    #[test]
    fn any_bytes_are_a_reply_or_refused(
        bytes in vec(any::<u8>(), 0..120),
        interface in interface(),
    ) {
        let bytes = [b"DIDL", bytes.as_slice()].concat();
        for known in [None, Some(interface.as_str())] {
            for form in [Form::Candid, Form::Json] {
                let _ = reply(known, OF, &bytes, form);
            }
        }
    }

    /// Bytes that have a table of types, so that more of them is read.
    #[test]
    fn tables_of_types_are_a_reply_or_refused(
        table in vec((0x69_u8..0x70, vec((0_u8..4, 0x60_u8..0x82), 0..3)), 0..4),
        types in vec(prop_oneof![0_u8..4, 0x68_u8..0x80], 0..3),
        values in vec(any::<u8>(), 0..60),
        interface in interface(),
    ) {
        let mut bytes = b"DIDL".to_vec();
        bytes.push(table.len() as u8);
        for (kind, fields) in &table {
            bytes.push(*kind);
            if matches!(kind, 0x6d | 0x6e) {
                bytes.push(fields.first().map_or(0x7d, |(index, _)| *index));
                continue;
            }
            bytes.push(fields.len() as u8);
            for (at, (gap, ty)) in fields.iter().enumerate() {
                bytes.push(at as u8 * 4 + gap);
                bytes.push(if *ty >= 0x80 { ty & 1 } else { *ty });
            }
        }
        bytes.push(types.len() as u8);
        bytes.extend(types);
        bytes.extend(values);
        for known in [None, Some(interface.as_str())] {
            for form in [Form::Candid, Form::Json] {
                let _ = reply(known, OF, &bytes, form);
            }
        }
    }

    /// What a reply is printed as can be read back to bytes that are printed the same.
    #[test]
    fn what_is_printed_is_read_back(text in soup()) {
        let Ok(bytes) = argument(None, Of::Init, Argument::Candid(&text)) else { return Ok(()) };
        let shown = reply(None, Of::Init, &bytes, Form::Candid).unwrap();
        let again = argument(None, Of::Init, Argument::Candid(&shown)).unwrap();
        prop_assert_eq!(reply(None, Of::Init, &again, Form::Candid).unwrap(), shown);
    }
}

/// Says how long it took; what takes quadratic time runs into the runner's limit.
fn ends(what: &str, work: impl FnOnce()) {
    let started = Instant::now();
    work();
    println!("{what}: {:?}", started.elapsed());
}

#[test]
fn what_is_deep_or_long_ends() {
    let whole = |unit: &str| unit.repeat(LONGEST_TEXT / unit.len());
    for unit in [
        "opt ",
        "vec {",
        "record {",
        "(",
        "/*",
        "variant{a=",
        "\"",
        "1",
        "-",
        "func ",
        "vec opt ",
    ] {
        ends(unit, || {
            let text = whole(unit);
            assert!(argument(None, OF, Argument::Candid(&text)).is_err());
            assert!(
                argument(
                    Some(&format!("type A = {}", &text[..text.len() - 20])),
                    OF,
                    Argument::Candid("1")
                )
                .is_err()
            );
            let _ = argument(None, OF, Argument::Json(&text));
        });
    }
    ends("many values", || {
        let text = format!("vec {{{}}}", "1;".repeat(LONGEST_TEXT / 16));
        let bytes = argument(None, OF, Argument::Candid(&text)).unwrap();
        assert!(reply(None, OF, &bytes, Form::Candid).unwrap().len() > text.len());
    });
    ends("many names", || {
        let mut text = String::new();
        for n in 0..super::super::MOST_TYPES - 1 {
            text += &format!("type A{n} = A{};", n + 1);
        }
        let last = super::super::MOST_TYPES - 1;
        let text = format!("{text} type A{last} = vec null; service : {{ m : () -> (A0) }}");
        let bytes = argument(Some(&text), OF, Argument::Nothing).unwrap();
        assert_eq!(bytes, b"DIDL\0\0");
        let reply_bytes = [b"DIDL\x01\x6d\x7f\x01\x00".as_slice(), &[0xff, 0xff, 0x07]].concat();
        assert!(
            reply(Some(&text), OF, &reply_bytes, Form::Json)
                .unwrap()
                .len()
                > 500_000
        );
        let too_many = [
            b"DIDL\x01\x6d\x7f\x01\x00".as_slice(),
            &[0xff, 0xff, 0xff, 0xff, 0x7f],
        ]
        .concat();
        assert!(
            reply(Some(&text), OF, &too_many, Form::Json)
                .unwrap_err()
                .why
                .contains("cost")
        );
    });
    ends("a chain of types", || {
        let mut text = String::new();
        for n in 0..3000 {
            text += &format!("type A{n} = record {{ opt A{} }};", n + 1);
        }
        let text = format!("{text} type A3000 = nat; service : {{ m : (A0) -> (A0) }}");
        let bytes = argument(Some(&text), OF, Argument::Candid("(record { null })")).unwrap();
        let shown = reply(Some(&text), OF, &bytes, Form::Candid).unwrap();
        assert_eq!(shown, "(record { null })");
    });
    ends("a number", || {
        let digits = "9".repeat(4500);
        let bytes = argument(None, OF, Argument::Candid(&digits)).unwrap();
        assert!(
            reply(None, OF, &bytes, Form::Json)
                .unwrap()
                .contains(&digits)
        );
        let long = [b"DIDL\0\x01\x7d".as_slice(), &[0xff; 2 << 20], &[1]].concat();
        let refused = reply(None, OF, &long, Form::Candid).unwrap_err();
        assert!(refused.why.contains("bits"), "{refused}");
    });
    ends("a deep reply", || {
        let list = "type List = opt record { List }; service : { m : () -> (List) }";
        let mut bytes = b"DIDL\x02\x6e\x01\x6c\x01\x00\x00\x01\x00".to_vec();
        bytes.extend(vec![1; DEEPEST * 1000]);
        bytes.push(0);
        for known in [None, Some(list)] {
            let refused = reply(known, OF, &bytes, Form::Candid).unwrap_err();
            assert!(
                refused.why.contains("deep") || refused.why.contains("depth"),
                "{refused}"
            );
        }
    });
}

#[test]
fn names_of_a_stranger_are_escaped() {
    let interface = "service : { m : () -> (record { \"\\1b[2J\\u{202e}\" : nat }) }";
    let made = "(record { \"\\1b[2J\\u{202e}\" = 1 : nat })";
    let bytes = argument(None, OF, Argument::Candid(made)).unwrap();
    let shown = reply(Some(interface), OF, &bytes, Form::Candid).unwrap();
    assert_eq!(shown, "(record { \"\\u{1b}[2J\\u{202e}\" = 1 : nat })");
    let wrong = argument(
        Some("service : { m : (record { \"\\1b[2J\" : nat }) -> () }"),
        OF,
        Argument::Candid("(record {})"),
    );
    let said = wrong.unwrap_err().to_string();
    assert!(
        said.contains("\\u{1b}[2J") && !said.contains('\u{1b}'),
        "{said}"
    );
}
