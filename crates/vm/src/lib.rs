//! The wall made of virtual machines: what they boot, and how they are run.
//!
//! - [`accelerator`]: what may run the guest's instructions here
//! - [`guest`]: what a machine is made from: kernel, first program, modules, disks
//! - [`driver`]: what a machine monitor can do, whichever it is
//! - [`qemu`]: QEMU as one; it runs anywhere
//! - [`memory`]: machines' memory as files
//! - `monitor`: what all monitors have in common
//! - [`qmp`]: how QEMU is spoken to

pub mod accelerator;
pub mod driver;
pub mod guest;
pub mod memory;
mod monitor;
pub mod qemu;
pub mod qmp;
