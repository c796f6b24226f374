use super::{Event, Form, Headers, MOST_PARTS, parameter};
use proptest::prelude::*;

const TYPE: &str = "multipart/form-data; boundary=XX";

/// Reads a form that comes in these pieces: each part's names and bytes.
fn read(pieces: &[&[u8]]) -> Result<Vec<(Headers, Vec<u8>)>, String> {
    let mut form = Form::new(TYPE).unwrap();
    let mut parts = Vec::new();
    let mut open = false;
    for piece in pieces {
        form.push(piece, &mut |event| {
            match event {
                Event::Part(headers) => {
                    assert!(!open);
                    open = true;
                    parts.push((headers, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open);
                    parts.last_mut().unwrap().1.extend_from_slice(data);
                }
                Event::End => {
                    assert!(open);
                    open = false;
                }
            }
            Ok(())
        })
        .map_err(|fault| fault.text)?;
    }
    form.finish().map_err(|fault| fault.text)?;
    assert!(!open);
    Ok(parts)
}

fn names(field: &str, file: &str) -> Headers {
    Headers {
        field: Some(field.to_owned()),
        file: Some(file.to_owned()),
    }
}

#[test]
fn two_files_and_what_surrounds_them() {
    let form = b"ignored\r\n--XX \t\r\nContent-Disposition: form-data; name=\"file\"; \
        filename=\"/a/b\"\r\nContent-Type: text/plain\r\n\r\none\r\n--XY\r\n--X\r\n--XX\r\n\
        content-disposition: form-data; filename=c; name=file\r\n\r\n\r\n--XX--\r\nignored";
    assert_eq!(
        read(&[form]).unwrap(),
        [
            (names("file", "/a/b"), b"one\r\n--XY\r\n--X".to_vec()),
            (names("file", "c"), Vec::new()),
        ]
    );
}

#[test]
fn a_part_needs_no_headers_and_a_form_no_parts() {
    assert_eq!(
        read(&[b"--XX\r\n\r\nx\r\n--XX--"]).unwrap(),
        [(Headers::default(), b"x".to_vec())]
    );
    assert_eq!(read(&[b"--XX--"]).unwrap(), []);
}

#[test]
fn broken_forms_are_refused() {
    let long = vec![b'a'; 20_000];
    let endless = [b"--XX\r\n".as_slice(), &long].concat();
    for (form, why) in [
        (b"".as_slice(), "ends in the middle"),
        (b"--XX\r\n\r\nabc", "ends in the middle"),
        (b"--XX\r\n\r\nabc\r\n--XX", "ends in the middle"),
        (b"--XX\r\nA: b\r\n", "ends in the middle"),
        (b"--XXX\r\n\r\n", "broken boundary"),
        (b"--XX -", "broken boundary"),
        (b"--XX\r\n\xff: a\r\n\r\n", "not in UTF-8"),
        (&endless, "too long headers"),
    ] {
        let error = read(&[form]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"",
        &format!("multipart/form-data; boundary={}", "b".repeat(71)),
    ] {
        assert!(Form::new(content_type).is_err(), "{content_type}");
    }
}

#[test]
fn parts_have_a_bound() {
    let mut form = b"--XX".to_vec();
    for _ in 0..MOST_PARTS {
        form.extend(b"\r\n\r\n\r\n--XX");
    }
    let last = [form.as_slice(), b"--"].concat();
    assert_eq!(read(&[&last]).unwrap().len(), MOST_PARTS);
    form.extend(b"\r\n\r\n");
    assert!(
        read(&[&form])
            .unwrap_err()
            .contains("more than 10000 parts")
    );
}

#[test]
fn names_may_be_quoted() {
    for (value, name) in [
        ("x; a=1; name=b", Some("b")),
        ("x; name=\"a;name=c\"", Some("a;name=c")),
        ("x; NAME=\"a\\\"b\\\\c\\d\"", Some("a\"b\\c\\d")),
        ("x; name=\"open", None),
        ("x; other", None),
        ("name=b", None),
    ] {
        assert_eq!(parameter(value, "name").as_deref(), name, "{value}");
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        bodies in proptest::collection::vec("[\r\n\\-Xa]{0,24}", 0..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        prop_assume!(bodies.iter().all(|body| !format!("\r\n{body}\r").contains("\r\n--XX")));
        let mut form = b"--XX".to_vec();
        for (number, body) in bodies.iter().enumerate() {
            form.extend(format!(
                "\r\nContent-Disposition: form-data; name=file; filename={number}\r\n\r\n{body}\r\n--XX"
            ).bytes());
        }
        form.extend(b"--\r\n");
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(form.len())).collect();
        ends.extend([0, form.len()]);
        ends.sort_unstable();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &form[pair[0]..pair[1]]).collect();
        let read = read(&pieces).unwrap();
        prop_assert_eq!(read.len(), bodies.len());
        for (number, ((headers, data), body)) in read.iter().zip(&bodies).enumerate() {
            let number = number.to_string();
            prop_assert_eq!(headers.file.as_deref(), Some(number.as_str()));
            prop_assert_eq!(data.as_slice(), body.as_bytes());
        }
    }

    #[test]
    fn nothing_panics(pieces in proptest::collection::vec("(--XX|\r\n|[a\r\n\\-:;=\"]{0,9}){0,9}", 0..6)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let _either = read(&pieces);
    }
}
