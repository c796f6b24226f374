//! The network of a sandbox: as clients put it, checked, and as a node takes it.
//!
//! What is allowed wins over what is denied. A domain in the allow list means something only when
//! all else is denied, so the one without the other is refused. What we can't enforce is refused
//! too, never left out.

use crate::problem::{Problem, shown};
use casemate_core::sandbox::Outward;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// All addresses of IPv4; who denies them means IPv6 too.
const ALL: &str = "0.0.0.0/0";
/// Entries of one list.
const MOST_ENTRIES: usize = 1024;

/// E2B's `SandboxNetworkConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// False: callers of its ports need the traffic token. `None` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_public_traffic: Option<bool>,
    /// CIDR blocks, addresses, domains and `*.domain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_out: Option<Vec<String>>,
    /// CIDR blocks and addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_out: Option<Vec<String>>,
    /// Name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Vec<String>>,
    /// Ports where TLS is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_ports: Option<Vec<u16>>,
    /// What is done to requests, by host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<BTreeMap<String, Vec<Rule>>>,
    /// A proxy to go out through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_proxy: Option<EgressProxy>,
    /// The `Host` that programs inside see; `${PORT}` stands for the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_request_host: Option<String>,
    /// False refuses all that isn't allowed. Beside the network on creation, inside it on update.
    #[serde(
        rename = "allow_internet_access",
        skip_serializing_if = "Option::is_none"
    )]
    pub internet: Option<bool>,
}

/// E2B's `SandboxNetworkRule`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What is changed in a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
}

/// E2B's `SandboxNetworkTransform`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// Headers to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

/// E2B's `SandboxEgressProxyConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EgressProxy {
    /// Where it is.
    pub address: String,
}

impl Network {
    /// What a node is to enforce.
    pub(crate) fn outward(&self, policy: Option<String>) -> Result<Outward, Problem> {
        self.refuse_what_is_not_enforced()?;
        let allow = bounded("network.allowOut", self.allow_out.as_deref())?;
        let deny = bounded("network.denyOut", self.deny_out.as_deref())?;
        for (index, entry) in deny.iter().enumerate() {
            if block(entry).is_none() {
                return Err(Problem::bad(format!(
                    "network.denyOut[{index}]: '{}' is neither an address nor a CIDR block",
                    shown(entry)
                )));
            }
        }
        let internet = self.internet != Some(false) && !deny.iter().any(|entry| entry == ALL);
        for (index, entry) in allow.iter().enumerate() {
            if block(entry).is_some() {
                continue;
            }
            if !is_pattern(entry) {
                return Err(Problem::bad(format!(
                    "network.allowOut[{index}]: '{}' is no address, CIDR block or domain",
                    shown(entry)
                )));
            }
            if internet {
                return Err(Problem::bad(format!(
                    "network.allowOut[{index}]: the domain '{entry}' needs '{ALL}' in denyOut, or allow_internet_access=false: everything else would be allowed as well"
                )));
            }
        }
        Ok(Outward {
            internet,
            allow: allow.to_vec(),
            deny: deny.to_vec(),
            headers: self.headers()?,
            dns: self.name_servers()?,
            policy,
        })
    }

    fn refuse_what_is_not_enforced(&self) -> Result<(), Problem> {
        if self.egress_proxy.is_some() {
            return Err(Problem::unsupported("network.egressProxy"));
        }
        let ports = self.https_ports.as_deref().unwrap_or_default();
        if ports.iter().any(|port| *port != 443) {
            return Err(Problem::unsupported("network.httpsPorts other than 443"));
        }
        match &self.mask_request_host {
            Some(host) if host.len() > 260 || !is_authority(host) => {
                Err(Problem::bad("network.maskRequestHost: not a host name"))
            }
            _ => Ok(()),
        }
    }

