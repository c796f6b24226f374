use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

#[test]
fn a_module_comes_binary_packed_or_as_text() {
    let limits = Limits::default();
    let text = b" ;; nothing\n(module)";
    for bytes in [EMPTY, &packed(EMPTY), text, &packed(text)] {
        assert_eq!(decode(bytes, &limits).unwrap().as_ref(), EMPTY);
    }
}

#[test]
fn text_has_a_bound_of_its_own() {
    let limits = Limits {
        text_bytes: 10,
        ..Limits::default()
    };
    assert!(decode(b"(module  )", &limits).is_ok());
    let refused = decode(b"(module   )", &limits);
    assert_eq!(refused, Err(Refusal::TextTooLarge { limit: 10 }));
}

#[test]
fn what_is_no_module_is_refused() {
    let limits = Limits::default();
    let refused = |bytes: &[u8]| decode(bytes, &limits).unwrap_err();
    assert_eq!(refused(b""), Refusal::NotWasm);
    assert_eq!(refused(b"\x7fELF"), Refusal::NotWasm);
    assert_eq!(refused(b"\0asm"), Refusal::NotWasm);
    assert_eq!(refused(b"\0asm\x02\0\0\0"), Refusal::NotWasm);
    assert_eq!(refused(b"\0asm\x0d\0\x01\0"), Refusal::Component);
    assert_eq!(refused(&packed(&packed(EMPTY))), Refusal::NotWasm);
    assert_eq!(refused(br#"(module binary "\00asm")"#), Refusal::NotWasm);
    assert!(matches!(refused(b"(module"), Refusal::Text(_)));
    let cut = &packed(EMPTY)[..12];
    assert!(matches!(refused(cut), Refusal::Gzip(_)));
}

#[test]
fn a_gzip_bomb_is_cut_off_at_the_limit() {
    let limits = Limits {
        module_bytes: 1000,
        ..Limits::default()
    };
    let too_large = Refusal::ModuleTooLarge { limit: 1000 };
    assert_eq!(decode(&packed(&[0; 1001]), &limits), Err(too_large.clone()));
    assert_eq!(
        decode(&packed(&[0; 5_000_000]), &limits),
        Err(too_large.clone())
    );
    assert_eq!(decode(&[0; 1001], &limits), Err(too_large.clone()));
    // Few characters of text can make a large module.
    let text = br#"(module (memory 1) (data (i32.const 0) "a"))"#;
    assert!(decode(text, &limits).is_ok());
    assert_eq!(decode(&packed(&[0; 1000]), &limits), Err(Refusal::NotWasm));
}
