//! Calls that can be made at any time.

use super::Client;
use super::call::Call;
use super::model::{Balloon, Info, MachineConfig};
use casemate_core::error::Result;
use serde::Deserialize;
use serde_json::{Value, json};

impl<Phase> Client<Phase> {
    /// Who answers, and what the machine does.
    pub async fn info(&self) -> Result<Info> {
        self.ask("/").await
    }

    /// Which Firecracker it is.
    pub async fn version(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Version {
            firecracker_version: String,
        }
        let version: Version = self.ask("/version").await?;
        Ok(version.firecracker_version)
    }

    /// How large the machine is.
    pub async fn machine(&self) -> Result<MachineConfig> {
        self.ask("/machine-config").await
    }

    /// What the guest is answered for metadata, in place of all that was.
    pub async fn put_mmds(&self, data: &Value) -> Result<()> {
        self.tell(Call::put("/mmds", data)?).await
    }

    /// Merges into it (RFC 7396).
    pub async fn patch_mmds(&self, data: &Value) -> Result<()> {
        self.tell(Call::patch("/mmds", data)?).await
    }

    /// What it is now.
    pub async fn mmds(&self) -> Result<Value> {
        self.ask("/mmds").await
    }

    /// The balloon as it was configured, or is aimed at.
    pub async fn balloon_config(&self) -> Result<Balloon> {
        self.ask("/balloon").await
    }

    /// How much of the guest's memory the balloon is to take.
    pub async fn inflate(&self, amount_mib: u32) -> Result<()> {
        let update = json!({ "amount_mib": amount_mib });
        self.tell(Call::patch("/balloon", &update)?).await
    }

    /// How often the guest tells of its memory. It can't begin or end to once it runs.
    pub async fn balloon_interval(&self, stats_polling_interval_s: u16) -> Result<()> {
        let update = json!({ "stats_polling_interval_s": stats_polling_interval_s });
        self.tell(Call::patch("/balloon/statistics", &update)?)
            .await
    }

    /// Has the metrics written now.
    pub async fn flush_metrics(&self) -> Result<()> {
        let action = json!({ "action_type": "FlushMetrics" });
        self.tell(Call::put("/actions", &action)?).await
    }
}
