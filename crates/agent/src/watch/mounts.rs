//! File systems whose changes happen elsewhere.
//!
//! inotify(7) sees what goes through this kernel. On a network file system others write too, and
//! a watch would be silent about most changes: it is refused unless the client knows.

use crate::fault::{Fault, Result};
use rustix::fs::statfs;
use std::path::Path;

/// Magic numbers of <linux/magic.h> and of statfs(2).
const REMOTE: [u32; 12] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xfe53_4d42, // SMB 2
    0xff53_4d42, // CIFS
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x6b41_4653, // kAFS
    0x7375_7245, // Coda
    0x564c,      // NCP
    0x0bd0_0bd0, // Lustre
];

/// Whether a folder lies on such a file system.
pub(super) fn is_remote(path: &Path) -> Result<bool> {
    let found = statfs(path).map_err(|errno| Fault::errno("watch", path, errno))?;
    Ok(u32::try_from(found.f_type & 0xffff_ffff).is_ok_and(|magic| REMOTE.contains(&magic)))
}
