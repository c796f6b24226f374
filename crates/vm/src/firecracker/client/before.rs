//! Calls that can be made before a machine starts.

use super::call::Call;
use super::model::{
    Balloon, BootSource, Drive, Entropy, Hotplug, Interface, Load, Logger, MachineConfig,
    MachineUpdate, Metrics, MmdsConfig, Pmem, Serial, Vsock,
};
use super::{Client, Fresh, Started, patience};
use casemate_core::error::Result;
use serde_json::{Value, json};

impl Client<Fresh> {
    /// Where its log goes. This and metrics are all that a machine that is loaded can be told first.
    pub async fn logger(&self, logger: &Logger) -> Result<()> {
        self.tell(Call::put("/logger", logger)?).await
    }

    /// Where its metrics go.
    pub async fn metrics(&self, metrics: &Metrics) -> Result<()> {
        self.tell(Call::put("/metrics", metrics)?).await
    }

    /// What is booted.
    pub async fn boot_source(&self, source: &BootSource) -> Result<()> {
        self.tell(Call::put("/boot-source", source)?).await
    }

    /// How large the machine is.
    pub async fn machine_config(&self, config: &MachineConfig) -> Result<()> {
        self.tell(Call::put("/machine-config", config)?).await
    }

    /// What is different.
    pub async fn update_machine_config(&self, update: &MachineUpdate) -> Result<()> {
        self.tell(Call::patch("/machine-config", update)?).await
    }

    /// What its processors can and can't: `kvm_capabilities`, `cpuid_modifiers`, `msr_modifiers`.
    pub async fn cpu_config(&self, config: &Value) -> Result<()> {
        self.tell(Call::put("/cpu-config", config)?).await
    }

    /// A disk; those that aren't the root are numbered by the guest as they come here.
    pub async fn drive(&self, drive: &Drive) -> Result<()> {
        let path = Call::device("drives", &drive.drive_id)?;
        self.tell(Call::put(path, drive)?).await
    }

    /// Memory that is a file.
    pub async fn pmem(&self, pmem: &Pmem) -> Result<()> {
        let path = Call::device("pmem", &pmem.id)?;
        self.tell(Call::put(path, pmem)?).await
    }

    /// A network interface.
    pub async fn interface(&self, interface: &Interface) -> Result<()> {
        let path = Call::device("network-interfaces", &interface.iface_id)?;
        self.tell(Call::put(path, interface)?).await
    }

    /// How a guest asks for metadata; its interfaces are there already.
    pub async fn mmds_config(&self, config: &MmdsConfig) -> Result<()> {
        self.tell(Call::put("/mmds/config", config)?).await
    }

    /// Streams between host and guest.
    pub async fn vsock(&self, vsock: &Vsock) -> Result<()> {
        self.tell(Call::put("/vsock", vsock)?).await
    }

    /// The balloon.
    pub async fn balloon(&self, balloon: &Balloon) -> Result<()> {
        self.tell(Call::put("/balloon", balloon)?).await
    }

    /// The host's randomness.
    pub async fn entropy(&self, entropy: &Entropy) -> Result<()> {
        self.tell(Call::put("/entropy", entropy)?).await
    }

    /// The console.
    pub async fn serial(&self, serial: &Serial) -> Result<()> {
        self.tell(Call::put("/serial", serial)?).await
    }

    /// Memory that can come later.
    pub async fn hotplug(&self, hotplug: &Hotplug) -> Result<()> {
        self.tell(Call::put("/hotplug/memory", hotplug)?).await
    }

    /// Starts the machine. If that fails there is no other try: a new Firecracker is needed.
    pub async fn start(self) -> Result<Client<Started>> {
        let action = json!({ "action_type": "InstanceStart" });
        self.tell(Call::put("/actions", &action)?).await?;
        Ok(self.started())
    }

    /// Loads a machine that has so much memory. If that fails there is no other try, as before.
    pub async fn load(self, load: &Load, mem_size_mib: u32) -> Result<Client<Started>> {
        let call = Call::put("/snapshot/load", load)?;
        let patience = self.patience.max(patience(mem_size_mib));
        self.connection.call(call, patience).await?;
        Ok(self.started())
    }
}
