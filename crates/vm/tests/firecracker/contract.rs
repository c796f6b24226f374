//! Each call of the client: its method, path and exact body, as the fake hears them, whose rules have
//! them too.

use crate::fake::{Fake, Request, VERSION, Will};
use casemate_core::error::Error;
use casemate_vm::firecracker::client::model::*;
use casemate_vm::firecracker::client::{Client, Fresh, PATIENCE, Started, patience};
use serde_json::{Value, json};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::net::UnixStream;

/// A client, and the fake that answers it in this process.
pub(crate) async fn pair(will: &str) -> (Client<Fresh>, Fake) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let fake = Fake::new(Will::of(will));
    tokio::spawn(fake.clone().serve(theirs));
    let client = Client::connect(ours).await.expect("it connects");
    (client, fake)
}

/// One whose machine runs.
async fn started(will: &str) -> (Client<Started>, Fake, tempfile::TempDir) {
    let (client, fake) = pair(will).await;
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = folder.path().join("kernel");
    std::fs::write(&kernel, "").expect("it is written");
    let source = BootSource {
        initrd_path: Some(kernel.clone()),
        kernel_image_path: kernel,
        boot_args: None,
    };
    client.boot_source(&source).await.expect("it is taken");
    let mut config = MachineConfig::new(1, 32);
    config.track_dirty_pages = true;
    client.machine_config(&config).await.expect("it is taken");
    let balloon = Balloon::default();
    client.balloon(&balloon).await.expect("it is taken");
    (client.start().await.expect("it starts"), fake, folder)
}

/// The last call is this one, and nothing is wrong with it.
#[track_caller]
fn heard<T: std::fmt::Debug>(
    fake: &Fake,
    answer: Result<T, Error>,
    method: &str,
    path: &str,
    body: Value,
) -> T {
    let expected = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        body,
    };
    assert_eq!(fake.heard().last(), Some(&expected));
    answer.unwrap_or_else(|error| panic!("{error}"))
}

fn rates() -> (RateLimiter, Value) {
    let all = json!({
        "bandwidth": { "size": 200_000_000, "refill_time": 1000, "one_time_burst": 100_000_000 },
        "ops": { "size": 1000, "refill_time": 100 },
    });
    let ops = Some(TokenBucket {
        size: 1000,
        refill_time: 100,
        one_time_burst: None,
    });
    (
        RateLimiter {
            ops,
            ..RateLimiter::NETWORK
        },
        all,
    )
}

