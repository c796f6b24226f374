//! What a guest answers over vsock, a line each: the words of `crate::guest`.

use super::machine::{Machine, Phase};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

/// Takes connections of the host's.
pub(super) fn listen(path: &str, machine: &Arc<Mutex<Machine>>) -> std::io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let machine = Arc::clone(machine);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (machine, mut era) = (Arc::clone(&machine), {
                let machine = machine.lock().expect("no panic");
                machine.era.subscribe()
            });
            era.mark_unchanged();
            tokio::spawn(async move {
                tokio::select! {
                    _ = era.changed() => {}
                    () = serve(stream, &machine) => {}
                }
            });
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, machine: &Mutex<Machine>) {
    let mut stream = BufReader::new(stream);
    let wanted = format!("CONNECT {}", casemate_vm::firecracker::PORT);
    if line(&mut stream).await != Some(wanted) {
        return;
    }
    runs(machine).await;
    let _ = stream.get_mut().write_all(b"OK 1073741824\n").await;
    while let Some(line) = line(&mut stream).await {
        runs(machine).await;
        let answer = answer(&line, &mut machine.lock().expect("no panic"));
        let _ = stream
            .get_mut()
            .write_all(format!("{answer}\n").as_bytes())
            .await;
    }
}

async fn line(stream: &mut BufReader<UnixStream>) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}

/// A guest that stands still answers nobody.
async fn runs(machine: &Mutex<Machine>) {
    while machine.lock().expect("no panic").phase != Phase::Running {
        sleep(Duration::from_millis(2)).await;
    }
}

fn answer(line: &str, machine: &mut Machine) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let drive = |number: &str| {
        let drive = &machine.put[&format!("/drives/disk{number}")];
        drive["path_on_host"].as_str().expect("a path").to_owned()
    };
    match words[..] {
        ["echo", what] => what.to_owned(),
        ["poke", page, byte] => {
            let byte = byte.parse().expect("a byte");
            machine.memory.poke(page.parse().expect("a page"), byte);
            "poked".to_owned()
        }
        ["peek", page] => machine
            .memory
            .peek(page.parse().expect("a page"))
            .to_string(),
        ["write", number, what] => {
            let disk = File::options()
                .write(true)
                .open(drive(number))
                .expect("a disk");
            disk.write_all_at(format!("{what:<16}").as_bytes(), 0)
                .expect("it is written");
            "written".to_owned()
        }
        ["read", number] => {
            let mut begin = [0; 16];
            let mut disk = File::open(drive(number)).expect("a disk");
            disk.read_exact(&mut begin).expect("it is read");
            String::from_utf8_lossy(&begin).trim().to_owned()
        }
        ["whoami"] => match &machine.metadata {
            Value::Null => "nobody".to_owned(),
            data => data.to_string(),
        },
        ["tap"] => machine.put["/network-interfaces/eth0"]["host_dev_name"].to_string(),
        ["crash"] => {
            println!("[    1.0] Kernel panic - not syncing: it was asked to");
            std::process::exit(0)
        }
        ["off"] => std::process::exit(0),
        ["status"] => fs::read_to_string("/proc/self/status")
            .expect("it is there")
            .replace('\n', ";"),
        _ => "what?".to_owned(),
    }
}
