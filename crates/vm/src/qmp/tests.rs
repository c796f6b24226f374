//! Against a QEMU of our own hands.

use super::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

const PATIENCE: Duration = Duration::from_secs(20);
const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}"#;

struct Fake {
    asked: BufReader<OwnedReadHalf>,
    says: OwnedWriteHalf,
}

impl Fake {
    async fn say(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.says
            .write_all(line.as_bytes())
            .await
            .expect("it listens");
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.asked.read_line(&mut line).await.expect("it asks");
        serde_json::from_str(&line).expect("it is JSON")
    }

    async fn answer(&mut self, with: &str) -> Value {
        let asked = self.hear().await;
        self.say(&format!(r#"{{"id": {}, {with}}}"#, asked["id"]))
            .await;
        asked
    }
}

async fn pair(events: impl Fn(Event) + Send + 'static) -> (Qmp, Fake) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let (asked, says) = theirs.into_split();
    let mut fake = Fake {
        asked: BufReader::new(asked),
        says,
    };
    let greet = async {
        fake.say(GREETING).await;
        let asked = fake.answer(r#""return": {}"#).await;
        assert_eq!(asked["execute"], "qmp_capabilities");
    };
    let (qmp, ()) = tokio::join!(Qmp::connect(ours, PATIENCE, events), greet);
    (qmp.expect("it greets"), fake)
}

#[tokio::test]
async fn answers_go_to_whoever_asked() {
    let (qmp, mut fake) = pair(|_| {}).await;
    assert_eq!(qmp.version().to_string(), "7.2.22 (Debian)");
    let both = async {
        tokio::join!(
            qmp.ask(Command::plain("first"), PATIENCE),
            qmp.ask(Command::plain("second"), PATIENCE),
        )
    };
    let answer = async {
        let (a, b) = (fake.hear().await, fake.hear().await);
        for asked in [b, a] {
            let line = json!({ "id": asked["id"], "return": asked["execute"] });
            fake.say(&line.to_string()).await;
        }
    };
    let ((first, second), ()) = tokio::join!(both, answer);
    assert_eq!(first.expect("an answer"), "first");
    assert_eq!(second.expect("an answer"), "second");
}

#[tokio::test]
async fn a_refusal_names_command_class_and_words() {
    let (qmp, mut fake) = pair(|_| {}).await;
    let refused = r#""error": {"class": "GenericError", "desc": "no\u001b[2J"}"#;
    let ask = qmp.ask(Command::plain("cont"), PATIENCE);
    let (asked, _) = tokio::join!(ask, fake.answer(refused));
    let error = asked.expect_err("it is refused").to_string();
    assert_eq!(error, "have QEMU do `cont`: GenericError: no\\u{1b}[2J");
}

#[tokio::test]
async fn events_are_handed_on() {
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let (_qmp, mut fake) = pair(move |event| told.send(event).expect("it listens")).await;
    fake.say(r#"{"event": "SHUTDOWN", "data": {"guest": true}}"#)
        .await;
    let event = events.recv().await.expect("an event");
    assert_eq!(
        (event.name.as_str(), &event.data["guest"]),
        ("SHUTDOWN", &json!(true))
    );
}

#[tokio::test]
async fn a_qemu_that_is_gone_or_raves_answers_nobody() {
    let raves = [
        "nonsense".to_owned(),
        r#"{"return": {}}"#.to_owned(),
        "x".repeat(600_000),
    ];
    for raving in raves {
        let (qmp, mut fake) = pair(|_| {}).await;
        let rave = async {
            let _ = fake.says.write_all(raving.as_bytes()).await;
            let _ = fake.says.write_all(b"\n").await;
        };
        let (asked, ()) = tokio::join!(qmp.ask(Command::plain("stop"), PATIENCE), rave);
        asked.expect_err("there is no answer");
        qmp.ask(Command::plain("stop"), PATIENCE)
            .await
            .expect_err("nor another");
    }
    let (qmp, fake) = pair(|_| {}).await;
    drop(fake);
    let error = qmp.ask(Command::plain("stop"), PATIENCE).await;
    error.expect_err("it is gone");
}

#[tokio::test]
async fn one_that_says_nothing_is_given_up() {
    let (qmp, _fake) = pair(|_| {}).await;
    let asked = qmp
        .ask(Command::plain("stop"), Duration::from_millis(20))
        .await;
    let error = asked.expect_err("there is no answer").to_string();
    assert_eq!(error, "have QEMU do `stop`: no answer in 0.02 s");
    assert!(qmp.shared.lock().replies.is_empty());
}

#[tokio::test]
async fn a_descriptor_goes_with_its_command() {
    use std::io::Read;
    use std::os::fd::AsFd;
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let shared = Shared {
        socket: ours,
        waiting: Mutex::default(),
    };
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    let sent = shared.send(b"{}\n", Some(write.as_fd())).await;
    sent.expect("it is sent");
    drop(write);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    theirs.readable().await.expect("something came");
    rustix::net::recvmsg(
        &theirs,
        &mut [io::IoSliceMut::new(&mut bytes)],
        &mut control,
        rustix::net::RecvFlags::CMSG_CLOEXEC,
    )
    .expect("a message");
    for part in control.drain() {
        if let rustix::net::RecvAncillaryMessage::ScmRights(mut rights) = part {
            let passed = rights.next().expect("a descriptor");
            rustix::io::write(&passed, b"hi").expect("it is the pipe");
        }
    }
    let mut said = String::new();
    std::fs::File::from(read)
        .read_to_string(&mut said)
        .expect("it ends");
    assert_eq!(said, "hi");
}
