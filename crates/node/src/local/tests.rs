//! The machine's side, with a driver that only says what it was told.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use super::{Handle, Local};
use crate::driver::{Attached, Body, Driver, Parting, Rest};
use casemate_core::error::{Error, Result};
use casemate_core::node::{Door, Node, Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, Resources, SandboxId, SnapshotId, Usage, Wish};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What was done to whom, in order.
type Told = Arc<Mutex<Vec<String>>>;

struct Play {
    told: Told,
    /// The step at which its bodies fail.
    fails: &'static str,
    /// Where what is paused rests.
    rest: Rest,
    left: Vec<SandboxId>,
}

struct Actor {
    id: Mutex<SandboxId>,
    told: Told,
    fails: &'static str,
    rest: Rest,
    /// It is on disk, should it end.
    stored: AtomicBool,
    gone: watch::Sender<bool>,
}

impl Actor {
    fn tell(&self, step: &str) -> Result<()> {
        let line = format!("{step} {}", self.id.lock().unwrap());
        self.told.lock().unwrap().push(line);
        match self.fails == step {
            true => Err(Error::rule(step, "it fails")),
            false => Ok(()),
        }
    }

    fn reply(&self, step: &'static str) -> Reply<'_, ()> {
        Box::pin(async move { Ok(self.tell(step)?) })
    }
}

impl Play {
    fn body(&self, id: &SandboxId) -> Arc<Actor> {
        Arc::new(Actor {
            id: Mutex::new(id.clone()),
            told: Arc::clone(&self.told),
            fails: self.fails,
            rest: self.rest,
            stored: AtomicBool::new(false),
            gone: watch::Sender::new(false),
        })
    }
}

impl Driver for Play {
    fn stores(&self) -> bool {
        self.rest == Rest::Stored
    }

    fn check(&self, _: &Wish) -> Result<(), Refusal> {
        Ok(())
    }

    fn ready(&self) -> Reply<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn check_network(&self, _: &Outward) -> Result<(), Refusal> {
        Ok(())
    }

    fn start(&self, id: &SandboxId, _: &Wish) -> Result<Arc<dyn Body>> {
        Ok(self.body(id))
    }

    fn left(&self) -> Vec<SandboxId> {
        self.left.clone()
    }

    fn attach<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Option<Attached>> {
        let body = self.body(id);
        let body = match self.rest {
            Rest::Held => Some(body as Arc<dyn Body>),
            Rest::Stored => None,
        };
        Box::pin(async move { Ok(Some(Attached { body, paused: true })) })
    }

    fn wake(&self, id: &SandboxId, _: &Wish, _: Keep) -> Result<Arc<dyn Body>> {
        let body = self.body(id);
        body.stored.store(true, Ordering::Relaxed);
        body.tell("wake")?;
        Ok(body)
    }

    fn remove(&self, id: &SandboxId) {
        let line = format!("remove {id}");
        self.told.lock().unwrap().push(line);
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        Vec::new()
    }

    fn discard(&self, _: &SnapshotId) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Body for Actor {
    fn up(&self) -> Reply<'_, ()> {
        self.reply("up")
    }

    fn name(&self, id: &SandboxId, _: &Wish) -> Result<()> {
        *self.id.lock().unwrap() = id.clone();
        self.tell("name")
    }

    fn own(&self) -> Result<()> {
        self.tell("own")?;
        self.stored.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn lives(&self) -> bool {
        !*self.gone.borrow()
    }

    /// An agent that is content with whatever it's told.
    fn dial(&self, _: Door) -> Reply<'_, OwnedFd> {
        Box::pin(async move {
            self.tell("dial")?;
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            std::thread::spawn(move || {
                theirs.read_exact(&mut [0]).unwrap();
                theirs.write_all(b"HTTP/1.1 204 \r\n\r\n").unwrap();
                let _ = theirs.read_to_end(&mut Vec::new());
            });
            Ok(ours.into())
        })
    }

