//! What was seen, in bounds: a program may go to as many places as it likes.

use crate::host::Host;
use crate::proxy::decide::Permit;
use casemate_identity::{Identity, Shown};
use casemate_policy::learn::{Observation, Spoken};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Different places and requests together.
const MOST: usize = 16 << 10;
/// Bytes of their texts.
const MOST_BYTES: usize = 8 << 20;
/// Different refusals, and names that were resolved.
const MOST_ASIDE: usize = 512;

/// All that was seen of a run.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was let through.
    pub observations: Vec<Observation>,
    /// What wasn't.
    pub refused: Vec<Refusal>,
    /// Names that were resolved, in order. Connections to them are observations by themselves.
    pub resolved: Vec<String>,
    /// Observations, refusals and names that found no room.
    pub lost: u64,
}

/// Something that wasn't let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Why not.
    pub why: String,
    /// How often.
    pub times: u64,
}

/// Who went where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::proxy) struct Place {
    binary: Box<[u8]>,
    sha256: [u8; 32],
    script: Option<Box<[u8]>>,
    host: String,
    port: u16,
}

impl Place {
    pub(super) fn of(permit: &Permit) -> Self {
        let identity = &permit.identity;
        Self {
            binary: identity.executable.path.clone(),
            sha256: identity.executable.digest.0,
            script: identity.script.clone(),
            host: permit.host.to_string(),
            port: permit.port,
        }
    }

    fn bytes(&self) -> usize {
        self.binary.len() + self.script.as_ref().map_or(0, |own| own.len()) + self.host.len()
    }
}

#[derive(Default)]
struct Row {
    /// Connections of which only bytes were seen.
    opaque: u64,
    spoken: BTreeSet<Spoken>,
    requests: BTreeMap<(String, String), u64>,
    bytes: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Rows {
    places: BTreeMap<Place, Row>,
    refused: BTreeMap<(String, u16, String), u64>,
    resolved: BTreeSet<String>,
    pinned: HashSet<(Box<[u8]>, String, u16)>,
    /// Places and requests, and bytes of their texts.
    count: usize,
    bytes: usize,
    lost: u64,
}

impl Rows {
    pub(super) fn connected(&mut self, place: &Place, times: u64) {
        if let Some(row) = self.row(place) {
            row.opaque += times;
        }
    }

    /// Takes one connection back.
    pub(super) fn disconnected(&mut self, place: &Place) {
        let Some(row) = self.places.get_mut(place) else {
            return;
        };
        row.opaque = row.opaque.saturating_sub(1);
        if row.opaque == 0 && row.requests.is_empty() {
            self.places.remove(place);
            self.count -= 1;
            self.bytes -= place.bytes();
        }
    }

    pub(super) fn spoke(&mut self, place: &Place, spoken: Spoken) {
        if let Some(row) = self.places.get_mut(place) {
            row.spoken.insert(spoken);
        }
    }

    pub(super) fn moved(&mut self, place: &Place, bytes: u64) {
        if let Some(row) = self.places.get_mut(place) {
            row.bytes = row.bytes.saturating_add(bytes);
        }
    }

    pub(super) fn requested(&mut self, place: Place, method: &str, path: &str) {
        let request = (method.to_owned(), path.to_owned());
        let known = self.places.get_mut(&place);
        if let Some(times) = known.and_then(|row| row.requests.get_mut(&request)) {
            *times += 1;
            return;
        }
        let bytes = method.len() + path.len();
        let fits = self.fits(2, place.bytes() + bytes);
        if let Some(row) = self.row(&place).filter(|_| fits) {
            row.requests.insert(request, 1);
            self.count += 1;
            self.bytes += bytes;
        } else {
            self.lost += u64::from(!fits);
        }
    }

    pub(super) fn resolved(&mut self, name: &Host) {
        let name = name.to_string();
        if self.resolved.len() < MOST_ASIDE || self.resolved.contains(&name) {
            self.resolved.insert(name);
        } else {
            self.lost += 1;
        }
    }

    pub(super) fn refused(&mut self, host: &str, port: u16, why: &str) {
        let key = (host.to_owned(), port, why.to_owned());
        if self.refused.len() < MOST_ASIDE || self.refused.contains_key(&key) {
            *self.refused.entry(key).or_default() += 1;
        } else {
            self.lost += 1;
        }
    }

    pub(super) fn pinned(&mut self, identity: &Identity, host: &str, port: u16) {
        if self.pinned.len() < MOST_ASIDE {
            let path = identity.executable.path.clone();
            self.pinned.insert((path, host.to_owned(), port));
        }
    }

    pub(super) fn is_pinned(&self, permit: &Permit) -> bool {
        let path = permit.identity.executable.path.clone();
        self.pinned
            .contains(&(path, permit.host.to_string(), permit.port))
    }

    fn fits(&self, count: usize, bytes: usize) -> bool {
        self.count + count <= MOST && self.bytes + bytes <= MOST_BYTES
    }

    /// The row of a place; none if there is no room for it.
    fn row(&mut self, place: &Place) -> Option<&mut Row> {
        if !self.places.contains_key(place) {
            if !self.fits(1, place.bytes()) {
                self.lost += 1;
                return None;
            }
            self.count += 1;
            self.bytes += place.bytes();
        }
        Some(self.places.entry(place.clone()).or_default())
    }

