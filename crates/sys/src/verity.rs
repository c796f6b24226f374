//! fs-verity: files whose contents the kernel holds to a digest
//! (Documentation/filesystems/fsverity.rst).

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};

/// `_IOWR('f', 134, struct fsverity_digest)`.
const FS_IOC_MEASURE_VERITY: libc::c_ulong = 0xc004_6686;

/// The file systems that do fs-verity themselves. Others (FUSE) pass the question on to a
/// program, which may answer anything.
const KNOWN: [libc::c_long; 3] = [
    libc::EXT4_SUPER_MAGIC,
    libc::BTRFS_SUPER_MAGIC,
    libc::F2FS_SUPER_MAGIC,
];

#[repr(C)]
struct FsverityDigest {
    algorithm: u16,
    size: u16,
    digest: [u8; 64],
}

/// The algorithm's number and the digest of the file's Merkle tree, which the kernel checks on
/// every read; `None` if the file has none.
///
/// # Errors
/// The ioctl failed for another reason than that there is no digest.
pub fn measure(file: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let kind = rustix::fs::fstatfs(file)?.f_type;
    if !KNOWN.contains(&(kind as libc::c_long)) {
        return Ok(None);
    }
    let mut found = FsverityDigest {
        algorithm: 0,
        size: 64,
        digest: [0; 64],
    };
    let file = file.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `size` bytes after the two fields, which is what there is.
    let result = unsafe { libc::ioctl(file, FS_IOC_MEASURE_VERITY, &raw mut found) };
    match check(result.into()) {
        Err(Errno::NODATA | Errno::NOTTY | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
        Ok(_) => {
            let digest = found
                .digest
                .get(..found.size.into())
                .ok_or(Errno::OVERFLOW)?;
            let mut measured = found.algorithm.to_le_bytes().to_vec();
            measured.extend(digest);
            Ok(Some(measured))
        }
    }
}
