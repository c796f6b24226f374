//! Steps that are drawn, done with machines, and repeated in a model.

use crate::region::{PAGES, Region, next};
use crate::world::{Line, World};
use casemate_vm::driver::{Kind, Memory, Monitor, Running};
use casemate_vm::qemu;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Machines that run at a time, and snapshots that are kept.
const MACHINES: usize = 3;
const SNAPSHOTS: usize = 8;

pub(crate) struct Play {
    world: World,
    random: u64,
    machines: Vec<Machine>,
    snapshots: Vec<Snapshot>,
    made: u32,
    done: BTreeMap<&'static str, u32>,
}

struct Machine {
    name: String,
    running: Arc<dyn Running>,
    line: Line,
    region: Region,
    /// What it can write a difference to.
    parent: Option<u32>,
    /// Whose memory it has.
    lender: Option<u32>,
}

struct Snapshot {
    number: u32,
    folder: PathBuf,
    region: Region,
    parent: Option<u32>,
}

impl Play {
    pub(crate) async fn begin(world: World, seed: u64) -> Self {
        let (running, line) = world.boot("0", &world.machine()).await;
        let first = Machine {
            name: "0".to_owned(),
            running,
            line,
            region: Region::new(),
            parent: None,
            lender: None,
        };
        Self {
            world,
            random: seed,
            machines: vec![first],
            snapshots: Vec::new(),
            made: 0,
            done: BTreeMap::new(),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        (next(&mut self.random) % below as u64) as usize
    }

    pub(crate) async fn step(&mut self, number: u32) {
        let which = self.draw(self.machines.len());
        let what = match self.draw(100) {
            0..62 => self.change(which).await,
            62..68 => self.check(which).await,
            68..72 => self.pause(which).await,
            72..74 => self.snapshot(which, Kind::Full).await,
            74..82 => self.snapshot(which, Kind::Difference).await,
            82..91 => self.restore().await,
            91..93 => self.fork(which).await,
            93..96 => self.merge().await,
            96..98 => self.rest(which).await,
            _ => self.balloon(which).await,
        };
        println!("{number}: {what}");
        *self.done.entry(what).or_default() += 1;
    }

    /// Everything is as it should be.
    pub(crate) async fn end(mut self) -> BTreeMap<&'static str, u32> {
        for which in 0..self.machines.len() {
            self.check(which).await;
        }
        self.machines.clear();
        for which in 0..self.snapshots.len() {
            self.clone_of(which, Memory::Own).await;
            self.check(0).await;
            self.machines.clear();
        }
        self.done
    }