    fn headers(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>, Problem> {
        let rules = self.rules.iter().flatten();
        let mut hosts = BTreeMap::new();
        for (host, rules) in rules {
            if !is_pattern(host) && host.parse::<IpAddr>().is_err() {
                return Err(Problem::bad(format!(
                    "network.rules: '{}' is no host",
                    shown(host)
                )));
            }
            let transforms = rules.iter().filter_map(|rule| rule.transform.as_ref());
            let headers = transforms.flat_map(|transform| transform.headers.iter().flatten());
            let mut set = BTreeMap::new();
            for (name, value) in headers {
                let sound =
                    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
                if !sound {
                    return Err(Problem::bad(format!(
                        "network.rules.{host}: the header '{}' can't be sent",
                        shown(name)
                    )));
                }
                set.insert(name.clone(), value.clone());
            }
            hosts.insert(host.clone(), set);
        }
        Ok(hosts)
    }

    fn name_servers(&self) -> Result<Vec<IpAddr>, Problem> {
        let servers = bounded("network.dnsServers", self.dns_servers.as_deref())?;
        let parsed = servers.iter().enumerate().map(|(index, server)| {
            server.parse().map_err(|_| {
                Problem::bad(format!(
                    "network.dnsServers[{index}]: '{}' is no address",
                    shown(server)
                ))
            })
        });
        parsed.collect()
    }
}

fn bounded<'a>(field: &str, list: Option<&'a [String]>) -> Result<&'a [String], Problem> {
    let list = list.unwrap_or_default();
    match list.len() > MOST_ENTRIES {
        true => Err(Problem::bad(format!(
            "{field}: more than {MOST_ENTRIES} entries"
        ))),
        false => Ok(list),
    }
}

fn block(entry: &str) -> Option<IpNet> {
    let address = || entry.parse::<IpAddr>().ok().map(IpNet::from);
    entry.parse().ok().or_else(address)
}

/// A domain, or one with a `*.` before it, or `*` for all.
fn is_pattern(text: &str) -> bool {
    text == "*" || is_domain(text.strip_prefix("*.").unwrap_or(text))
}

/// RFC 1123 §2.1; the last label isn't a number, so no mistyped address is taken for a name.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_authority(text: &str) -> bool {
    let example = text.replace("${PORT}", "1");
    !example.is_empty()
        && !example.contains('@')
        && http::uri::Authority::try_from(example).is_ok()
        && HeaderValue::try_from(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(json: &str) -> Network {
        serde_json::from_str(json).unwrap()
    }

    fn refused(json: &str) -> String {
        network(json).outward(None).unwrap_err().message
    }

    #[test]
    fn a_domain_needs_all_else_denied() {
        let text = refused(r#"{"allowOut":["1.1.1.1","api.example.com"]}"#);
        assert!(
            text.starts_with("network.allowOut[1]: the domain 'api.example.com' needs"),
            "{text}"
        );
        for json in [
            r#"{"allowOut":["api.example.com"],"denyOut":["0.0.0.0/0"]}"#,
            r#"{"allowOut":["*.example.com"],"allow_internet_access":false}"#,
        ] {
            assert!(!network(json).outward(None).unwrap().internet, "{json}");
        }
    }

    #[test]
    fn who_denies_everything_means_ipv6_too() {
        let outward = network(r#"{"denyOut":["0.0.0.0/0"],"allowOut":["8.8.8.8"]}"#);
        let outward = outward.outward(None).unwrap();
        assert!(!outward.internet);
        assert_eq!(outward.allow, ["8.8.8.8"]);
    }

    #[test]
    fn what_is_not_enforced_is_refused() {
        for (json, says) in [
            (r#"{"denyOut":["example.com"]}"#, "network.denyOut[0]"),
            (r#"{"denyOut":["1.2.3.4/33"]}"#, "network.denyOut[0]"),
            (r#"{"allowOut":["300.1.1.1"]}"#, "network.allowOut[0]"),
            (r#"{"allowOut":["a b"]}"#, "network.allowOut[0]"),
            (
                r#"{"egressProxy":{"address":"socks5://x"}}"#,
                "network.egressProxy",
            ),
            (r#"{"httpsPorts":[443,8443]}"#, "network.httpsPorts"),
            (r#"{"dnsServers":["dns.example"]}"#, "network.dnsServers[0]"),
            (
                r#"{"rules":{"a.b":[{"transform":{"headers":{"X":"a\nb"}}}]}}"#,
                "network.rules.a.b",
            ),
            (r#"{"rules":{"a/b":[]}}"#, "network.rules"),
            (r#"{"maskRequestHost":"a@b"}"#, "network.maskRequestHost"),
            (r#"{"maskRequestHost":"a\r\nb"}"#, "network.maskRequestHost"),
        ] {
            assert!(refused(json).starts_with(says), "{json}: {}", refused(json));
        }
    }

    #[test]
    fn headers_of_all_rules_of_a_host_are_set() {
        let json = r#"{"rules":{"a.b":[{"transform":{"headers":{"X":"1"}}},{},{"transform":{"headers":{"Y":"2"}}}]},
                       "maskRequestHost":"localhost:${PORT}"}"#;
        let outward = network(json).outward(None).unwrap();
        assert_eq!(outward.headers["a.b"].len(), 2);
    }
}
