//! Memory that a guest gives back: it fills a balloon with pages that it doesn't use, and QEMU makes
//! holes of them in the machine's memory.
//!
//! What a guest frees while it runs it gives back without being asked (free page reporting).

use super::running::Machinery;
use crate::qmp::Command;
use casemate_core::error::{Error, Result};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What has to be left, MiB.
const LEAST: u32 = 16;
/// How long a guest may take, and how long it may get no further.
const LONGEST: Duration = Duration::from_secs(10);
const STUCK: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn inflate(machinery: &Machinery, mib: u32) -> Result<()> {
    let all = machinery.machine.memory;
    let Some(left) = all.checked_sub(mib).filter(|left| *left >= LEAST) else {
        let why = format!("of its {all} MiB, {LEAST} have to stay");
        return Err(Error::rule(format!("take {mib} MiB from a guest"), why));
    };
    let wanted = u64::from(left) << 20;
    machinery
        .ask(Command::new("balloon", json!({ "value": wanted })))
        .await?;
    let deadline = Instant::now() + LONGEST;
    let (mut nearest, mut since) = (u64::MAX, Instant::now());
    while Instant::now() < deadline {
        let answer = machinery.ask(Command::plain("query-balloon")).await?;
        let now = answer["actual"].as_u64().unwrap_or(0);
        let distance = now.abs_diff(wanted);
        if distance < nearest {
            (nearest, since) = (distance, Instant::now());
        }
        if distance == 0 || since.elapsed() > STUCK {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
