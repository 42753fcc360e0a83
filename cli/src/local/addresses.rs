//! Where the parts of a local system are, and the environment that leads a program to them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use super::state::{Memory, fingerprint};

/// Region of everything local.
pub(crate) const REGION: &str = "us-east-1";
/// The engine's account, which this key id and secret open. They are no secrets: the engine listens on 127.0.0.1 only.
pub(crate) const ACCOUNT: &str = "000000000000";
const ACCESS_KEY: &str = "test";

/// The addresses of a local system.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// The engine: all AWS services.
    pub(crate) engine: String,
    /// Whether that is an emulator that runs by itself.
    pub(crate) emulator: bool,
    /// Where the functions find the engine: the proxy in front of it, if there is one.
    pub(crate) functions: String,
    /// The mailbox: SES v2, and the inbox in the browser.
    pub(crate) mailbox: String,
    /// Where an emulator's functions find the mailbox as SES.
    pub(crate) ses: String,
    /// The HTTP API.
    pub(crate) api: String,
    /// Id of the HTTP API.
    pub(crate) api_id: String,
    /// The queue that takes in what happened to mails.
    pub(crate) feedback_queue: String,
}

impl Addresses {
    /// Those of the system that is remembered.
    pub(crate) fn of(memory: &Memory) -> Self {
        let engine = match &memory.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("http://127.0.0.1:{}", memory.engine_port),
        };
        // Fixed by the name, so that the links in mails hold when the API is deployed anew.
        let api_id = fingerprint([memory.name.as_bytes()])[..8].to_owned();
        let ses = memory.ses_address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let functions = match memory.proxy_port {
            0 => engine.clone(),
            port => format!("http://127.0.0.1:{port}"),
        };
        Self {
            functions,
            mailbox: format!("http://127.0.0.1:{}", memory.mailbox_port),
            ses: format!("http://{}", SocketAddr::from((ses, memory.mailbox_port))),
            emulator: memory.endpoint.is_some(),
            api: match memory.endpoint {
                // The door of `cargo lambda watch` to its function `api`.
                Some(_) => format!("http://127.0.0.1:{}/lambda-url/api", memory.watch_port),
                None => format!("{engine}/_aws/execute-api/{api_id}/$default"),
            },
            feedback_queue: format!("{engine}/{ACCOUNT}/{}-feedback", memory.name),
            api_id,
            engine,
        }
    }

    /// What AWS clients need to talk to the engine.
    pub(crate) fn aws(&self) -> BTreeMap<String, String> {
        self.aws_at(&self.engine)
    }

    /// What the functions need to talk to the engine.
    pub(crate) fn functions_aws(&self) -> BTreeMap<String, String> {
        self.aws_at(&self.functions)
    }

    fn aws_at(&self, endpoint: &str) -> BTreeMap<String, String> {
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ENDPOINT_URL_SESV2", &self.mailbox),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// Whether nobody listens on this port of 127.0.0.1.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A port of 127.0.0.1 that nobody listens on now.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_id_is_eight_hex_digits_and_follows_from_the_name() {
        let of = |name: &str| Addresses::of(&Memory { name: name.to_owned(), engine_port: 4566, ..Memory::default() });
        let addresses = of("millrace");
        assert!(addresses.api_id.len() == 8 && addresses.api_id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(addresses.api_id, of("millrace").api_id);
        assert_ne!(addresses.api_id, of("other").api_id);
        assert!(addresses.api.starts_with("http://127.0.0.1:4566/_aws/execute-api/"));
    }

    #[test]
    fn an_emulator_stands_in_for_the_engine_and_has_the_api_beside_it() {
        let memory = Memory {
            endpoint: Some("http://127.0.0.1:4566".to_owned()),
            ses_address: Some([172, 31, 87, 1].into()),
            mailbox_port: 4567,
            watch_port: 9000,
            name: "x".to_owned(),
            ..Memory::default()
        };
        let addresses = Addresses::of(&memory);
        assert_eq!(addresses.engine, "http://127.0.0.1:4566");
        assert_eq!(addresses.mailbox, "http://127.0.0.1:4567");
        assert_eq!(addresses.ses, "http://172.31.87.1:4567");
        assert_eq!(addresses.api, "http://127.0.0.1:9000/lambda-url/api");
        assert_eq!(addresses.feedback_queue, "http://127.0.0.1:4566/000000000000/x-feedback");
    }

    #[test]
    fn a_free_port_is_free_until_taken() {
        let port = free_port().unwrap();
        assert!(is_free(port));
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(!is_free(port));
    }
}
