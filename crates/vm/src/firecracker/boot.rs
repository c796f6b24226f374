//! A machine that begins with its kernel. All of it is configured here; it starts when it is first
//! resumed, since Firecracker lets it run at once.

use super::bare::Bare;
use super::client::model::{
    Balloon, BootSource, CacheType, Drive, Entropy, Interface, MachineConfig, MmdsConfig,
    MmdsVersion, RateLimiter, TokenBucket, Vsock,
};
use super::client::{Client, Fresh};
use super::place::Access;
use super::running::Machinery;
use super::settings::{Settings, metadata};
use super::{AGENT, Firecracker, INITRAMFS, KERNEL, disk};
use crate::driver::{Accelerator, Board, Machine, Rate, Rates};
use casemate_core::error::{Error, Result};
use std::path::Path;

/// What the one network interface is called here.
pub(super) const INTERFACE: &str = "eth0";
/// The guest's vsock number. Each machine has a socket of its own, so it may be the same for all.
const CID: u32 = 3;
const HOUR: u16 = 3600;

pub(super) async fn boot(
    firecracker: &Firecracker,
    machine: &Machine,
    folder: &Path,
) -> Result<Machinery> {
    check(&firecracker.settings, machine)?;
    let Bare {
        place,
        hull,
        client,
        version,
    } = Bare::start(firecracker, folder).await?;
    place.bring(&machine.kernel, KERNEL, Access::Read)?;
    place.bring(&machine.initramfs, INITRAMFS, Access::Read)?;
    for (number, one) in machine.disks.iter().enumerate() {
        let access = match one.read_only {
            true => Access::Read,
            false => Access::Write,
        };
        place.bring(&one.path, &disk(number), access)?;
    }
    let configured = configure(&client, &firecracker.settings, machine).await;
    if let Err(error) = configured {
        return Err(match client.over() {
            Some(_) => hull.explained(error).await,
            None => error,
        });
    }
    let settings = &firecracker.settings;
    Ok(Machinery::fresh(
        settings,
        machine.clone(),
        place,
        hull,
        client,
        version,
    ))
}

/// Whether Firecracker has such machines, and this one what it needs.
pub(super) fn check(settings: &Settings, machine: &Machine) -> Result<()> {
    let fail = |why: String| Error::rule("make a machine with Firecracker", why);
    if machine.accelerator != Accelerator::Kvm {
        return Err(fail("it translates nothing".to_owned()).hint("--driver qemu does"));
    }
    if machine.board != Board::Micro {
        return Err(fail("it has no such board".to_owned()).hint("choose the micro board"));
    }
    if !(1..=32).contains(&machine.vcpus) {
        return Err(fail(format!(
            "{} processors are not 1 to 32",
            machine.vcpus
        )));
    }
    if !(32..=1 << 20).contains(&machine.memory) {
        let why = format!("{} MiB is not between 32 MiB and 1 TiB", machine.memory);
        return Err(fail(why));
    }
    if machine.disks.iter().any(|disk| !disk.layers.is_empty()) {
        let why = "its disks are whole files, and one is laid over others";
        return Err(fail(why.to_owned()).hint("use QEMU"));
    }
    if machine.network && settings.tap.is_none() {
        return Err(
            fail("it needs a tap for a machine with a network".to_owned())
                .hint("give it one, or use QEMU, which has a network of its own"),
        );
    }
    Ok(())
}

