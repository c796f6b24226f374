//! Calls that can be made when there is a machine.

use super::call::Call;
use super::model::{
    Create, DriveUpdate, HintingStatus, HotplugStatus, InterfaceUpdate, RateLimiter, Statistics,
    VmState,
};
use super::{Client, Started, patience};
use casemate_core::error::Result;
use hyper::Method;
use serde_json::{Value, json};

impl Client<Started> {
    /// Has it stand still.
    pub async fn pause(&self) -> Result<()> {
        self.vm(VmState::Paused).await
    }

    /// Lets it go on.
    pub async fn resume(&self) -> Result<()> {
        self.vm(VmState::Resumed).await
    }

    async fn vm(&self, state: VmState) -> Result<()> {
        let wanted = json!({ "state": state });
        self.tell(Call::patch("/vm", &wanted)?).await
    }

    /// Writes one that stands still, and has so much memory.
    pub async fn snapshot(&self, create: &Create, mem_size_mib: u32) -> Result<()> {
        let call = Call::put("/snapshot/create", create)?;
        let patience = self.patience.max(patience(mem_size_mib));
        self.connection.call(call, patience).await.map(drop)
    }

    /// Presses its keys, which some guests end at.
    pub async fn ctrl_alt_del(&self) -> Result<()> {
        let action = json!({ "action_type": "SendCtrlAltDel" });
        self.tell(Call::put("/actions", &action)?).await
    }

    /// Changes a disk.
    pub async fn update_drive(&self, update: &DriveUpdate) -> Result<()> {
        let path = Call::device("drives", &update.drive_id)?;
        self.tell(Call::patch(path, update)?).await
    }

    /// Changes how fast a file that is memory is.
    pub async fn update_pmem(&self, id: &str, rate_limiter: &RateLimiter) -> Result<()> {
        let path = Call::device("pmem", id)?;
        let update = json!({ "id": id, "rate_limiter": rate_limiter });
        self.tell(Call::patch(path, &update)?).await
    }

    /// Changes how fast a network interface is.
    pub async fn update_interface(&self, update: &InterfaceUpdate) -> Result<()> {
        let path = Call::device("network-interfaces", &update.iface_id)?;
        self.tell(Call::patch(path, update)?).await
    }

    /// What the guest says of its memory, if it was to say it.
    pub async fn balloon_statistics(&self) -> Result<Statistics> {
        self.ask("/balloon/statistics").await
    }

    /// Begins to ask for all memory that is free.
    pub async fn start_hinting(&self, acknowledge_on_stop: bool) -> Result<()> {
        let command = json!({ "acknowledge_on_stop": acknowledge_on_stop });
        self.tell(Call::patch("/balloon/hinting/start", &command)?)
            .await
    }

    /// Ends that.
    pub async fn stop_hinting(&self) -> Result<()> {
        let mut call = Call::get("/balloon/hinting/stop");
        call.method = Method::PATCH;
        self.tell(call).await
    }

    /// Where that is.
    pub async fn hinting(&self) -> Result<HintingStatus> {
        self.ask("/balloon/hinting/status").await
    }

    /// Has the guest take so much of the memory that can come later, or give it back.
    pub async fn plug(&self, requested_size_mib: u32) -> Result<()> {
        let update = json!({ "requested_size_mib": requested_size_mib });
        self.tell(Call::patch("/hotplug/memory", &update)?).await
    }

    /// How much of it is there.
    pub async fn plugged(&self) -> Result<HotplugStatus> {
        self.ask("/hotplug/memory").await
    }

    /// The whole configuration, as it is called by Firecracker.
    pub async fn configuration(&self) -> Result<Value> {
        self.ask("/vm/config").await
    }
}
