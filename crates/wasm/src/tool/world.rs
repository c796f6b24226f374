//! What WASI shows a guest.

use super::gauge::Gauge;
use super::job::{Job, Moment};
use super::verdict::Complaint;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;
use wasmtime::Linker;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{
    FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, p0,
};

/// What preview 1 is imported as, and what the one before was.
const PREVIEW_1: &str = "wasi_snapshot_preview1";
const PREVIEW_0: &str = "wasi_unstable";

/// Everything of a guest that its host functions need.
pub(super) struct Guest {
    wasi: WasiP1Ctx,
    pub(super) gauge: Gauge,
}

/// The program said that it's done.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) code: u32,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}", self.code)
    }
}

impl std::error::Error for Exit {}

impl Guest {
    pub(super) fn new(job: &Job) -> Result<Self, Complaint> {
        let mut wasi = WasiCtx::builder();
        // Nothing else happens in this process meanwhile, so a file may be waited for right here.
        wasi.allow_blocking_current_thread(true)
            .inherit_stdio()
            .allow_tcp(false)
            .allow_udp(false)
            .arg(&job.name)
            .args(&job.args)
            .envs(&job.env);
        for folder in &job.folders {
            let rights = match folder.writable {
                true => FsPerms::ReadWrite,
                false => FsPerms::ReadOnly,
            };
            let opened = wasi.preopened_dir(&folder.path, &folder.name, rights);
            opened.map_err(|error| {
                Complaint::new(&format!("open --dir {}", folder.name), format!("{error:#}"))
            })?;
        }
        if let Some(moment) = job.clock {
            wasi.wall_clock(Stopped(moment))
                .monotonic_clock(Stopped(moment));
        }
        if let Some(seed) = job.random_seed {
            // Two streams, so that how much is taken from one doesn't show in the other.
            wasi.secure_random(Seeded(seed))
                .insecure_random(Seeded(!seed))
                .insecure_random_seed(seed.into());
        }
        Ok(Self {
            wasi: wasi.build_p1(),
            gauge: Gauge::new(job.memory),
        })
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

/// Gives a module what it may import: WASI, as far as it asks for that.
pub(super) fn link(linker: &mut Linker<Guest>, asked: &[&str]) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    if asked.contains(&PREVIEW_1) {
        p1::add_to_linker_async(linker, |guest: &mut Guest| &mut guest.wasi)?;
        linker.func_wrap(PREVIEW_1, "proc_exit", exit)?;
    }
    if asked.contains(&PREVIEW_0) {
        p0::add_to_linker_async(linker, |guest: &mut Guest| &mut guest.wasi)?;
        linker.func_wrap(PREVIEW_0, "proc_exit", exit)?;
    }
    Ok(())
}

/// Any code, as a native program may have; the library takes those below 126.
fn exit(code: u32) -> wasmtime::Result<()> {
    Err(Exit { code }.into())
}

/// Clocks that always show the same.
struct Stopped(Moment);

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::new(self.0.seconds, self.0.nanoseconds)
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1
    }

    /// Since when it counts is open, so it's zero, and there is room above for times to wait for.
    fn now(&self) -> u64 {
        0
    }
}

/// Numbers that are the same for the same seed: SplitMix64, "Fast splittable pseudorandom number
/// generators" (Steele, Lea, Flood 2014).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl rand_core::TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Seeded;

    #[test]
    fn numbers_are_those_of_the_paper() {
        let mut seeded = Seeded(1_234_567);
        let numbers: Vec<_> = (0..3).map(|_| seeded.next()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
