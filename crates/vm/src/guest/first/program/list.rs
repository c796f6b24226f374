//! The list of modules, and numbers as text.

use core::ffi::CStr;

/// The paths in a list: each ends with a zero byte. What has none is no path.
pub(crate) fn paths(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|byte| *byte == 0)
        .filter_map(|path| CStr::from_bytes_with_nul(path).ok())
        .filter(|path| !path.is_empty())
}

/// A number in decimal digits, at the end of `room`.
pub(crate) fn digits(mut number: u32, room: &mut [u8; 10]) -> &[u8] {
    let mut start = room.len();
    for place in room.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    room.get(start..).unwrap_or_default()
}
