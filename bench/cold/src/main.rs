//! `bench-cold`: what each function needs before its first event. Its real program is started under a Runtime API that waits
//! for the first request for an event, on the local system, whose tables some functions read while they start.

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// The program that all are held against.
const HELLO: &str = "bench-cold-hello";

/// Lambda gives a function as long for its start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts each function several times and prints time, memory and size before its first event, and how many times those of
/// a function that does nothing, built with the same profile: `make bench-cold`.
#[derive(Parser)]
struct Options {
    /// Starts of each function; the middle one counts.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u8).range(1..))]
    starts: u8,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a start takes.
#[derive(Clone, Debug, Serialize)]
struct Cold {
    function: String,
    /// From the start of the process to its first request for an event.
    init_ms: f64,
    /// Memory in use then.
    rss_kib: f64,
    /// Size of the program.
    program_kib: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let own = std::env::current_exe()?;
    let built = own.parent().context("the folder of the programs")?;
    let hello = cold(built, HELLO, options.starts).await?;
    let mut all = Vec::new();
    for function in functions()? {
        all.push(cold(built, &function, options.starts).await?);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&(hello, all))?);
        return Ok(());
    }
    println!("| function | init | memory | program |\n|---|---|---|---|");
    for Cold { function, init_ms, rss_kib, program_kib } in &all {
        let (init, rss, program) = (init_ms / hello.init_ms, rss_kib / hello.rss_kib, program_kib / hello.program_kib);
        println!("| {function} | {init:.1} | {rss:.1} | {program:.1} |");
    }
    println!(
        "Times of the function that does nothing: {:.1} ms, {:.1} MiB, {:.1} MiB.",
        hello.init_ms,
        hello.rss_kib / 1_024.0,
        hello.program_kib / 1_024.0
    );
    Ok(())
}

/// The functions' names: their folders.
fn functions() -> anyhow::Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names)
}

/// Starts a program several times; the middle of each measure.
async fn cold(built: &Path, function: &str, starts: u8) -> anyhow::Result<Cold> {
    let program = built.join(function);
    let size = fs::metadata(&program).with_context(|| format!("{} is not built", program.display()))?.len();
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let (time, rss) = start(&program, function).await.with_context(|| format!("{function} did not start"))?;
        times.push(time.as_secs_f64() * 1_000.0);
        memory.push(rss);
    }
    let (init_ms, rss_kib) = (middle(times), middle(memory));
    // Exact up to 8 PiB.
    #[allow(clippy::cast_precision_loss)]
    let program_kib = size as f64 / 1_024.0;
    Ok(Cold { function: function.to_owned(), init_ms, rss_kib, program_kib })
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One start: until the first request for an event, and the memory then, in KiB.
async fn start(program: &PathBuf, function: &str) -> anyhow::Result<(Duration, f64)> {
    let api = TcpListener::bind("127.0.0.1:0").await?;
    let mut command = Command::new(program);
    command
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string())
        .envs([("AWS_LAMBDA_FUNCTION_NAME", function), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let began = Instant::now();
    let mut process = command.spawn()?;
    let asked = timeout(PATIENCE, request(&api));
    let asked = tokio::select! {
        asked = asked => asked.context("it asks for no event")??,
        ended = process.wait() => bail!("it ended: {}", ended?),
    };
    let time = began.elapsed();
    ensure!(asked.starts_with("GET ") && asked.contains("/runtime/invocation/next "), "it says {asked:?}");
    let rss = resident(process.id().context("it has ended")?)?;
    process.kill().await?;
    Ok((time, rss))
}

/// The first line of the first request.
async fn request(api: &TcpListener) -> anyhow::Result<String> {
    let (mut connection, _) = api.accept().await?;
    let mut read = Vec::new();
    while !read.contains(&b'\n') {
        ensure!(connection.read_buf(&mut read).await? > 0, "the connection was closed");
    }
    let text = String::from_utf8_lossy(&read);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
