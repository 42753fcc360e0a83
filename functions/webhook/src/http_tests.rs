use super::*;
use millrace::domain::target::CallbackUrl;
use std::sync::Once;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers one request with this text. Gives its address, and then what it was sent.
async fn endpoint(answer: String) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 4_096];
        let mut text = String::new();
        while !text.contains("\r\n\r\n{}") {
            let n = stream.read(&mut read).await.unwrap();
            text.push_str(&String::from_utf8_lossy(&read[..n]));
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        text
    });
    (port, served)
}

async fn call(url: &str, reach: Reach) -> Result<Answered, NoAnswer> {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let url = CallbackUrl::try_from(url.to_owned()).unwrap();
    let headers =
        [("webhook-id", "m".to_owned()), ("webhook-timestamp", "1".into()), ("webhook-signature", "s".into())];
    Http::new(reach).unwrap().call(&Call { url, headers, body: "{}".into() }).await
}

#[tokio::test]
async fn a_call_is_one_post_with_its_headers() {
    let (port, served) = endpoint("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes".into()).await;
    let answered = call(&format!("http://127.0.0.1:{port}/hook?a=b"), Reach::Local).await.unwrap();
    assert_eq!((answered.status, answered.snippet.as_str()), (200, "yes"));
    let sent = served.await.unwrap().to_ascii_lowercase();
    assert!(sent.starts_with("post /hook?a=b http/1.1\r\n"), "{sent}");
    for line in ["content-type: application/json\r\n", "webhook-id: m\r\n", "user-agent: millrace\r\n"] {
        assert!(sent.contains(line), "{line}: {sent}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (port, _served) = endpoint("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n".into()).await;
    assert_eq!(call(&format!("http://127.0.0.1:{port}/"), Reach::Local).await.unwrap().status, 302);
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_kept() {
    let body = format!("no\n{}", "x".repeat(1_000_000));
    let head = format!("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n", body.len());
    let (port, _served) = endpoint(head + &body).await;
    let answered = call(&format!("http://127.0.0.1:{port}/"), Reach::Local).await.unwrap();
    assert_eq!((answered.retry_after, answered.snippet.len()), (Some(Duration::from_secs(7)), SNIPPET));
    assert!(answered.snippet.starts_with("no x"));
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called() {
    let (port, served) = endpoint("HTTP/1.1 200 OK\r\n\r\n".into()).await;
    let refused = call(&format!("https://localhost:{port}/"), Reach::Public).await;
    assert!(matches!(refused, Err(NoAnswer::Forbidden)), "{refused:?}");
    assert!(!served.is_finished());
    served.abort();
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_without_its_url() {
    let failed = call("http://127.0.0.1:1/secret", Reach::Local).await.unwrap_err().to_string();
    assert!(failed.starts_with("not reached: ") && !failed.contains("secret"), "{failed}");
}

#[test]
fn a_wait_is_seconds_or_a_date() {
    let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
    let of = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
    assert_eq!(of("120"), Some(Duration::from_secs(120)));
    assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
    assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!((of("soon"), of("-1")), (None, None));
}
