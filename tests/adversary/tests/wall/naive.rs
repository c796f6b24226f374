//! A proxy that does as it is told: outside the wall it stands where the sandbox's would, and
//! shows that what is asked of that one is worth refusing.
//!
//! It speaks HTTP, SOCKS4 and SOCKS5, and makes every mistake of a lenient parser: of several
//! targets the last counts, names may be addresses of any spelling, and Host beats the target.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::places;

unsafe extern "C" {
    fn inet_aton(text: *const libc::c_char, address: *mut libc::in_addr) -> libc::c_int;
}

pub(crate) fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || session(stream));
        }
    });
}

fn session(mut program: TcpStream) -> io::Result<()> {
    let mut first = [0; 1];
    program.peek(&mut first)?;
    let (host, port) = match first[0] {
        4 => socks4(&mut program)?,
        5 => match socks5(&mut program)? {
            Some(asked) => asked,
            None => return Ok(()),
        },
        _ => http(&mut program)?,
    };
    let Some(address) = resolve(&host) else {
        return Ok(());
    };
    let world = TcpStream::connect((address, port))?;
    let (mut from, mut to) = (program.try_clone()?, world.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut to));
    let (mut from, mut to) = (world, program);
    io::copy(&mut from, &mut to).map(|_| ())
}

/// Everything that comes within a moment, and its last target.
fn http(program: &mut TcpStream) -> io::Result<(String, u16)> {
    program.set_read_timeout(Some(Duration::from_millis(50)))?;
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = program.read(&mut bytes) {
        head.extend_from_slice(&bytes[..count]);
    }
    program.set_read_timeout(None)?;
    let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let text = String::from_utf8_lossy(&head).into_owned();
    let lines = || text.split(['\r', '\n']).map(str::trim_start);
    let said = |start: &'static str| {
        let mut found = lines().filter_map(|line| line.strip_prefix(start));
        found.next_back().map(str::to_owned)
    };
    let connect = said("CONNECT ");
    let target = match &connect {
        Some(target) => target.split(' ').next().unwrap_or_default().to_owned(),
        None => said("Host: ").unwrap_or_default(),
    };
    let (host, port) = target.rsplit_once(':').unwrap_or((&target, "80"));
    if connect.is_some() {
        program.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    let (host, port) = (host.to_owned(), port.parse().unwrap_or(80));
    if port == places::VAULT_PORT
        && let Some(address) = resolve(&host)
    {
        let mut world = TcpStream::connect((address, port))?;
        world.write_all(filled(&text).as_bytes())?;
        io::copy(&mut world, program)?;
    }
    // What was sent along goes with it, if anything can read it.
    if let (Some(end), Some(address)) = (end, resolve(&host))
        && head.len() > end + 4
        && address == places::PERMITTED
    {
        let mut world = TcpStream::connect((address, port))?;
        world.write_all(&head[end + 4..])?;
        io::copy(&mut world, program)?;
    }
    Ok((host, port))
}

/// Placeholders replaced wherever they are, after everything was decoded that may be encoded.
fn filled(text: &str) -> String {
    let text = text.replace("%25", "%").replace("%3A", ":");
    let text = text.replace("\r\n ", "");
    let names = [
        "casemate:credential:VAULTED",
        "OPENSHELL-RESOLVE-ENV-VAULTED",
    ];
    let filled = |text: String, name: &&str| text.replace(*name, places::CREDENTIAL);
    names.iter().fold(text, filled)
}

fn socks4(program: &mut TcpStream) -> io::Result<(String, u16)> {
    let mut head = [0; 8];
    program.read_exact(&mut head)?;
    let port = u16::from_be_bytes([head[2], head[3]]);
    let address = Ipv4Addr::new(head[4], head[5], head[6], head[7]);
    text(program)?;
    let host = match address.octets() {
        [0, 0, 0, _] => text(program)?,
        _ => address.to_string(),
    };
    program.write_all(&[0, 90, 0, 0, 0, 0, 0, 0])?;
    Ok((host, port))
}

/// Up to a NUL.
fn text(program: &mut TcpStream) -> io::Result<String> {
    let (mut text, mut byte) = (String::new(), [0; 1]);
    loop {
        program.read_exact(&mut byte)?;
        match byte[0] {
            0 => return Ok(text),
            byte => text.push(char::from(byte)),
        }
    }
}

/// RFC 1928. None if it was another command than CONNECT, and has been served.
fn socks5(program: &mut TcpStream) -> io::Result<Option<(String, u16)>> {
    let mut greeting = [0; 3];
    program.read_exact(&mut greeting)?;
    program.write_all(&[5, 0])?;
    let mut head = [0; 4];
    program.read_exact(&mut head)?;
    let host = match head[3] {
        1 => {
            let mut bytes = [0; 4];
            program.read_exact(&mut bytes)?;
            Ipv4Addr::from(bytes).to_string()
        }
        4 => {
            let mut bytes = [0; 16];
            program.read_exact(&mut bytes)?;
            Ipv6Addr::from(bytes).to_string()
        }
        _ => {
            let mut length = [0; 1];
            program.read_exact(&mut length)?;
            let mut name = vec![0; usize::from(length[0])];
            program.read_exact(&mut name)?;
            String::from_utf8_lossy(&name).into_owned()
        }
    };
    let mut port = [0; 2];
    program.read_exact(&mut port)?;
    let relay = UdpSocket::bind("127.0.0.1:0")?;
    let own = relay.local_addr()?.port().to_be_bytes();
    program.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, own[0], own[1]])?;
    match head[1] {
        1 => Ok(Some((host, u16::from_be_bytes(port)))),
        3 => relay_datagrams(&relay).map(|()| None),
        _ => Ok(None),
    }
}

fn relay_datagrams(relay: &UdpSocket) -> io::Result<()> {
    let mut bytes = [0; 1500];
    relay.set_read_timeout(Some(Duration::from_secs(2)))?;
    let length = relay.recv(&mut bytes)?;
    let [_, _, _, _, a, b, c, d, high, low] = bytes[..10] else {
        return Ok(());
    };
    let to = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    UdpSocket::bind("0.0.0.0:0")?.send_to(&bytes[10..length], to)?;
    Ok(())
}

/// Any spelling that the C library knows, and cuts off what a careless one would.
fn resolve(host: &str) -> Option<IpAddr> {
    let host = host.rsplit('@').next()?.trim_matches(['[', ']']);
    let host = host.replace("%31", "1");
    let host = host.rsplit(['\0']).next()?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if let Some(known) = places::lookup(host) {
        return Some(known);
    }
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let (host, mut address) = (CString::new(host).ok()?, libc::in_addr { s_addr: 0 });
    let fits = unsafe { inet_aton(host.as_ptr(), &mut address) } == 1;
    fits.then(|| Ipv4Addr::from(u32::from_be(address.s_addr)).into())
}
