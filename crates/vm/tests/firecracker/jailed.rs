//! Behind the jailer, in whose place is a script that makes of its arguments what the jailer would,
//! but for everything that confines.

use crate::world::{Line, World};
use casemate_vm::driver::{Disk, Kind, Memory, Monitor};
use casemate_vm::firecracker::jailer::Jail;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const JAILER: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do
    case $1 in
        --id) id=$2 ;;
        --exec-file) file=$2 ;;
        --chroot-base-dir) base=$2 ;;
        --uid | --gid | --cgroup-version) ;;
        *) echo "what is $1?" >&2; exit 1 ;;
    esac
    shift 2
done
shift
cd "$base/${file##*/}/$id/root" && exec "$file" --id "$id" "$@"
"#;

#[tokio::test]
async fn a_machines_files_are_below_its_jail() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root makes files for others");
    }
    let mut world = World::fake("");
    let jailer = world.folder.path().join("jailer");
    fs::write(&jailer, JAILER).expect("it is written");
    fs::set_permissions(&jailer, fs::Permissions::from_mode(0o755)).expect("it is ours");
    world.settings.jail = Some(Jail::new(&jailer, "one", 4001, 4002));
    let disk = world.folder.path().join("disk");
    let file = File::create(&disk).expect("a disk");
    file.set_len(1 << 20).expect("it is long");
    let mut machine = world.machine();
    machine.disks.push(Disk::whole(disk.clone(), false));
    let (running, mut line) = world.boot("first", &machine).await;
    let root = world.folder.path().join("first/firecracker-fake/one/root");
    assert!(root.join("api.sock").exists());
    line.ask("write 0 jailed").await;
    assert_eq!(&fs::read(&disk).expect("a disk")[..6], b"jailed");
    assert_eq!(fs::metadata(&disk).expect("a disk").uid(), 4001);
    assert_eq!(fs::metadata(&world.program).expect("it").uid(), 0);
    line.ask("poke 3 9").await;
    let path = |name: &str| world.folder.path().join(name);
    running
        .snapshot(&path("full"))
        .await
        .expect("it is written");
    let mut line = Line::of(&*running).await;
    line.ask("poke 3 0").await;
    line.ask("poke 4 1").await;
    let difference = path("difference");
    running
        .snapshot_as(&difference, Kind::Difference)
        .await
        .expect("it is written");
    drop(running);
    for name in [
        "full/state",
        "full/memory",
        "difference/state",
        "difference/memory",
    ] {
        let metadata = fs::metadata(path(name)).expect("it is there");
        assert_eq!(
            (metadata.uid(), metadata.mode() & 0o777),
            (0, 0o444),
            "{name}"
        );
    }
    let mut others = world;
    others.settings.jail = Some(Jail::new(&jailer, "two", 4003, 4003));
    for (snapshot, pages) in [("full", ["9", "0"]), ("difference", ["0", "1"])] {
        let place = others.place(&format!("of-{snapshot}"));
        let snapshot = others.folder.path().join(snapshot);
        let restored = others
            .firecracker()
            .restore(&snapshot, &place, Memory::Own)
            .await;
        let running = restored.unwrap_or_else(|error| panic!("{error}"));
        running.resume().await.expect("it goes on");
        let mut line = Line::of(&*running).await;
        assert_eq!(line.ask("read 0").await, "jailed");
        assert_eq!([line.ask("peek 3").await, line.ask("peek 4").await], pages);
        let own = place.join("firecracker-fake/two/root/disk0");
        assert_eq!(fs::metadata(own).expect("a disk").uid(), 4003);
    }
}
