use super::*;
use crate::fault::Cause;
use flate2::Compression;
use flate2::write::GzEncoder;

const FORM: &str = "multipart/form-data; boundary=XX";

fn plan(home: &Path, path: Option<&str>) -> Plan {
    Plan {
        owner: Owner { uid: 0, gid: 0 },
        home: home.to_owned(),
        workdir: None,
        path: path.map(str::to_owned),
        metadata: Metadata::new(),
        expected: None,
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn part(name: &str, content: &str) -> String {
    format!(
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{content}\r\n"
    )
}

#[test]
fn a_packed_file_in_pieces() {
    let home = tempfile::tempdir().unwrap();
    let mut intake = Intake::file(&plan(home.path(), Some("a")), Coding::Gzip).unwrap();
    // Two members, one after the other.
    for piece in [packed(b"one "), packed(b"two")].concat().chunks(3) {
        intake.take(piece).unwrap();
    }
    assert_eq!(intake.finish().unwrap().len(), 1);
    assert_eq!(std::fs::read(home.path().join("a")).unwrap(), b"one two");
}

#[test]
fn broken_packing_leaves_no_file() {
    let home = tempfile::tempdir().unwrap();
    let whole = packed(&[7; 100_000]);
    let mut damaged = whole.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for body in [
        b"plain".as_slice(),
        &whole[..whole.len() - 3],
        &damaged,
        b"",
    ] {
        let mut intake = Intake::file(&plan(home.path(), Some("a")), Coding::Gzip).unwrap();
        let fault = intake
            .take(body)
            .and_then(|()| intake.finish())
            .unwrap_err();
        assert_eq!(fault.cause, Cause::Invalid, "{fault:?}");
        assert!(fault.text.contains("gzip"), "{fault:?}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_form_names_its_files() {
    let home = tempfile::tempdir().unwrap();
    let other = "--XX\r\nContent-Disposition: form-data; name=other\r\n\r\nignored\r\n";
    let body = [&part("a/b", "1"), other, &part("~/c", ""), "--XX--"].concat();
    for coding in [Coding::Identity, Coding::Gzip] {
        let mut intake = Intake::form(plan(home.path(), None), FORM, coding).unwrap();
        let bytes = match coding {
            Coding::Identity => body.clone().into_bytes(),
            Coding::Gzip => packed(body.as_bytes()),
        };
        intake.take(&bytes).unwrap();
        let written = intake.finish().unwrap();
        let names: Vec<&str> = written.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(std::fs::read(home.path().join("a/b")).unwrap(), b"1");
        assert_eq!(std::fs::read(home.path().join("c")).unwrap(), b"");
    }
}

#[test]
fn forms_that_go_wrong_keep_whole_files_only() {
    let home = tempfile::tempdir().unwrap();
    for (body, why) in [
        ([part("a", "1"), part("a", "2")].concat(), "several files"),
        (
            [
                part("b", "1"),
                "--XX\r\nContent-Disposition: form-data; name=file\r\n\r\n".into(),
            ]
            .concat(),
            "no name",
        ),
        (part("~other/x", ""), "another user"),
        (part("n\0l", ""), "NUL"),
        (part("", ""), "is a directory"),
        (
            [
                part("c", "1"),
                part("d", "half").replace("half\r\n", "half"),
            ]
            .concat(),
            "ends in the middle",
        ),
    ] {
        let mut intake = Intake::form(plan(home.path(), None), FORM, Coding::Identity).unwrap();
        let fault = intake
            .take(body.as_bytes())
            .and_then(|()| intake.finish())
            .unwrap_err();
        assert!(fault.text.contains(why), "{why}: {fault:?}");
    }
    let mut names: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(std::fs::read(home.path().join("a")).unwrap(), b"1");
}
