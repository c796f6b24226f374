//! Custom sections that are meant for the canister's users: `icp:public NAME` and
//! `icp:private NAME`. Others are the toolchain's and are left out.

use std::collections::HashSet;

use crate::module::refusal::{Counted, Named};
use crate::module::source::{Source, at_most};
use crate::module::{Limits, Refusal};

/// The Candid interface, if the module has one that everybody may read.
pub(super) fn check<'a>(source: &Source<'a>, limits: &Limits) -> Result<Option<&'a str>, Refusal> {
    let sections = source.metadata.len() as u64;
    let hint = "leave out metadata that nobody reads";
    at_most(
        Counted::Metadata,
        sections,
        limits.metadata_sections as u64,
        hint,
    )?;
    let bytes: usize = source.metadata.iter().map(|(_, bytes)| bytes.len()).sum();
    let limit = limits.metadata_bytes as u64;
    at_most(Counted::MetadataBytes, bytes as u64, limit, hint)?;

    let mut seen = HashSet::new();
    let mut candid = None;
    for &(section, contents) in &source.metadata {
        let (public, name) = visibility(section)?;
        if !seen.insert(name) {
            let name = Named::new(name);
            return Err(Refusal::DuplicateMetadata { name });
        }
        if public && name == "candid:service" {
            candid = std::str::from_utf8(contents).ok();
        }
    }
    Ok(candid)
}

fn visibility(section: &str) -> Result<(bool, &str), Refusal> {
    let public = section.strip_prefix("icp:public ").map(|name| (true, name));
    let private = section
        .strip_prefix("icp:private ")
        .map(|name| (false, name));
    public.or(private).ok_or_else(|| Refusal::MetadataName {
        name: Named::new(section),
    })
}
