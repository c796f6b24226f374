//! A machine as QEMU's command line.
//!
//! A restored machine's is the same as the one that its snapshot was taken of, but for where its
//! memory is and that it waits for its state: the devices have to be the same for the state to fit.

use super::{AGENT, PORT, QMP, clock};
use crate::driver::{Accelerator, Board, Disk, Machine, Rate, Rates};
use casemate_core::error::{Error, Result};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a machine begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its kernel, and memory that others may see: so a snapshot need not write it.
    Kernel,
    /// A state that comes later, and memory of its own.
    Own,
    /// A state that comes later, and memory that it doesn't change.
    Lent,
}

#[derive(Debug)]
pub(super) struct Arguments<'a> {
    pub(super) machine: &'a Machine,
    pub(super) memory: PathBuf,
    pub(super) origin: Origin,
}

impl Arguments<'_> {
    /// QEMU's arguments.
    pub(super) fn list(&self) -> Result<Vec<OsString>> {
        self.check()?;
        let mut list: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| list.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
        add(&["-S", "-sandbox", SANDBOX]);
        add(&["-machine", self.board(), "-accel", self.accelerator().0]);
        add(&["-cpu", self.accelerator().1]);
        add(&["-smp", &self.machine.vcpus.to_string()]);
        add(&["-m", &format!("size={}M", self.machine.memory)]);
        add(&["-object", &self.backend()?.to_string()]);
        add(&["-kernel", text(&self.machine.kernel)?]);
        add(&["-initrd", text(&self.machine.initramfs)?]);
        add(&["-append", &self.command_line()?]);
        let limits = limits(self.machine.disk_rates)?;
        if let Some(limits) = &limits {
            let group = json!({ "qom-type": "throttle-group", "id": DISKS, "limits": limits });
            add(&["-object", &group.to_string()]);
        }
        for (number, disk) in self.machine.disks.iter().enumerate() {
            let node = format!("disk{number}");
            let mut block = image(disk)?;
            if limits.is_some() {
                block["read-only"] = disk.read_only.into();
                block = json!({ "driver": "throttle", "throttle-group": DISKS, "file": block });
            }
            block["node-name"] = node.as_str().into();
            block["read-only"] = disk.read_only.into();
            add(&["-blockdev", &block.to_string()]);
            // By default a machine whose disk is full is stopped, and nobody hears of it.
            let told = json!({ "drive": node, "werror": "report", "rerror": "report" });
            let device = self.device("virtio-blk", &told);
            add(&["-device", &device]);
        }
        add(&["-chardev", "stdio,id=console,signal=off"]);
        add(&["-serial", "chardev:console"]);
        let socket = |id: &str, path| format!("socket,id={id},path={path},server=on,wait=off");
        add(&["-chardev", &socket("qmp", QMP)]);
        add(&["-mon", "chardev=qmp,mode=control"]);
        add(&["-chardev", &socket("agent", AGENT)]);
        add(&["-device", &self.device("virtio-serial", &json!({}))]);
        let port = json!({ "driver": "virtserialport", "chardev": "agent", "name": PORT });
        add(&["-device", &port.to_string()]);
        add(&["-object", "rng-builtin,id=rng"]);
        add(&[
            "-device",
            &self.device("virtio-rng", &json!({ "rng": "rng" })),
        ]);
        let balloon = json!({ "free-page-reporting": true, "deflate-on-oom": true });
        add(&["-device", &self.device("virtio-balloon", &balloon)]);
        if self.machine.network {
            add(&["-netdev", "user,id=net,ipv6=off"]);
            let mut card = json!({ "netdev": "net", "mac": MAC });
            if self.machine.board == Board::Pci {
                // Nothing is to be booted from it.
                card["romfile"] = json!("");
            }
            add(&["-device", &self.device("virtio-net", &card)]);
        }
        if self.machine.board == Board::Pci {
            add(&["-device", "pvpanic"]);
            // Another one each time that QEMU starts: by it the guest's kernel sees that it was
            // restored, and makes its randomness anew.
            add(&["-device", "vmgenid,guid=auto"]);
        }
        if self.origin != Origin::Kernel {
            add(&["-incoming", "defer"]);
        }
        Ok(list)
    }

    fn check(&self) -> Result<()> {
        let Machine { vcpus, memory, .. } = *self.machine;
        if !(1..=64).contains(&vcpus) {
            let why = format!("{vcpus} is not between 1 and 64");
            return Err(Error::rule("give a machine its processors", why));
        }
        if !(32..=1 << 20).contains(&memory) {
            let why = format!("{memory} MiB is not between 32 MiB and 1 TiB");
            return Err(Error::rule("give a machine its memory", why));
        }
        Ok(())
    }

    fn board(&self) -> &'static str {
        match self.machine.board {
            Board::Pci => "q35,memory-backend=m0,smm=off,vmport=off",
            Board::Micro => "microvm,memory-backend=m0,rtc=on,acpi=on",
        }
    }

    /// It, and which processor it shows.
    fn accelerator(&self) -> (&'static str, &'static str) {
        match self.machine.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Tcg => ("tcg", "max"),
        }
    }

    fn backend(&self) -> Result<Value> {
        Ok(json!({
            "qom-type": "memory-backend-file",
            "id": "m0",
            "size": u64::from(self.machine.memory) << 20,
            "mem-path": text(&self.memory)?,
            "share": self.origin != Origin::Lent,
        }))
    }

    /// A device on whichever bus the board has.
    fn device(&self, kind: &str, properties: &Value) -> String {
        let bus = match self.machine.board {
            Board::Pci => "pci",
            Board::Micro => "device",
        };
        let mut device = properties.clone();
        device["driver"] = format!("{kind}-{bus}").into();
        device.to_string()
    }

    /// A kernel that panics ends its machine at once: `-no-reboot` makes an end of the restart.
    fn command_line(&self) -> Result<String> {
        let board = match self.machine.board {
            Board::Pci => String::new(),
            Board::Micro => clock::words()? + " ",
        };
        let own = &self.machine.command_line;
        Ok(format!("console=ttyS0 panic=-1 {board}{own}"))
    }
}