    pub(super) fn seen(&self) -> Seen {
        let mut refused: Vec<_> = self.refused.iter().map(Refusal::of).collect();
        let mut observations = Vec::new();
        for (place, row) in &self.places {
            match place.observations(row) {
                Some(of_place) => observations.extend(of_place),
                None => refused.push(Refusal {
                    host: place.host.clone(),
                    port: place.port,
                    why: format!("{} is no UTF-8", Shown(&place.binary)),
                    times: row.opaque + row.requests.values().sum::<u64>(),
                }),
            }
        }
        Seen {
            observations,
            refused,
            resolved: self.resolved.iter().cloned().collect(),
            lost: self.lost,
        }
    }
}

impl Place {
    /// None if a policy can't have these names.
    fn observations(&self, row: &Row) -> Option<Vec<Observation>> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let place = Observation {
            binary: text(&self.binary)?,
            sha256: Some(self.sha256),
            script: match &self.script {
                Some(script) => Some(text(script)?),
                None => None,
            },
            host: self.host.clone(),
            port: self.port,
            ..Observation::default()
        };
        let opaque = (row.opaque > 0).then(|| Observation {
            times: row.opaque,
            spoken: row.spoken.clone(),
            ..place.clone()
        });
        let requests = row.requests.iter().map(|(request, times)| Observation {
            request: Some(request.clone()),
            times: *times,
            ..place.clone()
        });
        let mut all: Vec<_> = opaque.into_iter().chain(requests).collect();
        // They were counted together.
        if let Some(first) = all.first_mut() {
            first.bytes = row.bytes;
        }
        Some(all)
    }
}

impl Refusal {
    fn of(((host, port, why), times): (&(String, u16, String), &u64)) -> Self {
        Self {
            host: host.clone(),
            port: *port,
            why: why.clone(),
            times: *times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_ASIDE, MOST_BYTES, Place, Rows};
    use crate::host::Host;
    use casemate_policy::learn::Spoken;

    fn place(binary: &[u8], host: &str) -> Place {
        Place {
            binary: binary.into(),
            sha256: [7; 32],
            script: None,
            host: host.to_owned(),
            port: 443,
        }
    }

    #[test]
    fn what_is_the_same_is_one_row() {
        let (mut rows, curl) = (Rows::default(), place(b"/usr/bin/curl", "a.example"));
        rows.connected(&curl, 1);
        rows.connected(&curl, 1);
        rows.spoke(&curl, Spoken::Tls);
        rows.moved(&curl, 30);
        rows.moved(&curl, 12);
        for path in ["/a", "/b", "/a"] {
            rows.requested(curl.clone(), "GET", path);
        }
        let seen = rows.seen();
        let told: Vec<_> = seen
            .observations
            .iter()
            .map(|own| {
                let path = own.request.as_ref().map(|(_, path)| &**path);
                (path, own.times, own.bytes, own.spoken.len())
            })
            .collect();
        assert_eq!(
            told,
            [
                (None, 2, 42, 1),
                (Some("/a"), 2, 0, 0),
                (Some("/b"), 1, 0, 0)
            ]
        );
        assert_eq!(seen.lost, 0);
    }

    #[test]
    fn a_connection_that_means_another_host_is_not_seen_at_the_first() {
        let mut rows = Rows::default();
        let (first, other) = (place(b"/a", "a.example"), place(b"/a", "b.example"));
        rows.connected(&first, 1);
        rows.disconnected(&first);
        rows.connected(&other, 1);
        let hosts: Vec<_> = rows
            .seen()
            .observations
            .into_iter()
            .map(|own| own.host)
            .collect();
        assert_eq!(hosts, ["b.example"]);
        rows.disconnected(&other);
        assert_eq!((rows.count, rows.bytes), (0, 0));
    }

    #[test]
    fn names_that_no_policy_can_have_are_told_apart() {
        let mut rows = Rows::default();
        rows.connected(&place(b"/a\xff", "a.example"), 1);
        let seen = rows.seen();
        assert!(seen.observations.is_empty());
        assert_eq!(seen.refused[0].why, "/a\\xff is no UTF-8");
    }

    #[test]
    fn a_program_can_not_make_it_grow() {
        let mut rows = Rows::default();
        for number in 0..2 * MOST {
            rows.connected(&place(b"/a", &format!("n{number}.example")), 1);
            rows.requested(place(b"/a", "n0.example"), "GET", &format!("/{number}"));
        }
        assert!(rows.count <= MOST, "{}", rows.count);
        assert_eq!(rows.lost as usize, 4 * MOST - rows.count);
        // What is known is still counted.
        rows.requested(place(b"/a", "n0.example"), "GET", "/0");
        rows.connected(&place(b"/a", "n0.example"), 1);
        assert_eq!(rows.lost as usize, 4 * MOST - rows.count);
        let mut rows = Rows::default();
        let long = "x".repeat(MOST_BYTES / 4);
        for number in 0..8 {
            rows.requested(
                place(b"/a", "a.example"),
                "GET",
                &format!("/{number}{long}"),
            );
        }
        assert!(
            rows.bytes <= MOST_BYTES && rows.lost == 5,
            "{} lost",
            rows.lost
        );
        for number in 0..2 * MOST_ASIDE {
            let name = format!("n{number}.example");
            rows.refused(&name, 1, "so");
            rows.resolved(&Host::parse(&name).unwrap());
        }
        let seen = rows.seen();
        assert_eq!(
            (seen.refused.len(), seen.resolved.len()),
            (MOST_ASIDE, MOST_ASIDE)
        );
    }
}
