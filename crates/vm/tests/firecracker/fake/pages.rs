//! How a fake meets a page server, which is the one place where something truer can be put: a peer
//! that passes a userfaultfd(2) and has memory behind it.

use serde_json::json;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Memory that a page server has.
pub(super) struct Served {
    /// What a page begins with, once it is there.
    pub(super) peek: Box<dyn Fn(u64) -> u8 + Send>,
    /// Kept as long as the machine: its end is how a page server learns of that.
    _stream: UnixStream,
}

/// Sends what Firecracker sends once its memory is registered: one message, of the regions. With it
/// comes a descriptor, which this one lacks, so that its pages stay as they are.
pub(super) fn meet(socket: &Path, size: u64) -> std::io::Result<Served> {
    let mut stream = UnixStream::connect(socket)?;
    let regions = json!([{
        "base_host_virt_addr": 0x7f00_0000_0000_u64,
        "size": size,
        "offset": 0,
        "page_size": 4096,
        "page_size_kib": 4096,
    }]);
    stream.write_all(regions.to_string().as_bytes())?;
    Ok(Served {
        peek: Box::new(|_| 0),
        _stream: stream,
    })
}
