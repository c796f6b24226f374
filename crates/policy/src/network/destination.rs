//! Where an endpoint is: `host`, `port` or `ports`, `allowed_ips`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address;
use super::host;
use super::model::{NOWHERE, Protocol};
use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::node::Value;
use crate::position::Located;
use crate::quote::quoted;
use crate::report::Report;
use crate::values;

/// The most ports of one endpoint.
const MAX_PORTS: usize = 256;

/// The most networks of one endpoint.
const MAX_NETWORKS: usize = 256;

pub(super) struct Destination {
    pub(super) host: Option<Located<String>>,
    pub(super) ports: Vec<u16>,
    pub(super) allowed_ips: Vec<IpNet>,
}

pub(super) fn read(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) -> Destination {
    let allowed_ips = allowed_ips(fields, report);
    Destination {
        host: host(fields, protocol, report),
        ports: ports(fields, report),
        allowed_ips,
    }
}

fn host(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) -> Option<Located<String>> {
    let errors = report.errors();
    let Some(text) = fields.text("host", report) else {
        if report.errors() == errors {
            check_hostless(fields, protocol, report);
        }
        return None;
    };
    let path = fields.path_of("host");
    let host = match host::host(text.value) {
        Ok(host) => Located::new(host, text.position),
        Err(objection) => {
            objection.tell(&text, &path, report);
            return None;
        }
    };
    if let Ok(address) = host.value.parse::<IpAddr>() {
        check_address(&host, address, protocol, report);
    } else {
        check_breadth(&host, &path, report);
    }
    Some(host)
}

fn check_hostless(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) {
    match protocol {
        Protocol::Tcp | Protocol::Mcp => fields::missing(
            "host",
            fields.position,
            "`protocol: tcp` and `protocol: mcp` need a host",
            report,
        ),
        _ if fields.items("allowed_ips").is_empty() => fields::missing(
            "host",
            fields.position,
            "name the host; only `allowed_ips` can stand in for it",
            report,
        ),
        _ => {}
    }
}

fn check_address(host: &Located<String>, address: IpAddr, protocol: Protocol, report: &mut Report) {
    if protocol == Protocol::Tcp {
        report.add_with_hint(
            host.position,
            format!("`protocol: tcp` needs a name as its host, found the address `{}`", host.value),
            "connections are recognised by the name that was resolved; leave `protocol` out, or write `any`, to open an address",
        );
    }
    if let Some(range) = address::blocked(&IpNet::from(address)) {
        report.warn(
            Lint::BlockedHost,
            host.position,
            format!("`{}` is in {range}, which is always blocked", host.value),
            "remove the endpoint",
        );
    }
}

/// `*` as the label below the last one: whoever registers a name there is let through.
fn check_breadth(host: &Located<String>, path: &str, report: &mut Report) {
    let mut labels = host.value.rsplit('.');
    if labels.nth(1).is_some_and(|label| label.contains('*')) {
        report.warn(
            Lint::BroadHost,
            host.position,
            format!(
                "`{}` in `{path}` matches names that anybody may register",
                host.value
            ),
            "write out the registered domain, and put the wildcard below it",
        );
    }
}

/// The ports, sorted, each once. `ports` is not mixed with `port`.
fn ports(fields: &Fields<'_>, report: &mut Report) -> Vec<u16> {
    let errors = report.errors();
    let single = fields.number("port", 1..=65535, report);
    let items = fields.list("ports", MAX_PORTS, report).iter();
    let name = format!("every entry of `{}`", fields.path_of("ports"));
    let several: Vec<_> = items
        .filter_map(|item| values::number(item, &name, 1..=65535, report))
        .collect();
    if let [_, (second, position)] = *fields.given(&["port", "ports"]) {
        report.tolerate(
            Lint::PortAndPorts,
            position,
            format!("`{second}` is given besides the other of `port` and `ports`"),
            "put all the ports into `ports`; OpenShell takes `ports` and ignores `port`",
        );
    }
    let chosen = match several.is_empty() {
        false => several,
        true => single.into_iter().collect(),
    };
    if chosen.is_empty() && report.errors() == errors {
        let hint = "name at least one: `port: 443`, or `ports: [80, 443]`";
        fields::missing("port", fields.position, hint, report);
    }
    let mut ports: Vec<_> = chosen
        .into_iter()
        .filter_map(|port| u16::try_from(port.value).ok())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn allowed_ips(fields: &Fields<'_>, report: &mut Report) -> Vec<IpNet> {
    let path = fields.path_of("allowed_ips");
    let items = fields.list("allowed_ips", MAX_NETWORKS, report);
    let mut networks = Vec::new();
    let mut invalid = false;
    for item in items {
        let text = match &item.value {
            Value::Scalar { text, .. } => &**text,
            Value::List(_) | Value::Map(_) => "",
        };
        match address::network(text) {
            Some(network) => networks.extend(checked(network, text, item.position, &path, report)),
            None => {
                invalid = true;
                let message = format!(
                    "every entry of `{path}` must be an address or a network, found {}",
                    item.found()
                );
                let hint = "write it like `10.0.0.0/8` or `fd00::1`; OpenShell lets the endpoint \
                            reach no address at all then";
                report.tolerate(Lint::InvalidAllowedIps, item.position, message, hint);
            }
        }
    }
    match invalid {
        true => vec![NOWHERE],
        false => networks,
    }
}

fn checked(
    network: IpNet,
    text: &str,
    position: crate::position::Position,
    path: &str,
    report: &mut Report,
) -> Option<IpNet> {
    let shown = quoted(text);
    if let Some(range) = address::blocked(&network) {
        report.add_with_hint(
            position,
            format!("{shown} in `{path}` has addresses of {range}, which is always blocked"),
            "name the networks that are meant, without that one",
        );
        return None;
    }
    if network.addr() != network.network() {
        report.warn(
            Lint::AllowedIpsHostBits,
            position,
            format!("{shown} in `{path}` is an address in a network"),
            format!("the whole network `{}` is allowed", network.trunc()),
        );
    }
    if address::is_broad(&network) {
        report.warn(
            Lint::AllowedIpsBroad,
            position,
            format!("{shown} in `{path}` is a very large network"),
            "name the smaller ones that are needed",
        );
    }
    Some(network.trunc())
}
