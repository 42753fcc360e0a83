//! `millrace-mailbox`: reads its options, opens the store, starts the feedback task and serves.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use millrace_mailbox::{App, Feedback, Store, router, ses_router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long open connections and unsent events may take once it is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// A development mailbox: an SES v2 endpoint on 127.0.0.1 that keeps every mail and shows it in the browser.
///
/// Prints one line of JSON on standard output once it listens: {"url":"http://127.0.0.1:<port>"}. Point an SES v2 client
/// there (AWS_ENDPOINT_URL_SESV2), and a browser. Stop it with SIGTERM or Ctrl-C.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Port on 127.0.0.1 to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// Another address of this machine, on which SES alone answers: for functions in containers, which reach their host by the
    /// gateway of their network. Mails are read on 127.0.0.1 only.
    #[arg(long, value_name = "ADDRESS", value_parser = one_address)]
    ses_address: Option<IpAddr>,

    /// Endpoint of the local AWS engine, where the feedback queue is.
    #[arg(long, value_name = "URL", requires = "feedback_queue_url")]
    engine_url: Option<String>,

    /// SQS queue that gets SES's events about every mail. It may be created later.
    #[arg(long, value_name = "URL", requires = "engine_url")]
    feedback_queue_url: Option<String>,

    /// Configuration set of the mails whose opens and clicks are told.
    #[arg(long, value_name = "NAME")]
    tracked_configuration_set: Option<String>,

    /// File of JSON lines in which mails outlive a restart.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// How many mails are kept, in memory (about the size of each mail); beyond it the oldest are dropped.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,

    /// Least level that is logged, on standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

/// An address that is not all of this machine's.
fn one_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Err("every network would reach it: name one address".to_owned()),
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let filter: Targets = format!("millrace_mailbox={}", options.log_level).parse().context("--log-level")?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();

    let max = usize::try_from(options.max)?;
    let store = match &options.state {
        Some(path) => Store::open(max, path)?,
        None => Store::in_memory(max),
    };
    let (feedback, reporting) = match (&options.engine_url, &options.feedback_queue_url) {
        (Some(engine), Some(queue)) => {
            Feedback::start(engine, queue).map(|(feedback, task)| (Some(feedback), Some(task)))?
        }
        _ => (None, None),
    };

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    let own = listener.local_addr()?;
    let for_containers = match options.ses_address {
        None => None,
        Some(address) => {
            let address = SocketAddr::from((address, own.port()));
            Some(TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?)
        }
    };
    let url = format!("http://{own}");
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = async move {
        tokio::select! { _ = stop.recv() => {}, _ = interrupt.recv() => {} }
    };
    let (told, mut tell) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        stopped.await;
        told.send_replace(true);
    });
    let end = || {
        let mut tell = tell.clone();
        // An error means the sender is gone, which it is only after it told us.
        async move { tell.wait_for(|told| *told).await.map(|_| ()).unwrap_or_default() }
    };
    let app = App::new(store, feedback).tracking(options.tracked_configuration_set);
    if let Some(listener) = for_containers {
        tokio::spawn(axum::serve(listener, ses_router(app.clone())).with_graceful_shutdown(end()).into_future());
    }
    let served = axum::serve(listener, router(app)).with_graceful_shutdown(end());

    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::json!({ "url": url }))?;
    out.flush()?;

    tokio::select! {
        ended = served => ended?,
        () = async { let _ = tell.wait_for(|told| *told).await; sleep(GRACE).await } => {}
    }
    if let Some(reporting) = reporting
        && timeout(GRACE, reporting).await.is_err()
    {
        tracing::warn!("stopped with events that the feedback queue had not taken");
    }
    Ok(())
}
