//! Making, changing and revoking keys.
//!
//! Changes are made one after the other: two that arrive together must not bring back a key that is
//! revoked, nor take away the last administrator.

use crate::control::{By, Control};
use crate::keys::{Key, Scope};
use crate::problem::Problem;
use crate::quota::Quotas;
use crate::store::Change;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How exact the time of a key's last use is.
const USE: Duration = Duration::from_secs(60);
/// Bytes of a key's name.
const LONGEST_NAME: usize = 256;
/// Keys that there may be.
const MOST: usize = 10_000;

impl Control {
    /// Makes a key. Its secret is returned here and never again.
    pub(crate) async fn make_key(
        &self,
        by: &By,
        name: String,
        scope: Scope,
        quotas: Quotas,
    ) -> Result<(Key, String), Problem> {
        named(&name)?;
        if self.keys.all().len() >= MOST {
            return Err(Problem::conflict(format!("there are {MOST} keys already")));
        }
        let (key, secret) = Key::new(name, scope, quotas, self.clock.now())?;
        let detail = json!({ "name": key.name, "scope": scope, "quotas": quotas });
        let entry = self.entry(by, "key.create", &key.id, None, detail);
        self.save(vec![Change::Key(Box::new(key.clone())), entry])
            .await?;
        self.keys.put(key.clone());
        Ok((key, secret))
    }

    /// Changes what a key is called, may do and may use.
    pub(crate) async fn change_key(
        &self,
        by: &By,
        id: &str,
        name: Option<String>,
        scope: Option<Scope>,
        quotas: Option<Quotas>,
    ) -> Result<Key, Problem> {
        let _turn = self.desk.lock().await;
        let key = self.key(id)?;
        if let Some(name) = &name {
            named(name)?;
        }
        if scope.is_some_and(|scope| scope < Scope::Admin) {
            self.keep_an_administrator(&key)?;
        }
        let changed = Key {
            name: name.unwrap_or_else(|| key.name.clone()),
            scope: scope.unwrap_or(key.scope),
            quotas: quotas.unwrap_or(key.quotas),
            ..Key::clone(&key)
        };
        let detail =
            json!({ "name": changed.name, "scope": changed.scope, "quotas": changed.quotas });
        let entry = self.entry(by, "key.change", id, None, detail);
        self.save(vec![Change::Key(Box::new(changed.clone())), entry])
            .await?;
        self.keys.put(changed.clone());
        Ok(changed)
    }

    /// Revokes a key. Sandboxes that it made go on.
    pub(crate) async fn revoke_key(&self, by: &By, id: &str) -> Result<(), Problem> {
        let _turn = self.desk.lock().await;
        let key = self.key(id)?;
        self.keep_an_administrator(&key)?;
        let entry = self.entry(by, "key.revoke", id, None, Value::Null);
        self.save(vec![Change::Revoked(id.to_owned()), entry])
            .await?;
        self.keys.remove(id);
        self.rates.forget(id);
        Ok(())
    }

    /// The key with this secret; that it was used is recorded, now and then.
    pub(crate) fn recognise(self: &Arc<Self>, secret: &str) -> Option<Arc<Key>> {
        let key = self.keys.with_secret(secret)?;
        let now = self.clock.now();
        let is_news = key
            .used
            .is_none_or(|used| crate::clock::later(used, USE) <= now);
        if is_news && self.keys.used(&key, now) {
            let control = Arc::clone(self);
            let id = key.id.clone();
            self.tasks
                .spawn(async move { control.write(vec![Change::Used(id, now)]).await });
        }
        Some(key)
    }

    fn key(&self, id: &str) -> Result<Arc<Key>, Problem> {
        let key = self.keys.with_id(id);
        key.ok_or_else(|| Problem::not_found("API key", id))
    }

    fn keep_an_administrator(&self, key: &Key) -> Result<(), Problem> {
        let all = self.keys.all();
        let another = all
            .iter()
            .any(|other| other.id != key.id && other.scope == Scope::Admin);
        match another || key.scope < Scope::Admin {
            true => Ok(()),
            false => Err(Problem::conflict(
                "this is the last key with the scope 'admin': make another one first",
            )),
        }
    }
}

fn named(name: &str) -> Result<(), Problem> {
    match name.trim().is_empty() || name.len() > LONGEST_NAME {
        true => Err(Problem::bad(format!("name: not 1 to {LONGEST_NAME} bytes"))),
        false => Ok(()),
    }
}
