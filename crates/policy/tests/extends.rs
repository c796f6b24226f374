//! Policies that begin with others.

use std::fs;
use std::path::Path;

use casemate_policy::Document;
use casemate_policy::network::Rego;
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("temporary directory");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("make the folder");
        fs::write(path, text).expect("write the policy");
    }
    folder
}

fn load(folder: &TempDir) -> Document {
    let policy = Document::load(&folder.path().join("p.yaml"));
    policy.unwrap_or_else(|error| panic!("{error}"))
}

/// What is said, without the folder's name.
fn refusal(folder: &Path) -> String {
    let error = Document::load(&folder.join("p.yaml")).expect_err("accepted");
    error
        .to_string()
        .replace(&format!("{}/", folder.display()), "")
}

fn refused(files: &[(&str, &str)]) -> String {
    refusal(folder(files).path())
}

const DENY: &str = "version: 1\nnetwork_policies: {a: {endpoints: [{host: a.example, port: 1, protocol: any}], binaries: [{path: /a}]}, b: {name: base, endpoints: [], binaries: []}}\n";

#[test]
fn fields_are_laid_over_those_of_the_bases() {
    let folder = folder(&[
        (
            "p.yaml",
            "version: 1\nextends: [base.yaml, sub/more.yaml]\nfilesystem_policy: {read_only: [/p]}\n\
             network_policies: {a: {name: mine, endpoints: [], binaries: []}}\n",
        ),
        (
            "base.yaml",
            &format!(
                "{DENY}filesystem_policy: {{read_only: [/base], read_write: [/tmp]}}\nrego: package base\n"
            ),
        ),
        (
            "sub/more.yaml",
            "version: 1\nextends: deep.yaml\nprocess: {run_as_user: 7}\nrego: {file: more.rego}\n",
        ),
        (
            "sub/deep.yaml",
            "version: 1\nprocess: {run_as_user: 8, run_as_group: 9}\nnetwork_policies: {c: {endpoints: [], binaries: []}}\n",
        ),
    ]);
    let policy = load(&folder);
    let read_only: Vec<_> = policy
        .filesystem_policy
        .read_only
        .iter()
        .map(|path| path.value.display().to_string())
        .collect();
    assert_eq!(read_only, ["/p"]);
    let write = &policy.filesystem_policy.read_write[0];
    let name = |file: &str| folder.path().join(file).display().to_string();
    assert_eq!(
        policy.at(write.position),
        format!("{}:3:54", name("base.yaml"))
    );
    let names: Vec<_> = policy
        .network
        .entries
        .iter()
        .map(|entry| &*entry.name)
        .collect();
    assert_eq!(names, ["mine", "base", "c"]);
    assert_eq!(
        policy.file_of(policy.network.entries[0].key.position),
        name("p.yaml")
    );
    assert_eq!(
        policy.at(policy.process.run_as_user.as_ref().expect("given").position),
        format!("{}:3:24", name("sub/more.yaml"))
    );
    assert_eq!(
        policy.at(policy
            .process
            .run_as_group
            .as_ref()
            .expect("given")
            .position),
        format!("{}:2:41", name("sub/deep.yaml"))
    );
    let rego = policy.network.rego.as_ref().map(|rego| rego.value.clone());
    assert_eq!(rego, Some(Rego::File(folder.path().join("sub/more.rego"))));
    assert_eq!(policy.name(), name("p.yaml"));
    let told = policy.told(&policy.warnings()[0]);
    assert!(told.starts_with(&name("p.yaml")), "{told}");
}

#[test]
fn problems_name_their_file() {
    let base = "version: 1\nlandlok: {}\nfilesystem_policy: {read_only: [/a]}\n";
    assert_eq!(
        refused(&[
            (
                "p.yaml",
                "version: 1\nextends: base.yaml\nfilesystem_policy: {read_write: [/a]}\n"
            ),
            ("base.yaml", base),
        ]),
        "p.yaml:3:34: path `/a` is both in `read_only` and in `read_write`\n\
         hint: the other one is at base.yaml:3:33; keep the one that is meant\n\
         base.yaml:2:1: unknown field `landlok`\nhint: did you mean `landlock`?"
    );
    assert_eq!(
        refused(&[
            (
                "p.yaml",
                "version: 1\nextends: base.yaml\nnetwork_policies: {z: {endpoints: [{host: a.example, port: 1, protocol: tcp}]}}\n"
            ),
            ("base.yaml", DENY),
        ]),
        "p.yaml:3:36: `a.example` of `z` and `a.example` of `a` at base.yaml:2:36 overlap on port 1, but differ in `protocol: tcp`\n\
         hint: the same connection can be about both; write the same in both, or hosts that don't overlap"
    );
}