#[tokio::test]
async fn what_is_configured_before_the_start() {
    let (client, fake) = pair("").await;
    let (limiter, limits) = rates();
    let folder = tempfile::tempdir().expect("a folder");
    let (log, metrics) = (folder.path().join("log"), folder.path().join("metrics"));
    for path in [&log, &metrics] {
        std::fs::write(path, "").expect("it is written");
    }
    let told = Logger {
        log_path: Some(log.clone()),
        level: Some(Level::Warning),
        show_level: Some(true),
        show_log_origin: Some(false),
        module: Some("api_server".to_owned()),
    };
    let answer = client.logger(&told).await;
    let body = json!({
        "log_path": log, "level": "Warning", "show_level": true, "show_log_origin": false,
        "module": "api_server",
    });
    heard(&fake, answer, "PUT", "/logger", body);
    let told = Metrics {
        metrics_path: metrics.clone(),
        emit_id: Some(true),
        properties: json!({ "a": 1 }).as_object().cloned(),
    };
    let answer = client.metrics(&told).await;
    let body = json!({ "metrics_path": metrics, "emit_id": true, "properties": { "a": 1 } });
    heard(&fake, answer, "PUT", "/metrics", body);

    let config = MachineConfig::new(2, 256);
    let answer = client.machine_config(&config).await;
    let body = json!({
        "vcpu_count": 2, "mem_size_mib": 256, "smt": false, "track_dirty_pages": false,
    });
    heard(&fake, answer, "PUT", "/machine-config", body);
    let config = MachineConfig {
        track_dirty_pages: true,
        huge_pages: Some(HugePages::Huge),
        cpu_template: Some("None".to_owned()),
        ..config
    };
    let answer = client.machine_config(&config).await;
    let body = json!({
        "vcpu_count": 2, "mem_size_mib": 256, "smt": false, "track_dirty_pages": true,
        "huge_pages": "2M", "cpu_template": "None",
    });
    heard(&fake, answer, "PUT", "/machine-config", body);
    let answer = client.machine().await;
    assert_eq!(
        heard(&fake, answer, "GET", "/machine-config", Value::Null),
        config
    );
    let update = MachineUpdate {
        mem_size_mib: Some(512),
        huge_pages: Some(HugePages::Transparent),
        ..MachineUpdate::default()
    };
    let answer = client.update_machine_config(&update).await;
    let body = json!({ "mem_size_mib": 512, "huge_pages": "Transparent" });
    heard(&fake, answer, "PATCH", "/machine-config", body);
    let cpu = json!({ "kvm_capabilities": ["!56"] });
    let answer = client.cpu_config(&cpu).await;
    heard(&fake, answer, "PUT", "/cpu-config", cpu);
    let source = BootSource {
        kernel_image_path: "/k".into(),
        initrd_path: Some("/i".into()),
        boot_args: Some("quiet".to_owned()),
    };
    let answer = client.boot_source(&source).await;
    let body = json!({ "kernel_image_path": "/k", "initrd_path": "/i", "boot_args": "quiet" });
    heard(&fake, answer, "PUT", "/boot-source", body);

    let drive = Drive {
        drive_id: "disk0".to_owned(),
        is_root_device: true,
        path_on_host: Some("/d".into()),
        is_read_only: Some(false),
        partuuid: Some("p".to_owned()),
        cache_type: Some(CacheType::Writeback),
        io_engine: Some(IoEngine::Async),
        rate_limiter: Some(limiter),
        socket: None,
    };
    let answer = client.drive(&drive).await;
    let body = json!({
        "drive_id": "disk0", "is_root_device": true, "path_on_host": "/d", "is_read_only": false,
        "partuuid": "p", "cache_type": "Writeback", "io_engine": "Async", "rate_limiter": limits,
    });
    heard(&fake, answer, "PUT", "/drives/disk0", body);
    let drive = Drive {
        drive_id: "other".to_owned(),
        socket: Some("/s".into()),
        ..Drive::default()
    };
    let answer = client.drive(&drive).await;
    let body = json!({ "drive_id": "other", "is_root_device": false, "socket": "/s" });
    heard(&fake, answer, "PUT", "/drives/other", body);
    let pmem = Pmem {
        id: "pmem0".to_owned(),
        path_on_host: "/p".into(),
        root_device: Some(false),
        read_only: Some(true),
        rate_limiter: Some(limiter),
    };
    let answer = client.pmem(&pmem).await;
    let body = json!({
        "id": "pmem0", "path_on_host": "/p", "root_device": false, "read_only": true,
        "rate_limiter": limits,
    });
    heard(&fake, answer, "PUT", "/pmem/pmem0", body);

    let interface = Interface {
        iface_id: "eth0".to_owned(),
        host_dev_name: "tap0".to_owned(),
        guest_mac: Some("02:00:00:00:00:01".to_owned()),
        mtu: Some(1500),
        rx_rate_limiter: Some(RateLimiter::default()),
        tx_rate_limiter: Some(limiter),
    };
    let answer = client.interface(&interface).await;
    let body = json!({
        "iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "02:00:00:00:00:01",
        "mtu": 1500, "rx_rate_limiter": {}, "tx_rate_limiter": limits,
    });
    heard(&fake, answer, "PUT", "/network-interfaces/eth0", body);
    let config = MmdsConfig {
        network_interfaces: vec!["eth0".to_owned()],
        version: MmdsVersion::V2,
        ipv4_address: Some([169, 254, 169, 254].into()),
        imds_compat: Some(false),
    };
    let answer = client.mmds_config(&config).await;
    let body = json!({
        "network_interfaces": ["eth0"], "version": "V2", "ipv4_address": "169.254.169.254",
        "imds_compat": false,
    });
    heard(&fake, answer, "PUT", "/mmds/config", body);
    let vsock = Vsock {
        guest_cid: 3,
        uds_path: "v".into(),
    };
    let answer = client.vsock(&vsock).await;
    heard(
        &fake,
        answer,
        "PUT",
        "/vsock",
        json!({ "guest_cid": 3, "uds_path": "v" }),
    );
    let entropy = Entropy {
        rate_limiter: Some(limiter),
    };
    let answer = client.entropy(&entropy).await;
    heard(
        &fake,
        answer,
        "PUT",
        "/entropy",
        json!({ "rate_limiter": limits }),
    );
    let answer = client.entropy(&Entropy::default()).await;
    heard(&fake, answer, "PUT", "/entropy", json!({}));
    let serial = Serial {
        serial_out_path: Some("/console".into()),
        rate_limiter: limiter.ops,
    };
    let answer = client.serial(&serial).await;
    let body = json!({ "serial_out_path": "/console", "rate_limiter": limits["ops"] });
    heard(&fake, answer, "PUT", "/serial", body);
    let hotplug = Hotplug {
        total_size_mib: 1024,
        slot_size_mib: Some(128),
        block_size_mib: Some(2),
    };
    let answer = client.hotplug(&hotplug).await;
    let body = json!({ "total_size_mib": 1024, "slot_size_mib": 128, "block_size_mib": 2 });
    heard(&fake, answer, "PUT", "/hotplug/memory", body);
    let balloon = Balloon {
        amount_mib: 1,
        deflate_on_oom: true,
        stats_polling_interval_s: Some(5),
        free_page_hinting: Some(true),
        free_page_reporting: Some(false),
    };
    let answer = client.balloon(&balloon).await;
    let body = json!({
        "amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 5,
        "free_page_hinting": true, "free_page_reporting": false,
    });
    heard(&fake, answer, "PUT", "/balloon", body);
    let answer = client.balloon_config().await;
    assert_eq!(
        heard(&fake, answer, "GET", "/balloon", Value::Null),
        balloon
    );
    assert_eq!(client.over(), None);
}

