//! Firecracker as a monitor. There is none here, so that a fake of our own is in its place: a process
//! that answers the API by its documented rules. What can be seen from outside, the tests in [`life`]
//! ask of a real one as well, where `FIRECRACKER_BIN` names its program and `FIRECRACKER_KERNEL` a
//! kernel that has virtio-mmio and vsock built in.

mod contract;
mod fake;
mod faults;
mod guest;
mod jailed;
mod life;
mod served;
mod world;

/// The fake, in a process of its own: `world` starts it so.
#[tokio::test]
#[ignore = "it is Firecracker, for other tests"]
async fn firecracker() {
    let Ok(args) = std::env::var("FAKE_ARGS") else {
        return;
    };
    let will = std::env::var("FAKE_WILL").unwrap_or_default();
    fake::run(&args, &will).await;
}

/// A page server that serves nothing, likewise.
#[test]
#[ignore = "it is a page server, for other tests"]
fn page_server() {
    let Ok(args) = std::env::var("FAKE_ARGS") else {
        return;
    };
    let will = std::env::var("FAKE_WILL").unwrap_or_default();
    served::run(&args, &will);
}

/// The first program of a real machine.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    guest::run();
}
