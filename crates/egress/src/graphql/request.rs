//! Requests: a document, or the name of a stored one, in JSON, in the URL, or plain.

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use super::{InvalidGraphql, Operation, parser};
use crate::json;

/// The most requests in one body.
pub const MAX_BATCH: usize = 64;

/// Keys of the envelope that decide what runs.
const KEYS: [&str; 8] = [
    "query",
    "operationName",
    "extensions",
    "id",
    "documentId",
    "queryId",
    "doc_id",
    "variables",
];

/// Where clients and servers put the id of a stored query.
const ID_KEYS: [&str; 4] = ["id", "documentId", "queryId", "doc_id"];

/// What a request runs: one operation, or one for each member of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// At least one.
    pub operations: Vec<Operation>,
}

/// Reads the body of a POST. `pairs` is the query of its URL, which must not speak of GraphQL too:
/// some servers prefer it to the body.
pub fn parse_post(
    content_type: Option<&str>,
    pairs: &[(String, String)],
    body: &[u8],
    max_bytes: usize,
) -> Result<Request, InvalidGraphql> {
    if pairs.iter().any(|(key, _)| is_key(key)) {
        return Err(InvalidGraphql::new("the URL of a POST has a query too"));
    }
    if body.len() > max_bytes {
        return Err(InvalidGraphql(format!(
            "the body is longer than {max_bytes} bytes"
        )));
    }
    match media_type(content_type)?.as_str() {
        "application/json" => {
            let value = json::parse(body, max_bytes).map_err(|e| InvalidGraphql(e.to_string()))?;
            parse_value(&value)
        }
        "application/graphql" => {
            let text = std::str::from_utf8(body)
                .map_err(|_| InvalidGraphql::new("the document isn't UTF-8"))?;
            Ok(Request {
                operations: vec![parser::parse(text)?.select(None)?],
            })
        }
        _ => Err(InvalidGraphql::new(
            "the content type is neither application/json nor application/graphql",
        )),
    }
}

/// Reads the query of a GET. A GET that has a body too should be refused before.
pub fn parse_get(pairs: &[(String, String)]) -> Result<Request, InvalidGraphql> {
    let mut envelope = Map::new();
    for (key, value) in pairs {
        let value = match key.as_str() {
            "extensions" | "variables" => json::parse(value.as_bytes(), value.len())
                .map_err(|error| InvalidGraphql(error.to_string()))?,
            _ => Value::String(value.clone()),
        };
        if envelope.insert(key.clone(), value).is_some() && is_key(key) {
            return Err(InvalidGraphql::new("a parameter is repeated"));
        }
    }
    Ok(Request {
        operations: vec![operation(&envelope)?],
    })
}

/// Reads an envelope, or an array of them.
pub fn parse_value(value: &Value) -> Result<Request, InvalidGraphql> {
    let operations = match value {
        Value::Object(envelope) => vec![operation(envelope)?],
        Value::Array(batch) if batch.is_empty() || batch.len() > MAX_BATCH => {
            return Err(InvalidGraphql::new("the batch is empty or too long"));
        }
        Value::Array(batch) => {
            let members = batch.iter().map(|member| match member {
                Value::Object(envelope) => operation(envelope),
                _ => Err(InvalidGraphql::new("a member of the batch isn't an object")),
            });
            members.collect::<Result<_, _>>()?
        }
        _ => return Err(InvalidGraphql::new("the request isn't an object")),
    };
    Ok(Request { operations })
}