#[tokio::test]
async fn what_can_be_asked_at_any_time() {
    let (client, fake) = pair("").await;
    let answer = client.info().await;
    let info = heard(&fake, answer, "GET", "/", Value::Null);
    assert_eq!(
        (info.state, &info.vmm_version[..]),
        (InstanceState::NotStarted, VERSION)
    );
    let answer = client.version().await;
    assert_eq!(
        heard(&fake, answer, "GET", "/version", Value::Null),
        VERSION
    );
    let (client, fake, _folder) = started("").await;
    let answer = client.info().await;
    let info = heard(&fake, answer, "GET", "/", Value::Null);
    assert_eq!(info.state, InstanceState::Running);

    assert_eq!(client.mmds().await.expect("it answers"), json!({}));
    let data = json!({ "instanceID": "s", "envID": "t" });
    let answer = client.put_mmds(&data).await;
    heard(&fake, answer, "PUT", "/mmds", data);
    let answer = client.patch_mmds(&json!({ "envID": "u" })).await;
    heard(&fake, answer, "PATCH", "/mmds", json!({ "envID": "u" }));
    let answer = client.mmds().await;
    let data = heard(&fake, answer, "GET", "/mmds", Value::Null);
    assert_eq!(data, json!({ "instanceID": "s", "envID": "u" }));

    let answer = client.inflate(64).await;
    heard(
        &fake,
        answer,
        "PATCH",
        "/balloon",
        json!({ "amount_mib": 64 }),
    );
    let answer = client.balloon_interval(3).await;
    let body = json!({ "stats_polling_interval_s": 3 });
    heard(&fake, answer, "PATCH", "/balloon/statistics", body);
    let error = client.flush_metrics().await.expect_err("there are none");
    assert!(
        error.to_string().contains("`PUT /actions`: 400: "),
        "{error}"
    );
    let last = fake.heard().pop().expect("a call");
    assert_eq!(last.body, json!({ "action_type": "FlushMetrics" }));
}

