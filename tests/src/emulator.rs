//! An emulator of AWS that no `millrace local` has started: the engine's program, by itself.

use crate::stack::until;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};

/// What leads an AWS tool to it, beside its address.
pub const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// One that runs until this is dropped.
pub struct Emulator {
    process: Child,
    /// Where it answers.
    pub url: String,
}

impl Emulator {
    /// Starts it with these settings of its own; its files and its log are in `folder`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let (url, port) = (format!("http://{free}"), free.port().to_string());
        let path = |name: &str| {
            fs::create_dir_all(folder.join(name)).expect("a folder");
            folder.join(name)
        };
        fs::create_dir_all(folder).expect("a folder");
        let log = File::create(folder.join("emulator.log")).expect("a log");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the clone");
        let process = Command::new(root.join(".millrace/engine/bin/ministack"))
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")])
            .envs([("GATEWAY_PORT", port.as_str()), ("AWS_ENDPOINT_URL", &url), ("BIND_HOST", "127.0.0.1")])
            .envs(CREDENTIALS)
            .envs([("IOT_MTLS_ENABLED", "0"), ("SFTP_ENABLED", "0")])
            .envs([("HOME", path("home")), ("TMPDIR", path("tmp")), ("DOCKER_HOST", path("no-docker"))])
            .envs(settings.iter().copied())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the emulator");
        until("the emulator", async || TcpStream::connect(free).ok()).await;
        Self { process, url }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Its functions are in its group.
        let group = Pid::from_raw(self.process.id().try_into().expect("a pid"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
