//! The wall made of virtual machines: what they boot, and how they are run.
//!
//! - [`accelerator`]: what may run the guest's instructions here
//! - [`guest`]: what a machine is made from: kernel, first program, modules, disks
//! - [`driver`]: what a machine monitor can do, whichever it is
//! - [`firecracker`]: Firecracker as one, where KVM is worth its name; [`qemu`]: QEMU, which runs
//!   anywhere; `monitor`: what they have in common
//! - [`choose`]: which of them
//! - [`memory`]: machines' memory as files
//! - [`pages`]: the memory of a restored machine, page by page as it is needed
//! - [`qmp`]: how QEMU is spoken to

pub mod accelerator;
pub mod choose;
pub mod driver;
pub mod firecracker;
pub mod guest;
pub mod memory;
mod monitor;
pub mod pages;
pub mod qemu;
pub mod qmp;