#[tokio::test]
async fn what_can_be_asked_of_a_machine() {
    let (client, fake, folder) = started("").await;
    let (limiter, limits) = rates();
    let last = fake.heard().pop().expect("a call");
    assert_eq!(last.body, json!({ "action_type": "InstanceStart" }));
    let update = DriveUpdate {
        drive_id: "disk0".to_owned(),
        path_on_host: Some("/e".into()),
        rate_limiter: Some(limiter),
    };
    let answer = client.update_drive(&update).await;
    let body = json!({ "drive_id": "disk0", "path_on_host": "/e", "rate_limiter": limits });
    heard(&fake, answer, "PATCH", "/drives/disk0", body);
    let answer = client.update_pmem("pmem0", &limiter).await;
    let body = json!({ "id": "pmem0", "rate_limiter": limits });
    heard(&fake, answer, "PATCH", "/pmem/pmem0", body);
    let update = InterfaceUpdate {
        iface_id: "eth0".to_owned(),
        rx_rate_limiter: Some(limiter),
        tx_rate_limiter: None,
    };
    let answer = client.update_interface(&update).await;
    let body = json!({ "iface_id": "eth0", "rx_rate_limiter": limits });
    heard(&fake, answer, "PATCH", "/network-interfaces/eth0", body);
    let answer = client.balloon_statistics().await;
    let statistics = heard(&fake, answer, "GET", "/balloon/statistics", Value::Null);
    assert_eq!(statistics.free_memory, Some(1 << 20));
    let answer = client.start_hinting(true).await;
    let body = json!({ "acknowledge_on_stop": true });
    heard(&fake, answer, "PATCH", "/balloon/hinting/start", body);
    let answer = client.stop_hinting().await;
    heard(&fake, answer, "PATCH", "/balloon/hinting/stop", Value::Null);
    let answer = client.hinting().await;
    let hinting = heard(&fake, answer, "GET", "/balloon/hinting/status", Value::Null);
    assert_eq!(hinting.guest_cmd, Some(2));
    let answer = client.plug(256).await;
    heard(
        &fake,
        answer,
        "PATCH",
        "/hotplug/memory",
        json!({ "requested_size_mib": 256 }),
    );
    let answer = client.plugged().await;
    let plugged = heard(&fake, answer, "GET", "/hotplug/memory", Value::Null);
    assert_eq!(plugged.total_size_mib, 1024);
    let answer = client.configuration().await;
    heard(&fake, answer, "GET", "/vm/config", Value::Null);
    let answer = client.ctrl_alt_del().await;
    heard(
        &fake,
        answer,
        "PUT",
        "/actions",
        json!({ "action_type": "SendCtrlAltDel" }),
    );

    let create = Create {
        snapshot_path: folder.path().join("state"),
        mem_file_path: folder.path().join("memory"),
        snapshot_type: SnapshotType::Full,
    };
    let error = client.snapshot(&create, 32).await.expect_err("it runs");
    assert!(error.to_string().contains("isn't paused"), "{error}");
    let answer = client.pause().await;
    heard(&fake, answer, "PATCH", "/vm", json!({ "state": "Paused" }));
    for (snapshot_type, name) in [(SnapshotType::Full, "Full"), (SnapshotType::Diff, "Diff")] {
        let create = Create {
            snapshot_type,
            ..create.clone()
        };
        let answer = client.snapshot(&create, 32).await;
        let body = json!({
            "snapshot_path": create.snapshot_path, "mem_file_path": create.mem_file_path,
            "snapshot_type": name,
        });
        heard(&fake, answer, "PUT", "/snapshot/create", body);
    }
    let answer = client.resume().await;
    heard(&fake, answer, "PATCH", "/vm", json!({ "state": "Resumed" }));
}

#[tokio::test]
async fn what_is_loaded() {
    let (client, _fake, folder) = started("").await;
    client.pause().await.expect("it stops");
    let create = Create {
        snapshot_path: folder.path().join("state"),
        mem_file_path: folder.path().join("memory"),
        snapshot_type: SnapshotType::Full,
    };
    client.snapshot(&create, 32).await.expect("it is written");
    let backend = |backend_type, backend_path| MemoryBackend {
        backend_type,
        backend_path,
    };
    let plain = Load {
        snapshot_path: create.snapshot_path.clone(),
        mem_backend: backend(Backend::File, create.mem_file_path.clone()),
        track_dirty_pages: false,
        resume_vm: false,
        network_overrides: Vec::new(),
        vsock_override: None,
        clock_realtime: None,
        huge_pages: None,
    };
    let (client, fake) = pair("").await;
    let answer = client.load(&plain, 32).await;
    let body = json!({
        "snapshot_path": create.snapshot_path, "track_dirty_pages": false, "resume_vm": false,
        "mem_backend": { "backend_type": "File", "backend_path": create.mem_file_path },
    });
    let client = heard(&fake, answer, "PUT", "/snapshot/load", body);
    let info = client.info().await.expect("it answers");
    assert_eq!(info.state, InstanceState::Paused);

    let (client, fake) = pair("").await;
    let all = Load {
        mem_backend: backend(Backend::Uffd, "/no/pages".into()),
        track_dirty_pages: true,
        resume_vm: true,
        network_overrides: vec![NetworkOverride {
            iface_id: "eth0".to_owned(),
            host_dev_name: "tap7".to_owned(),
        }],
        vsock_override: Some(VsockOverride {
            uds_path: "/v".into(),
        }),
        clock_realtime: Some(true),
        huge_pages: Some(LoadedPages::Snapshot),
        ..plain
    };
    let refused = client.load(&all, 32).await.expect_err("there is no eth0");
    assert!(
        refused.to_string().contains("no such interface"),
        "{refused}"
    );
    let body = json!({
        "snapshot_path": create.snapshot_path, "track_dirty_pages": true, "resume_vm": true,
        "mem_backend": { "backend_type": "Uffd", "backend_path": "/no/pages" },
        "network_overrides": [{ "iface_id": "eth0", "host_dev_name": "tap7" }],
        "vsock_override": { "uds_path": "/v" }, "clock_realtime": true, "huge_pages": "Snapshot",
    });
    assert_eq!(fake.heard().pop().expect("a call").body, body);
}

