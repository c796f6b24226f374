//! Network interfaces, and the metadata that are answered on them.

use super::RateLimiter;
use serde::Serialize;
use std::net::Ipv4Addr;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Interface {
    /// Its name here: letters, digits and underscores.
    pub iface_id: String,
    /// The host's tap.
    pub host_dev_name: String,
    /// Its address in the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_mac: Option<String>,
    /// What the guest is told of the longest packet, 68 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// How fast the guest receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// How fast it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// What is to change of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct InterfaceUpdate {
    /// Its name here.
    pub iface_id: String,
    /// How fast the guest receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// How fast it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// Where and how a guest asks for its metadata. It is a part of snapshots; the metadata aren't.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MmdsConfig {
    /// On which interfaces.
    pub network_interfaces: Vec<String>,
    /// By which protocol.
    pub version: MmdsVersion,
    /// At which address; 169.254.169.254 if it isn't given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Ipv4Addr>,
    /// Whether answers are text, whatever was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_compat: Option<bool>,
}

/// How a guest asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MmdsVersion {
    /// With nothing: whoever can be made to send a request is told.
    V1,
    /// With a token that it has fetched first.
    V2,
}
