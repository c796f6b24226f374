//! Compiles `proto/` without protoc: protox parses, connectrpc-build generates.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 2] = ["process.proto", "filesystem.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let parsed = protox::compile(FILES, ["proto"])?;
    let set = PathBuf::from(std::env::var("OUT_DIR")?).join("contract.bin");
    std::fs::write(&set, prost::Message::encode_to_vec(&parsed))?;
    connectrpc_build::Config::new()
        .descriptor_set(set)
        .files(&FILES)
        .include_file("_connectrpc.rs")
        .compile()?;
    Ok(())
}