#[tokio::test]
async fn a_name_that_is_a_path_is_not_sent() {
    let (client, fake) = pair("").await;
    let drive = Drive {
        drive_id: "../vsock".to_owned(),
        ..Drive::default()
    };
    client.drive(&drive).await.expect_err("it is no name");
    assert!(fake.heard().is_empty());
}

#[tokio::test]
async fn a_refusal_changes_nothing_and_is_told_harmlessly() {
    let (client, _fake) = pair("refuse GET /version").await;
    let error = client.version().await.expect_err("it refuses").to_string();
    assert!(
        error.starts_with("have Firecracker do `GET /version`: 400: not\\u{1b}[2J today"),
        "{error}"
    );
    assert!(error.len() < 2000);
    client.balloon_config().await.expect_err("there is none");
    assert_eq!(client.over(), None);
    client.info().await.expect("it answers");
}

#[tokio::test]
async fn a_call_without_an_answer_that_makes_sense_ends_all_calls() {
    for (will, said) in [
        ("hang GET /version", "no answer in 0.2 s"),
        ("close GET /version", "GET /version"),
        ("garbage GET /version", "GET /version"),
        ("huge GET /version", "length limit exceeded"),
        ("heads GET /version", "GET /version"),
    ] {
        let (client, fake) = pair(will).await;
        client.info().await.expect("it answers");
        let client = client.patient(Duration::from_millis(200));
        let error = client.version().await.expect_err(will).to_string();
        assert!(error.contains(said), "{will}: {error}");
        let over = client.over().expect("it is over");
        assert!(over.contains("`GET /version`"), "{over}");
        let error = client.info().await.expect_err("it is over").to_string();
        assert!(error.contains(&over) && error.contains("hint: "), "{error}");
        // The last was never sent.
        assert_eq!(
            fake.heard().pop().expect("a call").path,
            "/version",
            "{will}"
        );
    }
    let (client, _fake) = pair("no-json GET /version").await;
    let error = client.version().await.expect_err("no JSON").to_string();
    assert!(error.contains("its answer makes no sense"), "{error}");
}

#[tokio::test]
async fn a_call_is_brought_to_its_end_when_nobody_waits_for_it() {
    let (client, fake, _folder) = started("").await;
    {
        let pause = std::pin::pin!(client.pause());
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(pause.poll(&mut nobody).is_pending());
    }
    let info = client.info().await.expect("it answers");
    assert_eq!(info.state, InstanceState::Paused);
    assert_eq!(fake.heard().len(), 6);
}

#[test]
fn more_memory_has_more_time() {
    assert_eq!(PATIENCE, Duration::from_secs(10));
    assert_eq!(patience(0), PATIENCE);
    assert!(patience(1024) > patience(256));
    assert!(patience(20 << 10) > Duration::from_secs(600));
}

/// What a call is that a client of that phase doesn't have.
struct Nothing;

/// A client has no such calls: those of its own would come before a trait's.
macro_rules! lacks {
    ($phase:ty: $($name:ident)*) => {
        const _: fn(Client<$phase>) = |client| {
            trait Lacking {
                $(fn $name(&self) -> Nothing {
                    Nothing
                })*
            }
            impl Lacking for Client<$phase> {}
            $(let Nothing = client.$name();)*
        };
    };
}

lacks!(Started: logger metrics boot_source machine_config update_machine_config cpu_config drive
    pmem interface mmds_config vsock balloon entropy serial hotplug start load);
lacks!(Fresh: pause resume snapshot ctrl_alt_del update_drive update_pmem update_interface
    balloon_statistics start_hinting stop_hinting hinting plug plugged configuration);
