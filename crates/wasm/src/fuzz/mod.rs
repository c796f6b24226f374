//! What is done with bytes that may be anybody's: a function for each reader, which must neither
//! panic, nor take more than its share, nor believe what can't be.
//!
//! The targets of cargo-fuzz (`fuzz/` at the top) call these; the tests here run each with a fixed
//! number of inputs, some random and most of them valid ones that were changed. A reader whose form
//! is one and only is asked to write what it has read, which has to be what was there.
//!
//! - [`wire`]: frames and what is in them
//! - [`kept`][self::kept]: files
//! - [`modules`]: what a user hands in, and what a compiler makes of it

mod kept;
mod modules;
#[cfg(test)]
mod tests;
mod wire;

/// A reader.
pub struct Target {
    /// The name of its program in `fuzz/`.
    pub name: &'static str,
    /// Reads bytes.
    pub read: fn(&[u8]),
    /// Valid ones, to begin with.
    pub valid: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frames",
        read: wire::frames,
        valid: wire::some_frames,
    },
    Target {
        name: "calls",
        read: wire::calls,
        valid: wire::some_calls,
    },
    Target {
        name: "outcomes",
        read: wire::outcomes,
        valid: wire::some_outcomes,
    },
    Target {
        name: "requests",
        read: wire::requests,
        valid: wire::some_requests,
    },
    Target {
        name: "replies",
        read: wire::replies,
        valid: wire::some_replies,
    },
    Target {
        name: "reviews",
        read: wire::reviews,
        valid: wire::some_replies,
    },
    Target {
        name: "runs",
        read: wire::runs,
        valid: wire::some_runs,
    },
    Target {
        name: "documents",
        read: kept::documents,
        valid: kept::some_documents,
    },
    Target {
        name: "journals",
        read: kept::journals,
        valid: kept::some_journals,
    },
    Target {
        name: "overlays",
        read: kept::overlays,
        valid: kept::some_overlays,
    },
    Target {
        name: "modules",
        read: modules::modules,
        valid: modules::some_modules,
    },
    Target {
        name: "bundles",
        read: modules::bundles,
        valid: modules::some_bundles,
    },
];

/// Reads bytes with the target of this name.
///
/// # Panics
/// There is no such target, or it has found something.
pub fn read(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target is called {name}"));
    (target.read)(bytes);
}