fn operation(envelope: &Map<String, Value>) -> Result<Operation, InvalidGraphql> {
    if let Some(key) = json::lookalike(envelope, &KEYS) {
        return Err(InvalidGraphql(format!(
            "the key {key:?} is easily taken for another"
        )));
    }
    let document = text(envelope, "query")?;
    let name = text(envelope, "operationName")?;
    let hash = persisted_hash(envelope)?;
    let id = persisted_id(envelope)?;
    match document {
        Some(_) if id.is_some() => Err(InvalidGraphql::new(
            "there is both a document and the id of a stored one",
        )),
        Some(document) => {
            if hash.as_ref().is_some_and(|hash| *hash != sha256(document)) {
                return Err(InvalidGraphql::new("the hash isn't that of the document"));
            }
            let selected = parser::parse(document)?.select(name)?;
            Ok(Operation {
                persisted_hash: hash,
                ..selected
            })
        }
        None if hash.is_none() && id.is_none() => Err(InvalidGraphql::new(
            "there is no document, nor a stored one",
        )),
        None => Ok(Operation {
            operation_name: name.unwrap_or_default().to_owned(),
            persisted_hash: hash,
            persisted_id: id,
            ..Operation::default()
        }),
    }
}

/// A string that isn't empty; null and the empty string are nothing, as servers have it.
fn text<'e>(
    envelope: &'e Map<String, Value>,
    key: &str,
) -> Result<Option<&'e str>, InvalidGraphql> {
    match envelope.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok((!text.is_empty()).then_some(text.as_str())),
        Some(_) => Err(InvalidGraphql(format!("`{key}` isn't a string"))),
    }
}

fn persisted_hash(envelope: &Map<String, Value>) -> Result<Option<String>, InvalidGraphql> {
    let extensions = match envelope.get("extensions") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(extensions)) => extensions,
        Some(_) => return Err(InvalidGraphql::new("`extensions` isn't an object")),
    };
    let persisted = match extensions.get("persistedQuery") {
        None if json::lookalike(extensions, &["persistedQuery"]).is_none() => return Ok(None),
        Some(Value::Object(persisted)) => persisted,
        _ => return Err(InvalidGraphql::new("`persistedQuery` isn't an object")),
    };
    if json::lookalike(persisted, &["sha256Hash"]).is_some() {
        return Err(InvalidGraphql::new("a hash is easily taken for another"));
    }
    match persisted.get("sha256Hash") {
        Some(Value::String(hash)) if is_sha256(hash) => Ok(Some(hash.to_ascii_lowercase())),
        _ => Err(InvalidGraphql::new("`sha256Hash` isn't a SHA-256")),
    }
}

fn persisted_id(envelope: &Map<String, Value>) -> Result<Option<String>, InvalidGraphql> {
    let mut found = None;
    for key in ID_KEYS {
        let id = match envelope.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            Some(_) => return Err(InvalidGraphql(format!("`{key}` isn't an id"))),
        };
        if found.replace(id).is_some() {
            return Err(InvalidGraphql::new("two ids of stored queries"));
        }
    }
    Ok(found)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sha256(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    casemate_core::hex::encode(digest.as_ref())
}

fn is_key(key: &str) -> bool {
    KEYS.iter().any(|known| known.eq_ignore_ascii_case(key))
}

/// The type without its parameters, of which only `charset=utf-8` is known.
fn media_type(content_type: Option<&str>) -> Result<String, InvalidGraphql> {
    let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_owned();
    if parts.any(|part| part.starts_with("charset") && !is_utf8_charset(part)) {
        return Err(InvalidGraphql::new("the charset isn't UTF-8"));
    }
    Ok(kind)
}

