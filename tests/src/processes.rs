//! The processes of a stack's functions.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// The processes that run this function of the stack: those whose environment says so and names the stack's own engine,
/// or the proxy in front of it.
#[must_use]
pub fn of(function: &str) -> Vec<Pid> {
    let engine = std::env::var("MILLRACE_PROXY_URL").or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
    let engine = engine.expect("AWS_ENDPOINT_URL");
    let wanted = [format!("AWS_LAMBDA_FUNCTION_NAME={function}"), format!("AWS_ENDPOINT_URL={engine}")];
    let folders = fs::read_dir("/proc").expect("/proc").flatten();
    folders
        .filter_map(|folder| {
            let pid: i32 = folder.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(folder.path().join("environ")).ok()?;
            let mut entries = environment.split(|byte| *byte == 0);
            let has = |wanted: &String| entries.clone().any(|entry| entry == wanted.as_bytes());
            let matches = wanted.iter().all(has);
            entries.next();
            matches.then(|| Pid::from_raw(pid))
        })
        .collect()
}

/// The processes of a local system, by the folder of its state: those whose arguments or environment name it.
#[must_use]
pub fn of_system(state: &Path) -> Vec<Pid> {
    let state = state.as_os_str().as_bytes();
    let names = |text: Vec<u8>| text.windows(state.len()).any(|part| part == state);
    let folders = fs::read_dir("/proc").expect("/proc").flatten();
    let processes = folders.filter_map(|folder| Some((folder.file_name().to_str()?.parse().ok()?, folder.path())));
    let of_it = processes
        .filter(|(_, folder)| ["cmdline", "environ"].iter().any(|file| fs::read(folder.join(file)).is_ok_and(names)));
    of_it.map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// Ends every process of this function as a power cut does. Gives their number.
pub fn kill_all(function: &str) -> usize {
    of(function).into_iter().filter(|pid| kill(*pid, Signal::SIGKILL).is_ok()).count()
}

/// Ends one process of the stack now and then as a power cut does, drawn from `victims`, with pauses of so many milliseconds,
/// until `done`. Gives how many of which function.
pub async fn killer(
    stack: &str,
    victims: &[&'static str],
    pauses: Range<u64>,
    seed: u64,
    done: &AtomicBool,
) -> BTreeMap<&'static str, usize> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut killed = BTreeMap::new();
    while !done.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(dice.u64(pauses.clone()))).await;
        let Some(victim) = dice.choice(victims) else { break };
        let found = of(&format!("{stack}-{victim}"));
        if let Some(process) = dice.choice(found)
            && kill(process, Signal::SIGKILL).is_ok()
        {
            *killed.entry(*victim).or_default() += 1;
        }
    }
    killed
}