    fn pause(&self, _: Keep) -> Reply<'_, Rest> {
        Box::pin(async move {
            self.tell("pause")?;
            if self.rest == Rest::Stored {
                self.stored.store(true, Ordering::Relaxed);
                self.gone.send_replace(true);
            }
            Ok(self.rest)
        })
    }

    fn snapshot<'a>(&'a self, _: &'a SnapshotId, _: Keep) -> Reply<'a, ()> {
        self.reply("snapshot")
    }

    fn resume(&self) -> Reply<'_, ()> {
        self.reply("resume")
    }

    fn restrict<'a>(&'a self, _: &'a Outward) -> Reply<'a, ()> {
        self.reply("restrict")
    }

    fn usage(&self) -> Reply<'_, Usage> {
        Box::pin(async move { Ok(self.tell("usage").map(|()| Usage::default())?) })
    }

    fn end(&self) -> Reply<'_, ()> {
        self.gone.send_replace(true);
        self.reply("end")
    }

    fn cut(&self) {
        self.gone.send_replace(true);
        let _ = self.tell("cut");
    }

    fn ended(&self) -> Reply<'_, Parting> {
        Box::pin(async move {
            let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
            let _ = self.tell("ended");
            Ok(match self.stored.load(Ordering::Relaxed) {
                true => Parting::Stored,
                false => Parting::Over(String::new()),
            })
        })
    }
}

fn id(letter: u8) -> SandboxId {
    SandboxId::of([letter; 20])
}

fn wish() -> Wish {
    Wish {
        template: "base".into(),
        from: None,
        environment: Default::default(),
        resources: Resources::default(),
        network: Outward::default(),
        access_token: None,
    }
}

async fn node(fails: &'static str, left: Vec<SandboxId>) -> (Handle, Told) {
    resting(Rest::Held, fails, left).await
}

/// One whose paused sandboxes rest there.
async fn resting(rest: Rest, fails: &'static str, left: Vec<SandboxId>) -> (Handle, Told) {
    let told = Told::default();
    let play = Play {
        told: Arc::clone(&told),
        fails,
        rest,
        left,
    };
    (Handle(Local::open(Arc::new(play), 0).await), told)
}