fn is_utf8_charset(parameter: &str) -> bool {
    matches!(
        parameter,
        "charset=utf-8" | "charset=\"utf-8\"" | "charset=utf8"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graphql::OperationType;

    fn post(body: &str) -> Result<Request, InvalidGraphql> {
        parse_post(
            Some("application/json; charset=UTF-8"),
            &[],
            body.as_bytes(),
            65_536,
        )
    }

    fn get(pairs: &[(&str, &str)]) -> Result<Request, InvalidGraphql> {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        parse_get(&owned.collect::<Vec<_>>())
    }

    #[test]
    fn requests_of_every_form_are_read() {
        let expected = Operation {
            operation_type: Some(OperationType::Query),
            operation_name: "A".to_owned(),
            fields: vec!["viewer".to_owned()],
            ..Operation::default()
        };
        let one = Ok(Request {
            operations: vec![expected.clone()],
        });
        let json = r#"{"query":"query A{viewer{id}}","operationName":null,"variables":{"a":1}}"#;
        assert_eq!(post(json), one);
        assert_eq!(
            post(&format!("[{json},{json}]")).map(|r| r.operations.len()),
            Ok(2)
        );
        assert_eq!(
            get(&[("query", "query A{viewer}"), ("variables", "{}")]),
            one
        );
        let plain = parse_post(Some("application/graphql"), &[], b"query A{viewer}", 100);
        assert_eq!(plain, one);
    }

    #[test]
    fn stored_queries_are_recognised() {
        let hash = "ab".repeat(32);
        let stored = post(&format!(
            r#"{{"operationName":"A","extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"{hash}"}}}}}}"#
        ));
        let stored = stored.expect("a request").operations.remove(0);
        assert!(stored.is_persisted_only());
        assert_eq!(stored.persisted_hash.as_deref(), Some(hash.as_str()));
        assert_eq!(stored.operation_name, "A");
        for body in [
            r#"{"id":"x1"}"#,
            r#"{"documentId":"x1"}"#,
            r#"{"doc_id":"x1","query":""}"#,
        ] {
            let request = post(body).expect("a request");
            assert_eq!(request.operations[0].persisted_id.as_deref(), Some("x1"));
        }
        // Registering a query: the document is judged, and the hash must be its own.
        let digest = sha256("{a}");
        let register = |hash: &str| {
            post(&format!(
                r#"{{"query":"{{a}}","extensions":{{"persistedQuery":{{"sha256Hash":"{hash}"}}}}}}"#
            ))
        };
        assert!(register(&digest).is_ok_and(|r| r.operations[0].fields == ["a"]));
        assert!(register(&hash).is_err());
    }

    #[test]
    fn requests_with_two_meanings_are_refused() {
        for body in [
            r#"{"query":"{a}","Query":"mutation{b}"}"#,
            r#"{"query":"{a}","query":"mutation{b}"}"#,
            r#"{"query":"{a}","id":"x"}"#,
            r#"{"id":"x","documentId":"y"}"#,
            r#"{"id":{}}"#,
            r#"{"query":["{a}"]}"#,
            r#"{"query":"{a}","operationName":1}"#,
            r#"{"query":"{a}","extensions":[]}"#,
            r#"{"query":"{a}","extensions":{"persistedQuery":1}}"#,
            r#"{"query":"{a}","extensions":{"PersistedQuery":{}}}"#,
            r#"{"extensions":{"persistedQuery":{"sha256Hash":"xyz"}}}"#,
            r#"{"query":""}"#,
            "{}",
            "[]",
            "[1]",
            "1",
            "",
        ] {
            assert!(post(body).is_err(), "{body}");
        }
        let json = Some("application/json");
        let pairs = [("Query".to_owned(), "mutation{b}".to_owned())];
        assert!(parse_post(json, &pairs, br#"{"query":"{a}"}"#, 100).is_err());
        assert!(get(&[("query", "{a}"), ("query", "{b}")]).is_err());
        assert!(get(&[("QUERY", "{a}"), ("query", "{b}")]).is_err());
        assert!(get(&[("query", "{a}"), ("extensions", "{")]).is_err());
    }

    #[test]
    fn other_bodies_are_refused() {
        let body = br#"{"query":"{a}"}"#;
        for content_type in [
            None,
            Some("text/plain"),
            Some("multipart/form-data; boundary=x"),
            Some("application/json; charset=utf-16"),
        ] {
            assert!(parse_post(content_type, &[], body, 100).is_err());
        }
        assert!(parse_post(Some("application/json"), &[], body, 5).is_err());
        assert!(post(&format!("[{}1]", r#"{"query":"{a}"},"#.repeat(64))).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, json: bool) {
            let kind = if json { "application/json" } else { "application/graphql" };
            let _ = parse_post(Some(kind), &[], &bytes, 4096);
        }
    }
}
