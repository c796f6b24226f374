//! E2B's JSON shapes, and ours beside them.

mod asked;
mod extension;
mod told;
mod written;

pub(super) use asked::{Connect, NewSandbox, Pause, Refresh, Resume, SetTimeout, Version};
pub(super) use extension::{Demand, Inspected, LifetimeDemand, ResourceDemand};
pub(super) use told::{Detail, Listed, Metric, Sandbox};
pub(super) use written::{Fork, Forked, NewSnapshot, SnapshotInfo};
