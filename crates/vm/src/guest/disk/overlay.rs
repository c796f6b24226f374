//! A disk that shows others where it hasn't been written: an empty image in the form of qcow2, version
//! 3 (docs/interop/qcow2.txt of QEMU). What it is laid over is told to QEMU by name each time, and
//! isn't in the file: that is written by QEMU, which may be its guest's by then.

use casemate_core::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a cluster, and the exponent of that.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one entry of the first table stands for: a cluster of entries of 8 bytes, for a cluster each.
const ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// Clusters of an empty image: its header, the table of reference counts and one block of that, and
/// the first table.
const CLUSTERS: usize = 4;
/// The longest disk: the first table is one cluster.
const LONGEST: u64 = CLUSTER / 8 * ENTRY;
const HEADER: u32 = 104;

/// Makes `to` an empty one over a raw image; only its owner may open it. It must not be there yet.
pub fn overlay(image: &Path, to: &Path) -> Result<()> {
    let failed = |what, path: &Path, error| Error::io(what, &error).on(path.display());
    let size = File::open(image).and_then(|image| image.metadata());
    let size = size.map_err(|e| failed("open", image, e))?.len();
    if size == 0 || size > LONGEST {
        let why = format!("{size} bytes are no disk");
        return Err(Error::rule("lay a disk over", why).on(image.display()));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(to).map_err(|e| failed("make", to, e))?;
    written(&mut file, size).map_err(|error| {
        let _ = std::fs::remove_file(to);
        failed("write", to, error)
    })
}

fn written(file: &mut File, size: u64) -> io::Result<()> {
    let at = |cluster: u64| cluster * CLUSTER;
    let mut bytes = vec![0; CLUSTERS << CLUSTER_BITS];
    let mut put = |offset: usize, field: &[u8]| {
        bytes[offset..offset + field.len()].copy_from_slice(field);
    };
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    // No name of what is below it.
    put(20, &CLUSTER_BITS.to_be_bytes());
    put(24, &size.to_be_bytes());
    let entries = u32::try_from(size.div_ceil(ENTRY)).map_err(io::Error::other)?;
    put(36, &entries.to_be_bytes());
    put(40, &at(3).to_be_bytes());
    put(48, &at(1).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    // Reference counts of 16 bits.
    put(96, &4_u32.to_be_bytes());
    put(100, &HEADER.to_be_bytes());
    put(at(1) as usize, &at(2).to_be_bytes());
    for cluster in 0..CLUSTERS {
        put(at(2) as usize + cluster * 2, &1_u16.to_be_bytes());
    }
    file.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn it_is_what_others_call_one() {
        let folder = tempfile::tempdir().unwrap();
        let (image, to) = (folder.path().join("image"), folder.path().join("overlay"));
        for size in [1 << 20, ENTRY + 512, 4 << 40] {
            File::create(&image).unwrap().set_len(size).unwrap();
            overlay(&image, &to).unwrap();
            let checked = Command::new("qemu-img").arg("check").arg(&to).output();
            match checked {
                Ok(checked) => assert!(checked.status.success(), "{checked:?}"),
                Err(_) => println!("skipped: qemu-img isn't here to look at it"),
            }
            overlay(&image, &to).unwrap_err();
            std::fs::remove_file(&to).unwrap();
        }
    }

    #[test]
    fn what_is_no_disk_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let (image, to) = (folder.path().join("image"), folder.path().join("overlay"));
        overlay(&image, &to).unwrap_err();
        File::create(&image).unwrap();
        overlay(&image, &to).unwrap_err();
        assert!(!to.exists());
    }
}
