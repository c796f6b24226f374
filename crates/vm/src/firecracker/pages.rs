//! A machine's page server: started before its memory is asked for, and watched, since a guest whose
//! pages nobody serves stands still in silence.

use super::PAGES;
use super::place::Place;
use super::settings::PageServer;
use crate::driver::How;
use crate::monitor::fate::Fate;
use crate::monitor::process::{Process, Start};
use casemate_core::error::{Error, Result};
use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a machine may take to be seen to have ended, and how often it is looked.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 20;

/// One that listens. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pages {
    process: Arc<Process>,
    watch: Option<JoinHandle<()>>,
}

impl Pages {
    pub(super) async fn start(
        server: &PageServer,
        snapshot: &Path,
        place: &Place,
        dies_with_this: bool,
        patience: Duration,
    ) -> Result<Self> {
        let socket = place.path(PAGES);
        let mut args = server.args.clone();
        let snapshot = std::path::absolute(snapshot)
            .map_err(|error| Error::io("find", &error).on(snapshot.display()))?;
        let more: [OsString; 4] = [
            "--socket".into(),
            // From its folder, since the whole may be too long for a socket.
            PAGES.into(),
            "--snapshot".into(),
            snapshot.into(),
        ];
        args.extend(more);
        let start = Start {
            name: "a page server",
            program: &server.program,
            args,
            folder: &place.root,
            dies_with_this,
            makes_no_holes: false,
            log: None,
        };
        let process = Arc::new(Process::start(start, Arc::default())?);
        let deadline = Instant::now() + patience;
        let is_there = || {
            socket
                .symlink_metadata()
                .is_ok_and(|is| is.file_type().is_socket())
        };
        while !is_there() {
            let fail = |why: String| Err(Error::rule("start a page server", why));
            if let Some(ended) = process.has_ended() {
                return fail(ended.to_string());
            }
            if Instant::now() > deadline {
                return fail(format!("it doesn't listen in {} s", patience.as_secs_f32()));
            }
            sleep(Duration::from_millis(1)).await;
        }
        place.give(&socket)?;
        Ok(Self {
            process,
            watch: None,
        })
    }

    /// From now on the machine ends with it.
    pub(super) fn bind(&mut self, machine: &Process, fate: &Arc<Fate>) -> Result<()> {
        let (process, fate) = (Arc::clone(&self.process), Arc::clone(fate));
        let (grip, over) = (machine.grip()?, machine.over());
        self.watch = Some(tokio::spawn(async move {
            let ended = tokio::select! {
                () = over => return process.kill(),
                ended = process.ended() => ended,
            };
            // It may have ended since the machine has, of which nobody was told yet.
            for _ in 0..LOOKS {
                if grip.has_ended() {
                    return;
                }
                sleep(LOOK).await;
            }
            fate.note(How::Lost(format!("its page server is gone: {ended}")));
            grip.kill();
        }));
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        self.process.kill();
    }
}