    async fn change(&mut self, which: usize) -> &'static str {
        let what = ["write", "write", "zero", "free"][self.draw(4)];
        let count = [1, 7, 64, 700][self.draw(4)];
        let first = self.draw(PAGES as usize - count);
        let seed = self.draw(1 << 16) as u32 + 1;
        let machine = &mut self.machines[which];
        let asked = format!("{what} {first} {count} {seed}");
        assert_eq!(machine.line.ask(&asked).await, "done");
        let seed = if what == "write" { seed } else { 0 };
        machine.region.0[first..first + count].fill(seed);
        what
    }

    async fn check(&mut self, which: usize) -> &'static str {
        let Machine {
            name, line, region, ..
        } = &mut self.machines[which];
        let sum = line.ask("sum").await;
        if sum != region.sum().to_string() {
            let mut differing = Vec::new();
            for (page, seed) in (0..).zip(&region.0) {
                let expected = crate::region::sum_of(&crate::region::bytes(*seed, page));
                if line.ask(&format!("page {page}")).await != expected.to_string() {
                    differing.push((page, *seed));
                }
            }
            panic!("machine {name} is another than it should be: {differing:?}");
        }
        "check"
    }

    async fn pause(&mut self, which: usize) -> &'static str {
        let running = &self.machines[which].running;
        running.pause().await.expect("it stops");
        running.resume().await.expect("it goes on");
        "pause"
    }

    /// Asleep on disk, and woken there.
    async fn rest(&mut self, which: usize) -> &'static str {
        let machine = &mut self.machines[which];
        let place = self.world.folder.path().join(&machine.name);
        let slept = machine.running.sleep().await;
        slept.unwrap_or_else(|error| panic!("{error}"));
        machine.running.end();
        machine.running.ended().await;
        let woken = self.world.qemu.wake(&place, &place).await;
        machine.running = woken.unwrap_or_else(|error| panic!("{error}"));
        machine.line = Line::of(&*machine.running).await;
        machine.running.resume().await.expect("it goes on");
        // Whatever it was lent is its own now.
        (machine.parent, machine.lender) = (None, None);
        self.check(which).await;
        "rest"
    }

    async fn balloon(&mut self, which: usize) -> &'static str {
        let mib = self.draw(150) as u32;
        let running = &self.machines[which].running;
        for mib in [mib, 0] {
            running
                .balloon(mib)
                .await
                .unwrap_or_else(|error| panic!("{error}"));
        }
        "balloon"
    }

    async fn snapshot(&mut self, which: usize, kind: Kind) -> &'static str {
        if self.snapshots.len() == SNAPSHOTS {
            return self.remove();
        }
        let is_paused = self.draw(2) == 0;
        self.made += 1;
        let folder = self
            .world
            .folder
            .path()
            .join(format!("snapshot{}", self.made));
        let machine = &mut self.machines[which];
        if is_paused {
            machine.running.pause().await.expect("it stops");
        }
        let parent = machine.parent.filter(|_| kind == Kind::Difference);
        let written = machine.running.snapshot_as(&folder, kind).await;
        if is_paused {
            machine.running.resume().await.expect("it goes on");
        }
        if kind == Kind::Difference && machine.parent.is_none() {
            let error = written.expect_err("it builds on nothing").to_string();
            assert!(error.contains("hint: take a full"), "{error}");
            return "no difference";
        }
        written.unwrap_or_else(|error| panic!("{error}"));
        // One whose memory is QEMU's own never knows.
        let may_follow = machine.lender.is_none();
        machine.parent = may_follow.then_some(self.made);
        let region = machine.region.clone();
        self.snapshots.push(Snapshot {
            number: self.made,
            folder,
            region,
            parent,
        });
        match kind {
            Kind::Full => "full",
            Kind::Difference => "difference",
        }
    }

    async fn restore(&mut self) -> &'static str {
        if self.snapshots.is_empty() {
            return "nothing to restore";
        }
        let which = self.draw(self.snapshots.len());
        let memory = [Memory::Own, Memory::Own, Memory::Lent][self.draw(3)];
        self.clone_of(which, memory).await;
        "restore"
    }

    async fn clone_of(&mut self, which: usize, memory: Memory) {
        if self.machines.len() == MACHINES {
            let over = self.draw(MACHINES);
            self.machines.remove(over);
        }
        let snapshot = &self.snapshots[which];
        self.made += 1;
        let name = self.made.to_string();
        let place = self.world.place(&name);
        let restored = self
            .world
            .qemu
            .restore(&snapshot.folder, &place, memory)
            .await;
        let running = restored.unwrap_or_else(|error| panic!("{error}"));
        let line = Line::of(&*running).await;
        running.resume().await.expect("it goes on");
        let is_lent = memory == Memory::Lent && snapshot.parent.is_none();
        let number = Some(snapshot.number);
        self.machines.push(Machine {
            name,
            running,
            line,
            region: snapshot.region.clone(),
            parent: number.filter(|_| !is_lent),
            lender: number.filter(|_| is_lent),
        });
        self.check(self.machines.len() - 1).await;
    }

    /// Two of one.
    async fn fork(&mut self, which: usize) -> &'static str {
        if self.snapshots.len() == SNAPSHOTS {
            return self.remove();
        }
        self.snapshot(which, Kind::Full).await;
        let last = self.snapshots.len() - 1;
        self.clone_of(last, Memory::Lent).await;
        self.clone_of(last, Memory::Own).await;
        "fork"
    }

    async fn merge(&mut self) -> &'static str {
        let Some(which) = self.snapshots.iter().rposition(|one| one.parent.is_some()) else {
            return "nothing to merge";
        };
        let merged = qemu::merge(&self.snapshots[which].folder).await;
        merged.unwrap_or_else(|error| panic!("{error}"));
        self.snapshots[which].parent = None;
        "merge"
    }

    /// One that nothing builds on.
    fn remove(&mut self) -> &'static str {
        let is_needed = |number| {
            let number = Some(number);
            self.snapshots.iter().any(|one| one.parent == number)
                || self
                    .machines
                    .iter()
                    .any(|one| one.parent == number || one.lender == number)
        };
        let free = self.snapshots.iter().position(|one| !is_needed(one.number));
        match free {
            Some(which) => {
                let gone = self.snapshots.remove(which);
                std::fs::remove_dir_all(gone.folder).expect("it is there");
                "remove"
            }
            None => {
                // Whoever needs one goes.
                let over = self.draw(self.machines.len());
                if self.machines.len() > 1 {
                    self.machines.remove(over);
                }
                "end"
            }
        }
    }
}
