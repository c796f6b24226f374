//! Custom sections that are meant for the canister's users: `icp:public NAME` and
//! `icp:private NAME`. Others are the toolchain's and are left out.

use std::collections::HashSet;

use crate::module::profile::Metadata;
use crate::module::refusal::{Counted, Named};
use crate::module::source::{Source, at_most};
use crate::module::{Limits, Refusal};

pub(super) fn check(source: &Source<'_>, limits: &Limits) -> Result<Vec<Metadata>, Refusal> {
    bound(source, limits)?;
    let mut seen = HashSet::new();
    let mut metadata = Vec::new();
    for &(section, contents) in &source.metadata {
        let (public, name) = visibility(section)?;
        if !seen.insert(name) {
            let name = Named::new(name);
            return Err(Refusal::DuplicateMetadata { name });
        }
        metadata.push(Metadata {
            name: name.to_owned(),
            public,
            contents: contents.to_vec(),
        });
    }
    Ok(metadata)
}

fn bound(source: &Source<'_>, limits: &Limits) -> Result<(), Refusal> {
    let sections = source.metadata.len() as u64;
    let limit = limits.metadata_sections as u64;
    let hint = "leave out metadata that nobody reads";
    at_most(Counted::Metadata, sections, limit, hint)?;
    let sizes = source.metadata.iter().map(|(_, bytes)| bytes.len() as u64);
    let limit = limits.metadata_bytes as u64;
    at_most(Counted::MetadataBytes, sizes.sum::<u64>(), limit, hint)
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
