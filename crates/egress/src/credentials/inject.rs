//! A header that the proxy itself puts on a request.

use super::rewrite::Rewriter;
use super::store::Refusal;
use crate::http1::Headers;

/// A header made of a credential. What the sandbox sent under that name is removed first, in every
/// spelling, so that it can neither add to it nor choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The header's name: `Authorization`.
    pub header: String,
    /// What stands before the secret: `Bearer `.
    pub prefix: String,
    /// The credential's name.
    pub credential: String,
}

impl Injection {
    /// Puts the header on a request; if it can't, what the sandbox sent is gone nevertheless.
    pub fn apply(&self, headers: &mut Headers, rewriter: &Rewriter<'_>) -> Result<(), Refusal> {
        headers.remove(&self.header);
        let secret = rewriter.secret(&self.credential)?;
        let mut value = self.prefix.clone().into_bytes();
        value.extend_from_slice(secret.expose());
        Ok(headers.add(&self.header, &value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Binding, Credential, Credentials, Destination, Secret};
    use crate::host::Host;
    use crate::http1::{Limits, RequestHead};

    #[test]
    fn what_the_sandbox_sent_is_replaced() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nx-api-key: mine\r\nX_Api_Key: mine\r\n\r\n";
        let mut head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
        let mut credentials = Credentials::default();
        let binding = Binding::new("a.example", 443, "/").expect("a binding");
        let token = Credential {
            secret: Secret::new("s3cr3t"),
            bindings: vec![binding],
        };
        credentials.insert("K", token);
        let host = Host::parse("a.example").expect("a host");
        let to = |port| Destination {
            host: &host,
            port,
            path: "/",
        };
        let injection = Injection {
            header: "X-Api-Key".to_owned(),
            prefix: "key ".to_owned(),
            credential: "K".to_owned(),
        };
        let rewriter = Rewriter::new(&credentials, to(443));
        injection
            .apply(&mut head.headers, &rewriter)
            .expect("applied");
        assert_eq!(head.headers.iter().count(), 2);
        assert_eq!(head.headers.only("x-api-key"), Ok(Some("key s3cr3t")));

        let elsewhere = Rewriter::new(&credentials, to(80));
        assert!(injection.apply(&mut head.headers, &elsewhere).is_err());
        assert!(!head.headers.has("x-api-key"));
    }
}