/// Of every machine's card: none of them sees another's.
const MAC: &str = "02:00:00:00:00:01";

/// The group whose rates all disks share.
const DISKS: &str = "disks";

/// As QEMU wants them; `None` if there are none.
fn limits(rates: Rates) -> Result<Option<Value>> {
    let mut limits = json!({});
    for (name, rate) in [("bps", rates.bytes), ("iops", rates.operations)] {
        let Some(Rate { sustained, burst }) = rate else {
            continue;
        };
        // Beyond that, QEMU refuses.
        if sustained == 0 || burst < sustained || burst > 1_000_000_000_000 {
            let why = format!("{sustained} a second and {burst} at once are no rate");
            return Err(Error::rule("bound what a machine's disks do", why));
        }
        limits[format!("{name}-total")] = sustained.into();
        limits[format!("{name}-total-max")] = burst.into();
    }
    Ok(limits
        .as_object()
        .is_some_and(|limits| !limits.is_empty())
        .then_some(limits))
}

/// QEMU's own filter of system calls: it needs to start no program and to become nobody else.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// A disk's file, and what it is laid over.
fn image(disk: &Disk) -> Result<Value> {
    let file = |path: &Path| Ok(json!({ "driver": "file", "filename": text(path)? }));
    let mut below: Option<Value> = None;
    for layer in &disk.layers {
        let mut block = match below {
            None => json!({ "driver": "raw", "file": file(layer)? }),
            Some(below) => json!({ "driver": "qcow2", "file": file(layer)?, "backing": below }),
        };
        block["read-only"] = true.into();
        below = Some(block);
    }
    Ok(match below {
        None => json!({ "driver": "raw", "file": file(&disk.path)? }),
        Some(below) => json!({ "driver": "qcow2", "file": file(&disk.path)?, "backing": below }),
    })
}

fn text(path: &Path) -> Result<&str> {
    let why = match path.to_str() {
        Some(text) if path.is_absolute() => return Ok(text),
        Some(_) => "it isn't a whole path",
        None => "its name isn't UTF-8",
    };
    Err(Error::rule("name a file to QEMU", why).on(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Disk;

    fn machine() -> Machine {
        Machine {
            vcpus: 2,
            memory: 256,
            kernel: "/k,ernel".into(),
            initramfs: "/initramfs".into(),
            command_line: "quiet".to_owned(),
            disks: vec![Disk::whole("/a,b\"c".into(), true)],
            accelerator: Accelerator::Tcg,
            board: Board::Pci,
            network: false,
            disk_rates: Rates::default(),
        }
    }

    fn line(machine: &Machine, origin: Origin) -> Result<Vec<String>> {
        let memory = PathBuf::from("/m,emory");
        let arguments = Arguments {
            machine,
            memory,
            origin,
        };
        let list = arguments.list()?;
        Ok(list
            .into_iter()
            .map(|word| word.into_string().expect("it is text"))
            .collect())
    }

    #[test]
    fn names_are_no_options() {
        let line = line(&machine(), Origin::Kernel).expect("it is right");
        let file = |word: &&String| word.contains(r#""filename":"/a,b\"c""#);
        assert!(line.iter().any(|word| file(&word)), "{line:?}");
        assert!(line.iter().any(|word| word == "/k,ernel"));
    }

    #[test]
    fn a_full_disk_is_the_guests_to_hear_of() {
        let line = line(&machine(), Origin::Kernel).expect("it is right");
        let disk = line.iter().find(|word| word.contains("virtio-blk-pci"));
        assert!(disk.is_some_and(|disk| disk.contains(r#""werror":"report""#)));
    }

    #[test]
    fn disks_share_a_rate_if_there_is_one() {
        let mut machine = machine();
        let group = |word: &String| word.contains("throttle");
        assert!(
            !line(&machine, Origin::Kernel)
                .expect("it is right")
                .iter()
                .any(group)
        );
        let rate = |sustained, burst| Some(Rate { sustained, burst });
        machine.disk_rates.bytes = rate(1000, 3000);
        let words = line(&machine, Origin::Kernel).expect("it is right");
        let wanted = r#""limits":{"bps-total":1000,"bps-total-max":3000}"#;
        assert!(words.iter().any(|word| word.contains(wanted)), "{words:?}");
        for wrong in [rate(0, 5), rate(5, 4)] {
            machine.disk_rates.operations = wrong;
            line(&machine, Origin::Kernel).expect_err("it is no rate");
        }
    }

    #[test]
    fn memory_is_shared_unless_it_is_lent() {
        for (origin, shared) in [
            (Origin::Kernel, true),
            (Origin::Own, true),
            (Origin::Lent, false),
        ] {
            let line = line(&machine(), origin).expect("it is right");
            let wanted = format!(r#""share":{shared}"#);
            assert!(line.iter().any(|word| word.contains(&wanted)));
            assert_eq!(line.contains(&"defer".to_owned()), origin != Origin::Kernel);
        }
    }

    #[test]
    fn what_makes_no_machine_is_refused() {
        let whole = machine();
        for wrong in [
            Machine {
                vcpus: 0,
                ..whole.clone()
            },
            Machine {
                memory: 1,
                ..whole.clone()
            },
            Machine {
                kernel: "kernel".into(),
                ..whole
            },
        ] {
            line(&wrong, Origin::Kernel).expect_err("it is wrong");
        }
    }
}