/// The steps that were made, once there are so many.
async fn steps(told: &Told, many: usize) -> Vec<String> {
    loop {
        let steps = told.lock().unwrap().clone();
        if steps.len() >= many {
            let words = steps.iter().filter_map(|line| line.split(' ').next());
            return words.map(str::to_owned).collect();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whatever_fails_is_taken_down_once() {
    for (fails, before) in [
        ("up", vec!["up"]),
        ("dial", vec!["up", "dial"]),
        ("own", vec!["up", "dial", "own"]),
    ] {
        let (node, told) = node(fails, Vec::new()).await;
        let refused = node.create(&id(1), &wish()).await.unwrap_err();
        assert!(refused.to_string().contains("it fails"), "{refused}");
        assert!(refused.to_string().contains(id(1).as_str()), "{refused}");
        let expected = [before, vec!["cut", "ended"]].concat();
        assert_eq!(steps(&told, expected.len()).await, expected);
        assert_eq!(node.list().await.unwrap(), []);
        assert_eq!(node.kill(&id(1)).await, Err(Refusal::Unknown));
        assert_eq!(steps(&told, 0).await, expected);
    }
}

#[tokio::test]
async fn a_life() {
    let (node, told) = node("", Vec::new()).await;
    node.create(&id(1), &wish()).await.unwrap();
    node.pause(&id(1), Keep::Memory).await.unwrap();
    let again = node.pause(&id(1), Keep::Memory).await;
    assert!(matches!(again, Err(Refusal::State(_))));
    assert!(node.list().await.unwrap()[0].paused);
    node.resume(&id(1), &wish(), Keep::Memory).await.unwrap();
    node.kill(&id(1)).await.unwrap();
    let all = ["up", "dial", "own", "pause", "resume", "end", "ended"];
    assert_eq!(steps(&told, 7).await, all);
    assert_eq!(node.list().await.unwrap(), []);
}

#[tokio::test]
async fn one_that_was_found_is_as_it_was_left_and_its_end_is_told() {
    let (node, told) = node("", vec![id(7)]).await;
    assert!(node.list().await.unwrap()[0].paused);
    node.resume(&id(7), &wish(), Keep::Memory).await.unwrap();
    node.0.find(&id(7)).unwrap().body().unwrap().cut();
    assert_eq!(node.ended().await.unwrap().id, id(7));
    assert_eq!(steps(&told, 3).await, ["resume", "cut", "ended"]);
}

#[tokio::test]
async fn what_rests_on_disk_is_no_end_and_is_woken() {
    let (node, told) = resting(Rest::Stored, "", Vec::new()).await;
    node.create(&id(1), &wish()).await.unwrap();
    node.pause(&id(1), Keep::Memory).await.unwrap();
    assert!(node.list().await.unwrap()[0].paused);
    assert!(matches!(
        node.dial(&id(1), Door::Agent).await,
        Err(Refusal::State(_))
    ));
    assert!(matches!(node.usage(&id(1)).await, Err(Refusal::State(_))));
    node.resume(&id(1), &wish(), Keep::Memory).await.unwrap();
    assert!(!node.list().await.unwrap()[0].paused);
    node.kill(&id(1)).await.unwrap();
    let all = [
        "up", "dial", "own", "pause", "wake", "up", "dial", "own", "end",
    ];
    // The first body's end is seen at some time after the pause.
    let mut seen = steps(&told, all.len() + 2).await;
    seen.retain(|step| step != "ended");
    assert_eq!(seen, all);
    assert_eq!(node.list().await.unwrap(), []);
}

#[tokio::test]
async fn what_rests_on_disk_is_killed_there() {
    let (node, told) = resting(Rest::Stored, "", vec![id(7)]).await;
    assert!(node.list().await.unwrap()[0].paused);
    node.kill(&id(7)).await.unwrap();
    assert_eq!(steps(&told, 1).await, ["remove"]);
    assert_eq!(node.list().await.unwrap(), []);
}

#[tokio::test]
async fn what_can_not_be_woken_rests() {
    for fails in ["wake", "up", "dial", "own"] {
        let (node, _) = resting(Rest::Stored, fails, vec![id(7)]).await;
        for _ in 0..2 {
            let refused = node
                .resume(&id(7), &wish(), Keep::Memory)
                .await
                .unwrap_err();
            assert!(refused.to_string().contains("it fails"), "{refused}");
            assert!(node.list().await.unwrap()[0].paused);
        }
        node.kill(&id(7)).await.unwrap();
        assert_eq!(node.list().await.unwrap(), []);
    }
}

#[tokio::test]
async fn what_is_kept_ready_gets_a_name_and_ends_with_the_daemon() {
    let told = Told::default();
    let play = Play {
        told: Arc::clone(&told),
        fails: "",
        rest: Rest::Held,
        left: Vec::new(),
    };
    let node = Handle(Local::open(Arc::new(play), 2).await);
    node.create(&id(1), &wish()).await.unwrap();
    // One use is one in store.
    assert_eq!(steps(&told, 4).await, ["up", "dial", "own", "up"]);
    node.create(&id(2), &wish()).await.unwrap();
    let named = format!("name {}", id(2));
    assert!(told.lock().unwrap().contains(&named));
    // Two uses are two.
    steps(&told, 9).await;
    node.0.close().await;
    let ends = |word| steps_of(&told, word);
    assert_eq!((ends("cut"), ends("ended")), (2, 2));
    assert_eq!(node.list().await.unwrap().len(), 2);
}

fn steps_of(told: &Told, word: &str) -> usize {
    let told = told.lock().unwrap();
    told.iter().filter(|line| line.starts_with(word)).count()
}