async fn configure(client: &Client<Fresh>, settings: &Settings, machine: &Machine) -> Result<()> {
    let config = MachineConfig {
        track_dirty_pages: settings.differences,
        huge_pages: settings.huge_pages,
        ..MachineConfig::new(machine.vcpus, machine.memory)
    };
    client.machine_config(&config).await?;
    if let Some(cpu) = &settings.cpu {
        client.cpu_config(cpu).await?;
    }
    let source = BootSource {
        kernel_image_path: KERNEL.into(),
        initrd_path: Some(INITRAMFS.into()),
        boot_args: Some(format!("{WORDS} {}", machine.command_line)),
    };
    client.boot_source(&source).await?;
    let rate_limiter = limits(machine.disk_rates)?;
    for (number, one) in machine.disks.iter().enumerate() {
        let drive = Drive {
            rate_limiter,
            ..drive(number, one.read_only)
        };
        client.drive(&drive).await?;
    }
    if machine.network {
        network(client, settings).await?;
    }
    let vsock = Vsock {
        guest_cid: CID,
        uds_path: AGENT.into(),
    };
    client.vsock(&vsock).await?;
    let balloon = Balloon {
        deflate_on_oom: true,
        // How far the balloon is can be asked for where there are statistics, which the guest needn't
        // wake up for.
        stats_polling_interval_s: Some(HOUR),
        ..Balloon::default()
    };
    client.balloon(&balloon).await?;
    client.entropy(&Entropy::default()).await
}

/// No PCI and no keyboard to look for; a restart by the keyboard's controller, which is how Firecracker
/// is told to end; and a restart at once for a kernel that panics.
const WORDS: &str = "console=ttyS0 reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd";

/// The first program mounts the root, so that none is one for Firecracker.
fn drive(number: usize, read_only: bool) -> Drive {
    Drive {
        drive_id: disk(number),
        path_on_host: Some(disk(number).into()),
        is_read_only: Some(read_only),
        cache_type: Some(CacheType::Writeback),
        ..Drive::default()
    }
}

/// Of each disk: Firecracker has no bound for all of them together.
fn limits(rates: Rates) -> Result<Option<RateLimiter>> {
    if rates == Rates::default() {
        return Ok(None);
    }
    Ok(Some(RateLimiter {
        bandwidth: rates.bytes.map(bucket).transpose()?,
        ops: rates.operations.map(bucket).transpose()?,
    }))
}

/// What is left from idle seconds is in the bucket, and it fills at the sustained rate.
fn bucket(rate: Rate) -> Result<TokenBucket> {
    let Rate { sustained, burst } = rate;
    if sustained == 0 || burst < sustained || burst > MOST {
        let why = format!("{sustained} a second and {burst} at once are no rate");
        return Err(Error::rule("bound what a machine's disks do", why));
    }
    Ok(TokenBucket {
        size: burst,
        refill_time: burst.saturating_mul(1000).div_ceil(sustained),
        one_time_burst: None,
    })
}

/// Beyond that nobody is bounded.
const MOST: u64 = 1_000_000_000_000;

async fn network(client: &Client<Fresh>, settings: &Settings) -> Result<()> {
    let Some(tap) = &settings.tap else {
        return Ok(());
    };
    let interface = Interface {
        iface_id: INTERFACE.to_owned(),
        host_dev_name: tap.name.clone(),
        guest_mac: tap.mac.clone(),
        mtu: tap.mtu,
        rx_rate_limiter: Some(tap.receives),
        tx_rate_limiter: Some(tap.sends),
    };
    client.interface(&interface).await?;
    let config = MmdsConfig {
        network_interfaces: vec![INTERFACE.to_owned()],
        version: MmdsVersion::V2,
        ipv4_address: None,
        imds_compat: None,
    };
    client.mmds_config(&config).await?;
    match &settings.identity {
        Some(who) => client.put_mmds(&metadata(who)).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_bucket_that_fills_as_fast() {
        let rate = |sustained, burst| Rate { sustained, burst };
        let made = bucket(rate(100, 250)).expect("it is one");
        assert_eq!((made.size, made.refill_time), (250, 2500));
        // Rounded to the slower side, and never without a bound.
        let made = bucket(rate(3, 10)).expect("it is one");
        assert_eq!((made.size, made.refill_time), (10, 3334));
        for wrong in [rate(0, 0), rate(2, 1), rate(1, u64::MAX)] {
            bucket(wrong).expect_err("it is none");
        }
        assert_eq!(limits(Rates::default()), Ok(None));
        let only_bytes = Rates {
            bytes: Some(rate(1, 1)),
            operations: None,
        };
        let limits = limits(only_bytes)
            .expect("it is right")
            .expect("there are some");
        assert!(limits.bandwidth.is_some() && limits.ops.is_none());
    }
}
