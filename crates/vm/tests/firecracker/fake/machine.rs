//! What calls do.

use super::http::Request;
use super::memory::Memory;
use super::{VERSION, guest, pages};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    #[default]
    NotStarted,
    Running,
    Paused,
}

#[derive(Default)]
pub(super) struct Machine {
    pub(super) phase: Phase,
    /// What was put where.
    pub(super) put: BTreeMap<String, Value>,
    /// What the guest reads. It isn't a part of snapshots.
    pub(super) metadata: Value,
    pub(super) memory: Memory,
    /// Connections of before a snapshot are over.
    pub(super) era: tokio::sync::watch::Sender<u32>,
    tracks: bool,
    log: Option<File>,
    metrics: Option<File>,
}

type Answer = Result<Option<Value>, String>;

/// Does what a call that is right says.
pub(super) fn done(shared: &Arc<Mutex<Machine>>, request: &Request) -> Answer {
    let mut machine = shared.lock().expect("no panic");
    let Request { method, path, body } = request;
    match (method.as_str(), path.as_str()) {
        ("GET", path) => machine.read(path).map(Some),
        ("PUT", "/actions") => match body["action_type"].as_str() {
            Some("InstanceStart") => machine.start(shared).map(|()| None),
            Some("SendCtrlAltDel") if machine.phase != Phase::NotStarted => Ok(None),
            Some("FlushMetrics") => machine.flush().map(|()| None),
            other => Err(format!("no action {other:?}")),
        },
        ("PATCH", "/vm") => {
            machine.phase = match body["state"].as_str() {
                Some("Paused") => Phase::Paused,
                Some("Resumed") => Phase::Running,
                other => return Err(format!("no state {other:?}")),
            };
            Ok(None)
        }
        ("PUT", "/snapshot/create") => machine.save(body).map(|()| None),
        ("PUT", "/snapshot/load") => machine.load(shared, body).map(|()| None),
        ("PUT", "/mmds") => {
            machine.metadata = body.clone();
            Ok(None)
        }
        ("PATCH", "/mmds") => {
            let fresh = body.as_object().cloned().unwrap_or_default();
            let own = machine
                .metadata
                .as_object_mut()
                .ok_or("there are no data")?;
            own.extend(fresh);
            Ok(None)
        }
        ("PUT", "/logger") => machine.log(body).map(|()| None),
        ("PUT", "/metrics") => machine.count(body).map(|()| None),
        ("PUT", "/mmds/config") => {
            let interfaces = body["network_interfaces"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let is_there = |id: &Value| {
                let id = id.as_str().unwrap_or_default();
                machine
                    .put
                    .contains_key(&format!("/network-interfaces/{id}"))
            };
            if interfaces.is_empty() || !interfaces.iter().all(is_there) {
                return Err("an interface isn't there".to_owned());
            }
            machine.merge(path, body);
            Ok(None)
        }
        ("PATCH", "/balloon") if !machine.put.contains_key("/balloon") => {
            Err("there is no balloon".to_owned())
        }
        _ => {
            machine.merge(path, body);
            Ok(None)
        }
    }
}

impl Machine {
    fn merge(&mut self, path: &str, body: &Value) {
        let own = self.put.entry(path.to_owned()).or_insert_with(|| json!({}));
        let fresh: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
        own.as_object_mut().expect("an object").extend(fresh);
    }

    fn read(&self, path: &str) -> Result<Value, String> {
        let state = match self.phase {
            Phase::NotStarted => "Not started",
            Phase::Running => "Running",
            Phase::Paused => "Paused",
        };
        Ok(match path {
            "/" => json!({
                "app_name": "Firecracker", "id": "machine", "state": state, "vmm_version": VERSION,
            }),
            "/version" => json!({ "firecracker_version": VERSION }),
            "/vm/config" => json!(self.put),
            "/mmds" if self.metadata.is_null() => json!({}),
            "/mmds" => self.metadata.clone(),
            "/machine-config" => {
                let default = json!({ "vcpu_count": 1, "mem_size_mib": 128 });
                self.put.get(path).cloned().unwrap_or(default)
            }
            "/balloon/statistics" => {
                let amount = self.put["/balloon"]["amount_mib"].as_u64().unwrap_or(0);
                json!({
                    "target_mib": amount, "actual_mib": amount,
                    "target_pages": amount * 256, "actual_pages": amount * 256,
                    "free_memory": 1 << 20,
                })
            }
            "/balloon/hinting/status" => json!({ "host_cmd": 1, "guest_cmd": 2 }),
            "/hotplug/memory" => json!({
                "total_size_mib": 1024, "slot_size_mib": 128, "block_size_mib": 2,
                "plugged_size_mib": 0, "requested_size_mib": 0,
            }),
            path => self.put.get(path).cloned().ok_or("it isn't there")?,
        })
    }

    fn start(&mut self, shared: &Arc<Mutex<Self>>) -> Result<(), String> {
        if self.phase != Phase::NotStarted {
            return Err("not supported after starting the microVM".to_owned());
        }
        let source = self.put.get("/boot-source").ok_or("no boot source")?;
        for field in ["kernel_image_path", "initrd_path"] {
            let path = source[field].as_str().unwrap_or_default();
            File::open(path).map_err(|error| format!("{path}: {error}"))?;
        }
        let config = self.put.get("/machine-config").cloned().unwrap_or_default();
        let mib = config["mem_size_mib"].as_u64().unwrap_or(128);
        self.memory = Memory::of(mib << 20);
        self.tracks = config["track_dirty_pages"] == true;
        self.phase = Phase::Running;
        self.attach(shared)
    }

    /// Opens what is configured by its path.
    fn attach(&mut self, shared: &Arc<Mutex<Self>>) -> Result<(), String> {
        for (_, drive) in self
            .put
            .iter()
            .filter(|(path, _)| path.starts_with("/drives/"))
        {
            let path = drive["path_on_host"].as_str().unwrap_or_default();
            let mut options = File::options();
            let options = options.read(true).write(drive["is_read_only"] != true);
            options
                .open(path)
                .map_err(|error| format!("{path}: {error}"))?;
        }
        match self.put.get("/vsock") {
            Some(vsock) => {
                let path = vsock["uds_path"].as_str().unwrap_or_default();
                guest::listen(path, shared).map_err(|error| format!("{path}: {error}"))
            }
            None => Ok(()),
        }
    }

    fn save(&mut self, body: &Value) -> Result<(), String> {
        if self.phase != Phase::Paused {
            return Err("it isn't paused".to_owned());
        }
        let all = match body["snapshot_type"].as_str() {
            Some("Full") | None => true,
            Some("Diff") if self.tracks => false,
            other => return Err(format!("no snapshot of type {other:?}")),
        };
        let path = |field: &str| PathBuf::from(body[field].as_str().unwrap_or_default());
        let fail = |error: std::io::Error| error.to_string();
        let mut options = File::options();
        let options = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let memory = options.open(path("mem_file_path")).map_err(fail)?;
        self.memory.save(&memory, all).map_err(fail)?;
        let state = json!({ "put": self.put, "size": self.memory.size });
        std::fs::write(path("snapshot_path"), state.to_string()).map_err(fail)?;
        self.era.send_modify(|era| *era += 1);
        Ok(())
    }

    fn load(&mut self, shared: &Arc<Mutex<Self>>, body: &Value) -> Result<(), String> {
        if !self.put.is_empty() {
            return Err("something was configured before".to_owned());
        }
        let path = body["snapshot_path"].as_str().unwrap_or_default();
        let state = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let state: Value = serde_json::from_slice(&state).map_err(|error| error.to_string())?;
        let size = state["size"].as_u64().ok_or("no size")?;
        let put: Map<String, Value> = state["put"].as_object().cloned().ok_or("no devices")?;
        self.put = put.into_iter().collect();
        for other in body["network_overrides"].as_array().into_iter().flatten() {
            let id = other["iface_id"].as_str().unwrap_or_default();
            let path = format!("/network-interfaces/{id}");
            let interface = self.put.get_mut(&path).ok_or("no such interface")?;
            interface["host_dev_name"] = other["host_dev_name"].clone();
        }
        if let Some(other) = body.get("vsock_override") {
            self.merge("/vsock", other);
        }
        let backend = &body["mem_backend"];
        let at = Path::new(backend["backend_path"].as_str().unwrap_or_default());
        let fail = |error: std::io::Error| format!("{}: {error}", at.display());
        match backend["backend_type"].as_str() {
            Some("File") => {
                let file = File::open(at).map_err(fail)?;
                self.memory = Memory::load(&file, size).map_err(fail)?;
            }
            Some("Uffd") => {
                let served = pages::meet(at, size).map_err(fail)?;
                self.memory = Memory::served(size, served);
            }
            other => return Err(format!("no backend {other:?}")),
        }
        self.tracks = body["track_dirty_pages"] == true;
        self.phase = match body["resume_vm"] == true {
            true => Phase::Running,
            false => Phase::Paused,
        };
        self.attach(shared)
    }

    fn log(&mut self, body: &Value) -> Result<(), String> {
        let mut log = pipe(body["log_path"].as_str().unwrap_or_default())?;
        writeln!(log, "a fake logs").map_err(|error| error.to_string())?;
        self.log = Some(log);
        Ok(())
    }

    fn count(&mut self, body: &Value) -> Result<(), String> {
        if self.metrics.is_some() {
            return Err("metrics are there already".to_owned());
        }
        self.metrics = Some(pipe(body["metrics_path"].as_str().unwrap_or_default())?);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let metrics = self.metrics.as_mut().ok_or("there are no metrics")?;
        let line = json!({ "latencies_us": { "load_snapshot": 7 } });
        writeln!(metrics, "{line}").map_err(|error| error.to_string())
    }
}

/// Opened as Firecracker opens them.
fn pipe(path: &str) -> Result<File, String> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    let options = options.read(true).write(true).custom_flags(nonblocking);
    options
        .open(path)
        .map_err(|error| format!("{path}: {error}"))
}