#[test]
fn bases_that_cannot_be_read() {
    for (files, expected) in [
        (
            vec![("p.yaml", "version: 1\nextends: none.yaml\n")],
            "p.yaml:2:10: base `none.yaml`: cannot read the policy file: No such file or directory (os error 2)\n\
             hint: check the name; a relative path starts at the folder of the policy that names it",
        ),
        (
            vec![("p.yaml", "version: 1\nextends: [1, x]\n")],
            "p.yaml:2:11: a path in `extends` must be a string, found the number `1`",
        ),
        (
            vec![("p.yaml", "version: 1\nextends: ''\n")],
            "p.yaml:2:10: path `` in `extends` can't be one",
        ),
        (
            vec![("p.yaml", "version: 1\nextends: sub\n"), ("sub/x", "")],
            "p.yaml:2:10: base `sub`: the policy must be a regular file; this is a directory\n\
             hint: name the file itself; pipes and devices are not read",
        ),
        (
            vec![("p.yaml", "version: 1\nextends: b\n"), ("b", "")],
            "p.yaml:2:10: `b` is empty",
        ),
        (
            vec![("p.yaml", "version: 1\nextends: b\n"), ("b", "[]")],
            "b:1:1: a policy must be a mapping, found a list",
        ),
        (
            vec![("p.yaml", "extends: b\n"), ("b", "landlock: {}\n")],
            "p.yaml:1:1: missing field `version`\nhint: begin the file with `version: 1`\n\
             b:1:1: missing field `version`\nhint: begin the file with `version: 1`",
        ),
        (
            vec![
                ("p.yaml", "version: 1\nextends: b\n"),
                ("b", "version: 1\na: [\n"),
            ],
            "b:2:4: this `[` is never closed",
        ),
        (
            vec![("p.yaml", "version: 1\nextends: ./p.yaml\n")],
            "p.yaml:2:10: `./p.yaml` extends itself, directly or through others",
        ),
        (
            vec![
                ("p.yaml", "version: 1\nextends: b\n"),
                ("b", "version: 1\nextends: [c]\n"),
                ("c", "version: 1\nextends: p.yaml\n"),
            ],
            "c:2:10: `p.yaml` extends itself, directly or through others",
        ),
    ] {
        assert_eq!(refused(&files), expected, "{files:?}");
    }
}

#[test]
fn a_base_in_another_encoding() {
    let folder = folder(&[("p.yaml", "version: 1\nextends: b\n")]);
    fs::write(folder.path().join("b"), b"version: 1\n# caf\xe9\n").expect("write the base");
    assert_eq!(
        refusal(folder.path()),
        "b:2:6: byte 0xe9 is not UTF-8\nhint: save the policy as UTF-8"
    );
}

#[test]
fn how_deep_and_how_many() {
    let chain = |last: usize| {
        let mut files: Vec<_> = (0..last)
            .map(|n| {
                (
                    format!("b{n}"),
                    format!("version: 1\nextends: b{}\n", n + 1),
                )
            })
            .collect();
        files.push((format!("b{last}"), "version: 1\n".to_owned()));
        files.push(("p.yaml".to_owned(), "version: 1\nextends: b0\n".to_owned()));
        files
    };
    let borrowed = |files: &[(String, String)]| {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        folder(&files)
    };
    load(&borrowed(&chain(7)));
    assert_eq!(
        refusal(borrowed(&chain(8)).path()),
        "b7:2:10: `b8` is a base of bases more than 8 deep"
    );

    let many = |count: usize| {
        let names = vec!["b"; count].join(", ");
        let policy = format!("version: 1\nextends: [{names}]\n");
        folder(&[("p.yaml", &policy), ("b", "version: 1\n")])
    };
    load(&many(31));
    assert_eq!(
        refusal(many(32).path()),
        "p.yaml:2:104: `b` is one too many: 32 files are read"
    );
}
