//! The wall made of virtual machines: what they boot, and how they are run.
//!
//! - [`guest`]: what a machine is made from: kernel, first program, modules, disks

pub mod guest;
