//! What happened, by program and host: for the report.

use casemate_core::report::Connection;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Different rows that are kept apart; the rest is one row.
const MOST: usize = 2048;

/// Connections, bytes sent and received, and how many of the connections are direct.
type Row = (u64, u64, u64, u64);
type Key = (String, String, u16, &'static str, String);

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    rows: Mutex<BTreeMap<Key, Row>>,
}

impl Ledger {
    pub(super) fn allowed(&self, binary: &str, host: &str, port: u16, entry: &str) {
        self.add(binary, host, port, ("allowed", entry), (1, 0, 0, 0));
    }

    /// A connection that the program has itself.
    pub(super) fn direct(&self, binary: &str, host: &str, port: u16, entry: &str) {
        self.add(binary, host, port, ("allowed", entry), (1, 0, 0, 1));
    }

    pub(super) fn denied(&self, binary: &str, host: &str, port: u16, why: &str) {
        self.add(binary, host, port, ("denied", why), (1, 0, 0, 0));
    }

    /// Bytes of a connection that was allowed.
    pub(super) fn moved(
        &self,
        (binary, host, port, entry): (&str, &str, u16, &str),
        sent: u64,
        received: u64,
    ) {
        self.add(
            binary,
            host,
            port,
            ("allowed", entry),
            (0, sent, received, 0),
        );
    }

    fn add(
        &self,
        binary: &str,
        host: &str,
        port: u16,
        (decision, because): (&'static str, &str),
        (count, sent, received, direct): Row,
    ) {
        let mut rows = self.rows();
        let mut key = (
            binary.to_owned(),
            host.to_owned(),
            port,
            decision,
            because.to_owned(),
        );
        if rows.len() >= MOST && !rows.contains_key(&key) {
            key = (
                String::new(),
                "others".to_owned(),
                0,
                decision,
                "too many to list".to_owned(),
            );
        }
        let row = rows.entry(key).or_default();
        *row = (
            row.0 + count,
            row.1 + sent,
            row.2 + received,
            row.3 + direct,
        );
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        let rows = self.rows();
        let connections = rows
            .iter()
            .map(|(key, (count, sent, received, direct))| Connection {
                binary: key.0.clone(),
                host: key.1.clone(),
                port: key.2,
                decision: key.3,
                because: key.4.clone(),
                count: *count,
                sent: *sent,
                received: *received,
                direct: *direct,
            });
        connections.collect()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Key, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
