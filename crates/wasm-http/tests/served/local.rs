//! The socket for commands.

use crate::stand::{Stand, line, replied};
use casemate_wasm_http::{
    Ask, Fault, Installation, Kind, Listener, Mode, Outcome, Owner as _, Remote, Server,
};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Serves in this folder while `commands` runs on a thread of its own.
fn serving(path: &Path, server: &Server, commands: impl FnOnce() + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = Listener::open(path).unwrap();
        let stop = CancellationToken::new();
        let serving = listener.serve(server, stop.clone());
        let commands = async {
            let done = tokio::task::spawn_blocking(commands).await;
            stop.cancel();
            done.unwrap();
        };
        tokio::join!(serving, commands);
    });
}

#[test]
fn a_command_is_told_what_the_owner_says() {
    let stand = Stand::new();
    stand.fake.method("a/b", |ask| {
        Ok(replied(&[ask.argument.as_slice(), b"!"].concat()))
    });
    stand.fake.method("trap", |_| {
        Ok(Outcome {
            fault: Some(Fault::new(Kind::Trapped, "oh\nhint: look")),
            logs: vec![line("said")],
            ..Outcome::default()
        })
    });
    let folder = tempfile::tempdir().unwrap();
    // Longer than the address of a socket may be.
    let path = folder.path().join("d".repeat(150));
    std::fs::create_dir(&path).unwrap();
    let (at, fake) = (path.clone(), stand.fake.clone());
    serving(&path, &stand.server, move || {
        let remote = Remote::find(&at).unwrap().unwrap();
        let ask = |method: &str, key: Option<&str>| Ask {
            method: method.to_owned(),
            argument: b"abc".to_vec(),
            key: key.map(str::to_owned),
            ..Ask::default()
        };
        assert_eq!(remote.names().unwrap(), ["c"]);
        assert_eq!(
            remote.call("c", ask("a/b", Some("k"))).unwrap(),
            replied(b"abc!")
        );
        assert_eq!(
            remote.query("c", ask("a/b", None)).unwrap(),
            replied(b"abc!")
        );
        {
            let asked = fake.asked.lock().unwrap();
            let first = &asked[0].1;
            // Whoever has the folder is nobody in particular to its canisters, as without a server.
            assert_eq!(
                (first.caller.as_deref(), first.key.as_deref()),
                (None, Some("/k"))
            );
        }
        let trapped = remote.call("c", ask("trap", None)).unwrap();
        assert_eq!(trapped.logs, [line("said")]);
        assert_eq!(
            trapped.fault,
            fake.call("c", ask("trap", None)).unwrap().fault
        );
        fake.method("broken", |_| {
            Err(Fault::new(Kind::Broken, "write /x: no space"))
        });
        let broken = remote.call("c", ask("broken", None)).unwrap_err();
        assert_eq!(broken.message, "write /x: no space");
        let missing = remote.call("d", ask("a", None)).unwrap_err();
        assert_eq!(missing, fake.call("d", ask("a", None)).unwrap_err());
        let how = Installation {
            mode: Mode::Install,
            module: b"module".as_slice().into(),
            argument: b"argument".to_vec(),
            caller: None,
        };
        let made = remote.install("new", how.clone()).unwrap();
        assert_eq!(made.canister.as_deref(), Some("principal-of-new"));
        assert_eq!(fake.names.lock().unwrap()["new"], how);
        let how = Installation {
            mode: Mode::Reinstall,
            ..how
        };
        remote.install("new", how.clone()).unwrap();
        assert_eq!(fake.names.lock().unwrap()["new"], how);
        assert_eq!(remote.status("new").unwrap(), fake.status("new").unwrap());
        assert_eq!(remote.logs("new").unwrap(), fake.logs("new").unwrap());
        assert_eq!(
            remote.interface("new", Some("a/b")).unwrap().as_deref(),
            Some("service : {}")
        );
        remote.stop("new").unwrap();
        remote.start("new").unwrap();
        remote.remove("new").unwrap();
        assert_eq!(remote.remove("new").unwrap_err().kind, Kind::NoCanister);
        assert_eq!(
            remote.interface("untyped", None).unwrap_err().kind,
            Kind::NoCanister
        );
        let candid = remote.inspect(b"a module".as_slice().into()).unwrap();
        assert_eq!(candid.as_deref(), Some("a module"));
        assert_eq!(remote.inspect(Default::default()).unwrap(), None);
        let archive: Vec<u8> = (0..3_000_000_u32).map(|at| (at >> 8) as u8).collect();
        *fake.archive.lock().unwrap() = archive.clone();
        let mut found = Vec::new();
        remote.export("c", &mut found).unwrap();
        assert!(found == archive);
        let missing = remote.export("d", &mut found).unwrap_err();
        assert_eq!(missing.kind, Kind::NoCanister);
        let made = remote.import("e", &mut &archive[..], None).unwrap();
        assert_eq!(made, "principal-of-e");
        assert!(fake.names.lock().unwrap()["e"].module == archive);
        // Whoever is refused is told why, however much there is to send.
        for (name, archive, kind) in [
            ("e", &vec![1; 40 << 20], Kind::Taken),
            ("f", &Vec::new(), Kind::Refused),
        ] {
            let refused = remote.import(name, &mut &archive[..], None).unwrap_err();
            assert_eq!(refused.kind, kind, "{refused}");
        }
        let unread = remote.import("f", &mut Unreadable, None).unwrap_err();
        assert!(unread.message.contains("bad sector"), "{unread}");
        assert!(!fake.names.lock().unwrap().contains_key("f"));
        for from in [None, Some(2), Some(13)] {
            assert_eq!(remote.replay("c", from), fake.replay("c", from));
        }
        remote.tick().unwrap();
        let mode = std::fs::metadata(at.join("socket"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    });
    assert!(!path.join("socket").exists());
    assert!(Remote::find(&path).unwrap().is_none());
}

/// Something that breaks off after its first bytes.
struct Unreadable;

impl std::io::Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("bad sector"))
    }
}

#[test]
fn what_a_dead_server_left_is_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(Remote::find(folder.path()).unwrap().is_none());
    let (stand, path) = (Stand::new(), folder.path().to_owned());
    serving(folder.path(), &stand.server, move || {
        let remote = Remote::find(&path).unwrap().unwrap();
        assert_eq!(remote.names().unwrap(), ["c"]);
    });
    assert!(Remote::find(&folder.path().join("none")).unwrap().is_none());
}

#[test]
fn a_connection_that_says_nothing_holds_nobody_up() {
    let (stand, folder) = (Stand::new(), tempfile::tempdir().unwrap());
    let path = folder.path().to_owned();
    serving(folder.path(), &stand.server, move || {
        let silent: Vec<_> = (0..20)
            .map(|_| UnixStream::connect(path.join("socket")).unwrap())
            .collect();
        let remote = Remote::find(&path).unwrap().unwrap();
        assert_eq!(remote.names().unwrap(), ["c"]);
        drop(silent);
    });
}
