use super::*;
use crate::module::prepare;

fn profile() -> Profile {
    let wat = r#"(module (func $f (export "canister_update a"))
      (func $g (export "canister_query b")))"#;
    prepare(wat.as_bytes(), &Limits::default()).unwrap().profile
}

fn read(profile: &Profile) -> Result<Profile, ProfileError> {
    Profile::read(&profile.write(), &Limits::default())
}

#[test]
fn a_profile_is_read_as_it_was_written() {
    assert_eq!(read(&profile()), Ok(profile()));
}

#[test]
fn what_no_module_has_is_not_believed() {
    let limits = Limits::default();
    type Lie = fn(&mut Profile);
    let lies: [(&str, Lie); 15] = [
        ("methods", |p| p.methods = vec![p.methods[0].clone(); 1001]),
        ("method names", |p| p.methods[0].name = "x".repeat(20_000)),
        ("method twice", |p| p.methods[1].name = "a".to_owned()),
        ("entry points", |p| {
            p.entry_points = vec![EntryPoint::Init; 8]
        }),
        ("heap", |p| p.heap.maximum = 65_537),
        ("heap", |p| p.heap.minimum = 1),
        ("stable", |p| p.stable_maximum += 1),
        ("globals", |p| p.globals = vec![GlobalType::I32; 1001]),
        ("table", |p| {
            p.table = Some(Table {
                is64: false,
                entries: u64::MAX,
            });
        }),
        ("bytes", |p| p.initial_bytes = u64::MAX),
        ("functions", |p| p.functions = u32::MAX),
        ("instructions", |p| p.instructions = u64::MAX),
        ("import", |p| p.imports = vec!["system".to_owned()]),
        ("metadata", |p| {
            p.metadata.push(Metadata {
                name: "a".to_owned(),
                public: true,
                contents: vec![0; 1 << 21],
            });
        }),
        ("names", |p| p.names.reverse()),
    ];
    for (what, lie) in lies {
        let mut profile = profile();
        lie(&mut profile);
        match read(&profile) {
            Err(ProfileError::Impossible(said)) => assert!(said.contains(what), "{said}: {what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    let long = vec![b' '; PROFILE_BYTES + 1];
    let refused = Profile::read(&long, &limits);
    assert_eq!(refused, Err(ProfileError::Impossible("it is too long")));
    let refused = Profile::read(b"{}", &limits);
    assert!(matches!(refused, Err(ProfileError::Unreadable(_))));
}

#[test]
fn names_are_cut_where_a_character_ends() {
    let wat = format!("(module (func ${}))", "x".repeat(511) + "é");
    let text = format!(r#"(module (func (@name "{}")))"#, "x".repeat(511) + "é");
    for (wat, length) in [(wat.replace('é', "y"), 512), (text, 511)] {
        let profile = prepare(wat.as_bytes(), &Limits::default()).unwrap().profile;
        assert_eq!(profile.function_name(4).map(str::len), Some(length));
    }
}
