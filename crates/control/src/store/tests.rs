use super::{Answer, Change, Page, Sqlite, Store};
use crate::audit::Entry;
use crate::network::Network;
use crate::record::{AtEnd, Lifetime, Record};
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Outward, Resources, SandboxId, Wish};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

async fn store() -> (TempDir, Sqlite) {
    let folder = TempDir::new().unwrap();
    let store = Sqlite::open(&folder.path().join("a/b/c.db")).await.unwrap();
    (folder, store)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn record(number: u16) -> Record {
    let mut random = [0; 20];
    random[0] = (number / 36 % 36) as u8;
    random[1] = (number % 36) as u8;
    random[2] = (number / 36 / 36) as u8;
    let map = || BTreeMap::from([("a'\"\u{0}é".to_owned(), "b".to_owned())]);
    Record {
        id: SandboxId::of(random),
        key: "k".into(),
        node: "local".into(),
        state: State::Paused,
        reason: Some("why".into()),
        wish: Wish {
            template: "base".into(),
            from: None,
            environment: map(),
            resources: Resources::default(),
            network: Outward {
                internet: true,
                headers: BTreeMap::from([("h".to_owned(), map())]),
                ..Outward::default()
            },
            access_token: Some("t".into()),
        },
        network: Network {
            allow_out: Some(vec!["1.1.1.1".into()]),
            ..Network::default()
        },
        traffic_token: Some("u".into()),
        metadata: map(),
        created: at(i64::from(number)),
        paused: Some(at(7)),
        ended: None,
        lifetime: Lifetime {
            first: Some(Duration::from_secs(60)),
            end: Some(at(60)),
            idle: None,
            at_end: AtEnd::Pause,
            auto_resume: true,
        },
    }
}

fn sandbox(record: Record) -> Change {
    Change::Sandbox(Box::new(record))
}

fn entry(target: &str) -> Change {
    Change::Audit(Entry {
        id: 0,
        at: at(1),
        actor: "casemate".into(),
        action: "x".into(),
        target: target.into(),
        outcome: None,
        detail: serde_json::json!({"a": [1, null]}),
    })
}

#[tokio::test]
async fn a_record_is_read_as_it_was_written() {
    let (_folder, store) = store().await;
    let full = record(1);
    let bare = Record {
        reason: None,
        traffic_token: None,
        paused: None,
        lifetime: Lifetime {
            first: None,
            end: None,
            idle: Some(Duration::from_secs(5)),
            at_end: AtEnd::Kill,
            auto_resume: false,
        },
        ..record(2)
    };
    let changes = [&full, &bare].map(|record| sandbox(record.clone()));
    store.commit(changes.into()).await.unwrap();
    assert_eq!(store.sandbox(&full.id).await.unwrap(), Some(full.clone()));
    let mut all = store.sandboxes().await.unwrap();
    all.sort_by_key(|record| record.created);
    assert_eq!(all, [full.clone(), bare]);
    let over = Record {
        ended: Some(at(99)),
        state: State::Failed,
        ..full
    };
    store.commit(vec![sandbox(over.clone())]).await.unwrap();
    assert_eq!(store.sandboxes().await.unwrap().len(), 1);
    assert_eq!(store.sandbox(&over.id).await.unwrap(), Some(over));
}

#[tokio::test]
async fn all_of_a_change_is_written_or_nothing() {
    let (_folder, store) = store().await;
    let mut connection = store.connection().await;
    sqlx::raw_sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'not today'); END",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    drop(connection);
    let answer = Change::Answer(answer("r", 100));
    let refused = store
        .commit(vec![sandbox(record(1)), entry("e"), answer])
        .await;
    assert!(refused.unwrap_err().to_string().contains("not today"));
    assert!(store.sandboxes().await.unwrap().is_empty());
    assert!(
        store
            .audit(&Page {
                limit: 9,
                ..Page::default()
            })
            .await
            .unwrap()
            .is_empty()
    );
    store.commit(vec![sandbox(record(1))]).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_forgotten_in_the_end() {
    let (_folder, store) = store().await;
    let over = |number: u16| Record {
        ended: Some(at(i64::from(number))),
        ..record(number)
    };
    let changes = (0..1010).map(|number| sandbox(over(number)));
    store
        .commit(changes.chain([sandbox(record(2000))]).collect())
        .await
        .unwrap();
    assert_eq!(store.sandbox(&record(9).id).await.unwrap(), None);
    assert!(store.sandbox(&record(10).id).await.unwrap().is_some());
    assert_eq!(store.sandboxes().await.unwrap().len(), 1);
}

fn answer(request: &str, expires: i64) -> Answer {
    Answer {
        key: "k".into(),
        request: request.into(),
        asked: vec![1, 2],
        status: 201,
        body: "{}".into(),
        expires: at(expires),
    }
}

#[tokio::test]
async fn answers_expire_and_go_with_their_key() {
    let (_folder, store) = store().await;
    let day = crate::idempotency::KEPT.as_secs() as i64;
    store
        .commit(vec![Change::Answer(answer("a", day))])
        .await
        .unwrap();
    assert_eq!(
        store.answer("k", "a", at(day - 1)).await.unwrap(),
        Some(answer("a", day))
    );
    assert_eq!(store.answer("k", "a", at(day)).await.unwrap(), None);
    assert_eq!(store.answer("other", "a", at(0)).await.unwrap(), None);
    // The next one clears away what is over by then.
    store
        .commit(vec![Change::Answer(answer("b", day * 2))])
        .await
        .unwrap();
    assert_eq!(store.answer("k", "a", at(0)).await.unwrap(), None);
    store
        .commit(vec![Change::Revoked("k".into())])
        .await
        .unwrap();
    assert_eq!(store.answer("k", "b", at(0)).await.unwrap(), None);
}
