//! A client of the development mailbox.

use anyhow::{Context, bail};
use reqwest::{Client, Url};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

/// The mailbox.
pub(crate) struct Mailbox {
    http: Client,
    url: Url,
}

/// A mail, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) subject: String,
    pub(crate) text: Option<String>,
    headers: Vec<Header>,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: String,
    value: String,
}

impl Mail {
    /// The link that ends the subscription with one click (RFC 8058).
    pub(crate) fn unsubscribe_link(&self) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name == "List-Unsubscribe")?;
        header.value.strip_prefix('<')?.strip_suffix('>')
    }
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Mail>,
}

/// How many mails there are, and how many each address got (in lower case).
#[derive(Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) by_recipient: BTreeMap<String, usize>,
}

impl Mailbox {
    /// The mailbox at this address.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).with_context(|| format!("{url} is no URL"))?;
        Ok(Self { http: Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?, url })
    }

    /// Where the inbox is in the browser.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The first mail to this address, once it is there.
    pub(crate) async fn first_to(&self, address: &str, patience: Duration) -> anyhow::Result<Mail> {
        let end = Instant::now() + patience;
        loop {
            let page: Page = self.get("messages", &[("to", address), ("limit", "10")]).await?;
            if let Some(mail) = page.messages.into_iter().next_back() {
                return Ok(mail);
            }
            if Instant::now() >= end {
                bail!(
                    "no mail to {address} came within {} s: `millrace local logs email` may say why",
                    patience.as_secs()
                );
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The newest mail to this address.
    pub(crate) async fn newest_to(&self, address: &str) -> anyhow::Result<Mail> {
        let page: Page = self.get("messages", &[("to", address), ("limit", "1")]).await?;
        page.messages.into_iter().next().with_context(|| format!("there is no mail to {address}"))
    }

    /// Counts the mails with this tag.
    pub(crate) async fn counts(&self, tag: &str, value: &str) -> anyhow::Result<Counts> {
        self.get("messages/counts", &[("tag", &format!("{tag}:{value}"))]).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        let asked = self.http.get(self.url.join(path)?).query(query).send().await.map_err(reqwest::Error::without_url);
        let asked = asked.and_then(|answer| answer.error_for_status().map_err(reqwest::Error::without_url));
        let answer =
            asked.with_context(|| format!("the mailbox at {} does not answer: is it up? `make up`", self.url))?;
        answer.json().await.context("the mailbox's answer")
    }
}
