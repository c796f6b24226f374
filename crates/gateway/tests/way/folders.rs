//! A real server of folders, in all three modes.

use crate::world::*;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Python's own; none if there is no Python.
struct Python(Child, u16);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python(folder: &std::path::Path) -> Option<Python> {
    let mut child = Command::new("python3")
        .args([
            "-u",
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "0",
            "--directory",
        ])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // Serving HTTP on 127.0.0.1 port 43210 (…
    let mut line = String::new();
    BufReader::new(child.stdout.take()?)
        .read_line(&mut line)
        .ok()?;
    let port = line
        .split("port ")
        .nth(1)?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some(Python(child, port))
}

#[tokio::test]
async fn a_folder_without_its_slash_is_found_in_all_modes() {
    let world = World::new().await;
    let files = world.path("files");
    std::fs::create_dir_all(files.join("a folder/deep")).unwrap();
    std::fs::write(files.join("a folder/deep/x.txt"), "found").unwrap();
    let Some(python) = python(&files) else {
        eprintln!("skipped: there is no python3");
        return;
    };
    world.port(8000, ([127, 0, 0, 1], python.1).into());
    let headers = format!("E2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: 8000\r\n", id());
    let prefix = format!("/proxy/{}/8000", id());
    for (name, prefix, more) in [
        (host(8000), "", ""),
        ("localhost".into(), "", &*headers),
        ("localhost".into(), &*prefix, ""),
    ] {
        let ask = async |path: &str| {
            world
                .ask(&format!(
                    "GET {path} HTTP/1.1\r\nHost: {name}\r\n{more}\r\n"
                ))
                .await
        };
        let moved = ask(&format!("{prefix}/a%20folder?x=y")).await;
        assert_eq!(moved.status(), 301, "{moved:?}");
        let place = moved.header("location").unwrap().to_owned();
        assert_eq!(place, format!("{prefix}/a%20folder/?x=y"));
        // No loop: the place that was given is the folder.
        let listing = ask(&place).await;
        assert_eq!(listing.status(), 200);
        assert!(listing.text().contains("deep/"));
        let file = ask(&format!("{prefix}/a%20folder/deep/x.txt")).await;
        assert_eq!(file.text(), "found");
    }
}
