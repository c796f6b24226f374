//! A machine as QEMU's command line.
//!
//! A restored machine's is the same as the one that its snapshot was taken of, but for where its
//! memory is and that it waits for its state: the devices have to be the same for the state to fit.

use super::{AGENT, PORT, QMP, clock};
use crate::driver::{Accelerator, Board, Machine};
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
        for (number, disk) in self.machine.disks.iter().enumerate() {
            let node = format!("disk{number}");
            let file = json!({ "driver": "file", "filename": text(&disk.path)? });
            let read_only = disk.read_only;
            let block =
                json!({ "driver": "raw", "node-name": node, "read-only": read_only, "file": file });
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

/// QEMU's own filter of system calls: it needs to start no program and to become nobody else.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

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
            disks: vec![Disk {
                path: "/a,b\"c".into(),
                read_only: true,
            }],
            accelerator: Accelerator::Tcg,
            board: Board::Pci,
            network: false,
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
