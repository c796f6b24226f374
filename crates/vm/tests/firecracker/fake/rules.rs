//! Which call is right at which moment, and what it holds.

use super::http::Request;
use super::machine::{Machine, Phase};
use serde_json::Value;
use std::sync::Mutex;

/// When a call may be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
    Ever,
}
use When::{After, Before, Ever};

/// A call: method, path, when, and the fields of what it holds; those with a star have to be there.
type Rule = (&'static str, &'static str, When, &'static str);

const RULES: [Rule; 41] = [
    ("GET", "/", Ever, ""),
    ("GET", "/version", Ever, ""),
    ("GET", "/vm/config", Ever, ""),
    ("GET", "/machine-config", Ever, ""),
    ("GET", "/mmds", Ever, ""),
    ("GET", "/balloon", Ever, ""),
    ("GET", "/balloon/statistics", Ever, ""),
    ("GET", "/balloon/hinting/status", Ever, ""),
    ("GET", "/hotplug/memory", Ever, ""),
    ("PUT", "/actions", Ever, "action_type*"),
    (
        "PUT",
        "/boot-source",
        Before,
        "kernel_image_path* initrd_path boot_args",
    ),
    (
        "PUT",
        "/cpu-config",
        Before,
        "kvm_capabilities cpuid_modifiers msr_modifiers",
    ),
    (
        "PUT",
        "/drives/{drive_id}",
        Before,
        "drive_id* is_root_device* path_on_host is_read_only partuuid cache_type io_engine rate_limiter socket",
    ),
    (
        "PATCH",
        "/drives/{drive_id}",
        After,
        "drive_id* path_on_host rate_limiter",
    ),
    (
        "PUT",
        "/network-interfaces/{iface_id}",
        Before,
        "iface_id* host_dev_name* guest_mac mtu rx_rate_limiter tx_rate_limiter",
    ),
    (
        "PATCH",
        "/network-interfaces/{iface_id}",
        After,
        "iface_id* rx_rate_limiter tx_rate_limiter",
    ),
    (
        "PUT",
        "/machine-config",
        Before,
        "vcpu_count* mem_size_mib* smt track_dirty_pages huge_pages cpu_template",
    ),
    (
        "PATCH",
        "/machine-config",
        Before,
        "vcpu_count mem_size_mib smt track_dirty_pages huge_pages cpu_template",
    ),
    ("PUT", "/vsock", Before, "guest_cid* uds_path*"),
    (
        "PUT",
        "/balloon",
        Before,
        "amount_mib* deflate_on_oom* stats_polling_interval_s free_page_hinting free_page_reporting",
    ),
    ("PATCH", "/balloon", Ever, "amount_mib*"),
    (
        "PATCH",
        "/balloon/statistics",
        Ever,
        "stats_polling_interval_s*",
    ),
    (
        "PATCH",
        "/balloon/hinting/start",
        After,
        "acknowledge_on_stop",
    ),
    ("PATCH", "/balloon/hinting/stop", After, ""),
    (
        "PUT",
        "/mmds/config",
        Before,
        "network_interfaces* version ipv4_address imds_compat",
    ),
    ("PUT", "/mmds", Ever, "..."),
    ("PATCH", "/mmds", Ever, "..."),
    ("PUT", "/entropy", Before, "rate_limiter"),
    ("PUT", "/serial", Before, "serial_out_path rate_limiter"),
    (
        "PUT",
        "/pmem/{id}",
        Before,
        "id* path_on_host* root_device read_only rate_limiter",
    ),
    ("PATCH", "/pmem/{id}", After, "id* rate_limiter"),
    (
        "PUT",
        "/hotplug/memory",
        Before,
        "total_size_mib* slot_size_mib block_size_mib",
    ),
    ("PATCH", "/hotplug/memory", After, "requested_size_mib*"),
    (
        "PUT",
        "/logger",
        Before,
        "log_path level show_level show_log_origin module",
    ),
    (
        "PUT",
        "/metrics",
        Before,
        "metrics_path* emit_id properties",
    ),
    ("PATCH", "/vm", After, "state*"),
    (
        "PUT",
        "/snapshot/create",
        After,
        "snapshot_path* mem_file_path* snapshot_type",
    ),
    (
        "PUT",
        "/snapshot/load",
        Before,
        "snapshot_path* mem_backend* resume_vm track_dirty_pages network_overrides vsock_override \
      clock_realtime huge_pages",
    ),
    (
        "PUT",
        "/snapshot/load.mem_backend",
        Before,
        "backend_type* backend_path*",
    ),
    (
        "PUT",
        "/snapshot/load.network_overrides",
        Before,
        "iface_id* host_dev_name*",
    ),
    ("PUT", "/snapshot/load.vsock_override", Before, "uds_path*"),
];

/// Why a call isn't right, if it isn't.
pub(super) fn check(machine: &Mutex<Machine>, request: &Request) -> Result<(), String> {
    let Request { method, path, body } = request;
    let found = RULES.iter().find_map(|(of, pattern, when, fields)| {
        let (is, id) = fits(pattern, path);
        (of == method && is).then_some((id, *when, *fields))
    });
    let Some((id, when, fields)) = found else {
        return Err(format!("there is no {method} {path}"));
    };
    let phase = machine.lock().expect("no panic").phase;
    match (when, phase) {
        (Before, Phase::Running | Phase::Paused) => {
            return Err("not supported after starting the microVM".to_owned());
        }
        (After, Phase::NotStarted) => {
            return Err("not supported before starting the microVM".to_owned());
        }
        _ => {}
    }
    holds(body, fields)?;
    if let Some((field, id)) = id
        && body[field] != *id
    {
        return Err(format!("{field} is another than in the path"));
    }
    if path == "/snapshot/load" {
        for part in ["mem_backend", "vsock_override", "network_overrides"] {
            let rule = RULES.iter().find(|rule| rule.1 == format!("{path}.{part}"));
            let fields = rule.expect("there is one").3;
            match &body[part] {
                Value::Null => {}
                Value::Array(parts) => parts.iter().try_for_each(|one| holds(one, fields))?,
                one => holds(one, fields)?,
            }
        }
    }
    Ok(())
}

/// Whether a path is this one, and which field its last part has to be, if one.
fn fits<'a>(pattern: &'static str, path: &'a str) -> (bool, Option<(&'static str, &'a str)>) {
    let Some((begin, field)) = pattern.split_once('{') else {
        return (pattern == path, None);
    };
    match path.strip_prefix(begin) {
        Some(id) if !id.is_empty() && !id.contains('/') => {
            (true, Some((field.trim_end_matches('}'), id)))
        }
        _ => (false, None),
    }
}

fn holds(body: &Value, fields: &str) -> Result<(), String> {
    if fields.is_empty() {
        return match body {
            Value::Null => Ok(()),
            _ => Err("a body that nobody wants".to_owned()),
        };
    }
    let Some(object) = body.as_object() else {
        return Err("no JSON object".to_owned());
    };
    if fields == "..." {
        return Ok(());
    }
    for field in fields
        .split(' ')
        .filter_map(|field| field.strip_suffix('*'))
    {
        if !object.contains_key(field) {
            return Err(format!("missing field `{field}`"));
        }
    }
    let is_known = |name: &str| {
        fields
            .split(' ')
            .any(|field| field.trim_end_matches('*') == name)
    };
    match object
        .iter()
        .find(|(name, value)| !is_known(name) || value.is_null())
    {
        Some((name, _)) => Err(format!("unknown field `{name}`")),
        None => Ok(()),
    }
}
