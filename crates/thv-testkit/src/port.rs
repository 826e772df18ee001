//! Ports for servers that a test does not start itself, whose number it has to know beforehand.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that is free in both address families now. It is none of those that the system gives to connections, and no
/// other test of this process gets it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 400 * 50;
    loop {
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + (start + number) % 22_000).expect("a port");
        // A machine without one of the families has it free.
        let is_free = |address: IpAddr| match TcpListener::bind((address, port)) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::AddrInUse,
        };
        if is_free(Ipv4Addr::LOCALHOST.into()) && is_free(Ipv6Addr::LOCALHOST.into()) {
            return port;
        }
    }
}
