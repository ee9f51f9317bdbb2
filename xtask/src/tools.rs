//! What the commands need beyond a Rust toolchain, Node and a C++ compiler: had by asking for it.
//!
//! Each tool is looked for once in a run, installed into the cache if it is not there, and handed out as a path or a
//! prepared command. What cannot be had is [`Missing`], in words that say what to do; the caller skips what needs it.
//! Nothing outside the cache is changed, but for rustup's wasm target and components, and Debian packages when this runs
//! as root. Every install needs no more than the usual package registries.

mod peers;
mod wasm;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::environment;
use crate::process::{command, install, output, succeeds};

pub(crate) use wasm::Wasm;

/// `worker-build` has to be of the same minor version as the `worker` crate.
const WORKER_BUILD: &str = "0.8.7";
const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";

/// The oldest Node that runs miniflare.
const NODE: u32 = 20;

/// No single install takes this long on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// A tool that cannot be had, and why.
#[derive(Clone, Debug)]
pub(crate) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Why something that needs tools was not done.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It could not be tried.
    Missing(Missing),
    /// It was tried, and failed.
    Failed(anyhow::Error),
}

impl From<Missing> for Trouble {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Trouble> for anyhow::Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Missing(missing) => anyhow::anyhow!("{missing}"),
            Trouble::Failed(error) => error,
        }
    }
}

type Had<T> = Result<T, Missing>;

/// The tools, installed when first asked for.
#[derive(Debug)]
pub(crate) struct Tools {
    cache: Cache,
    wasm: OnceLock<Had<Wasm>>,
    worker_build: OnceLock<Had<PathBuf>>,
    wasm_bindgen: OnceLock<Had<PathBuf>>,
    node_modules: OnceLock<Had<PathBuf>>,
    cargo_deny: OnceLock<Had<PathBuf>>,
    cargo_fuzz: OnceLock<Had<PathBuf>>,
    peers: OnceLock<Had<PathBuf>>,
    goat: OnceLock<Had<PathBuf>>,
    relay: OnceLock<Had<PathBuf>>,
    strace: OnceLock<Had<()>>,
    redis: OnceLock<Had<()>>,
}

impl Tools {
    pub(crate) fn new() -> Self {
        Self {
            cache: Cache::at(environment::tools()),
            wasm: OnceLock::new(),
            worker_build: OnceLock::new(),
            wasm_bindgen: OnceLock::new(),
            node_modules: OnceLock::new(),
            cargo_deny: OnceLock::new(),
            cargo_fuzz: OnceLock::new(),
            peers: OnceLock::new(),
            goat: OnceLock::new(),
            relay: OnceLock::new(),
            strace: OnceLock::new(),
            redis: OnceLock::new(),
        }
    }

    /// Installs everything. Returns the names and the reasons of what cannot be had.
    pub(crate) fn install_all(&self) -> Vec<(&'static str, Missing)> {
        // Beside the Rust programs, which leave a core idle while they link.
        let (mut missing, peers) = thread::scope(|scope| {
            let peers = scope.spawn(|| self.install_peers());
            (self.install_own(), peers.join())
        });
        match peers {
            Ok(peers) => missing.extend(peers),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        // What the installs above built on the way is of no use once they are done.
        if let Err(error) = remove_if_there(&self.cache.scratch()) {
            missing.push(("room", error.into()));
        }
        missing
    }

    /// What builds and checks the code.
    fn install_own(&self) -> Vec<(&'static str, Missing)> {
        missing_of([
            ("rustfmt", self.component("rustfmt")),
            ("clippy", self.component("clippy")),
            ("the wasm target", self.wasm().map(drop)),
            ("Node packages (miniflare, wasm-opt, esbuild, smtp-server)", self.node_modules().map(drop)),
            ("worker-build", self.worker_build().map(drop)),
            ("wasm-bindgen", self.wasm_bindgen().map(drop)),
            ("cargo-fuzz", self.cargo_fuzz().map(drop)),
            ("cargo-deny", self.cargo_deny().map(drop)),
        ])
    }

    /// What the tests hold the server against.
    fn install_peers(&self) -> Vec<(&'static str, Missing)> {
        missing_of([
            ("the reference server and the official clients", self.peers().map(drop)),
            ("relay", self.relay().map(drop)),
            ("goat", self.goat().map(drop)),
            ("strace", self.strace()),
            ("Redis", self.redis()),
        ])
    }

    /// Rust for wasm32-unknown-unknown.
    pub(crate) fn wasm(&self) -> Had<&Wasm> {
        had(self.wasm.get_or_init(|| Ok(wasm::find_or_install(&self.cache)?)))
    }

    /// The program that builds a Worker from a crate.
    pub(crate) fn worker_build(&self) -> Had<&PathBuf> {
        had(self.worker_build.get_or_init(|| {
            // It fetches over the system's OpenSSL.
            debian_packages(&[("pkg-config", "pkg-config"), ("libssl-dev", "/usr/include/openssl/ssl.h")])?;
            self.cargo_install("worker-build", WORKER_BUILD)
        }))
    }

    /// The program that makes the JavaScript around a wasm module, of the version that the lockfile names.
    pub(crate) fn wasm_bindgen(&self) -> Had<&PathBuf> {
        had(self.wasm_bindgen.get_or_init(|| {
            let version = locked_version("wasm-bindgen")?;
            Ok(self.cargo_install("wasm-bindgen-cli", &version)?.with_file_name("wasm-bindgen"))
        }))
    }

    pub(crate) fn cargo_deny(&self) -> Had<&PathBuf> {
        had(self.cargo_deny.get_or_init(|| self.cargo_install("cargo-deny", CARGO_DENY)))
    }

    pub(crate) fn cargo_fuzz(&self) -> Had<&PathBuf> {
        had(self.cargo_fuzz.get_or_init(|| {
            debian_packages(&[("g++", "c++")])?;
            self.cargo_install("cargo-fuzz", CARGO_FUZZ)
        }))
    }

    /// The directory with the packages of `xtask/node/package-lock.json`.
    pub(crate) fn node_modules(&self) -> Had<&PathBuf> {
        had(self.node_modules.get_or_init(|| {
            check_node()?;
            let source = environment::root().join("xtask/node");
            let lock = fs::read(source.join("package-lock.json")).context("xtask/node/package-lock.json")?;
            let installed = self.cache.ensure(&format!("node-{:016x}", fingerprint(&lock)), |at, log| {
                for file in ["package.json", "package-lock.json"] {
                    fs::copy(source.join(file), at.join(file))?;
                }
                // The packages' own install scripts only look for what their packages already bring.
                let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"];
                install(command("npm").args(arguments).current_dir(at), log, LIMIT)
            })?;
            Ok(installed.join("node_modules"))
        }))
    }

    /// The directory with the packages of `xtask/peers/package-lock.json`: the reference server, its Node, the official
    /// clients.
    pub(crate) fn peers(&self) -> Had<&PathBuf> {
        had(self.peers.get_or_init(|| {
            check_node()?;
            Ok(peers::packages(&self.cache)?)
        }))
    }

    /// The official command-line client.
    pub(crate) fn goat(&self) -> Had<&PathBuf> {
        had(self.goat.get_or_init(|| Ok(peers::go_install(&self.cache, peers::GOAT)?)))
    }

    /// A relay, of the kind that the network runs.
    pub(crate) fn relay(&self) -> Had<&PathBuf> {
        had(self.relay.get_or_init(|| Ok(peers::go_install(&self.cache, peers::RELAY)?)))
    }

    /// What tells the suite where the peers and the mail server are, or why one is not there.
    pub(crate) fn peer_variables(&self) -> Vec<(&'static str, String)> {
        [
            ("HEADWATER_PEERS", "HEADWATER_PEERS_MISSING", self.peers()),
            ("HEADWATER_GOAT", "HEADWATER_GOAT_MISSING", self.goat()),
            ("HEADWATER_RELAY", "HEADWATER_RELAY_MISSING", self.relay()),
            ("HEADWATER_NODE_MODULES", "HEADWATER_NODE_MISSING", self.node_modules()),
        ]
        .into_iter()
        .map(|(name, lacking, had)| match had {
            Ok(path) => (name, path.display().to_string()),
            Err(missing) => (lacking, missing.to_string()),
        })
        .collect()
    }

    /// What shows a program's system calls.
    pub(crate) fn strace(&self) -> Had<()> {
        had(self.strace.get_or_init(|| Ok(debian_packages(&[("strace", "strace")])?))).copied()
    }

    /// Where servers count together, and its command-line client.
    pub(crate) fn redis(&self) -> Had<()> {
        let packages = [("redis-server", "redis-server"), ("redis-tools", "redis-cli")];
        had(self.redis.get_or_init(|| Ok(debian_packages(&packages)?))).copied()
    }

    /// A component of the Rust toolchain that runs this.
    pub(crate) fn component(&self, name: &str) -> Had<()> {
        let program = if name == "clippy" { "clippy" } else { "fmt" };
        if succeeds(command(environment::cargo()).args([program, "--version"])) {
            return Ok(());
        }
        output(command("rustup").args(["component", "add", name])).map(drop).map_err(Missing::from)
    }

    /// The program `name` of `version` from the Rust package index.
    fn cargo_install(&self, name: &str, version: &str) -> Had<PathBuf> {
        let installed = self.cache.ensure(&format!("{name}-{version}"), |at, log| {
            let versioned = format!("{name}@{version}");
            let attempt = |locked: &[&str]| {
                let mut cargo = command(environment::cargo());
                cargo.args(["install"]).args(locked).arg("--root").arg(at).arg(&versioned);
                // Built to be used a few times: quick to compile goes before quick to run. One directory for all of
                // them, since they have most of their dependencies in common.
                cargo.env("CARGO_TARGET_DIR", self.cache.scratch()).envs(LIGHT_PROFILE);
                // Outside the checkout: its settings are not for other people's programs.
                install(cargo.current_dir(at), log, LIMIT)
            };
            // A lockfile can name a version that is not to be had any more.
            attempt(&["--locked"]).or_else(|_| attempt(&[]))
        })?;
        Ok(installed.join("bin").join(name))
    }
}

const LIGHT_PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

fn had<T>(tool: &Had<T>) -> Had<&T> {
    tool.as_ref().map_err(Clone::clone)
}

fn missing_of<const N: usize>(tools: [(&'static str, Had<()>); N]) -> Vec<(&'static str, Missing)> {
    tools.into_iter().filter_map(|(name, had)| had.err().map(|missing| (name, missing))).collect()
}

fn remove_if_there(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("{} cannot be removed", directory.display()))?;
    }
    Ok(())
}

fn check_node() -> Result<()> {
    let version =
        output(command("node").arg("--version")).with_context(|| format!("Node {NODE} or newer is needed"))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        bail!("Node {NODE} or newer is needed, here is {version}");
    }
    output(command("npm").arg("--version")).map(drop).context("npm is needed")
}

/// Installs the Debian packages whose proof (a program or a file) is not there, when this runs as root. Otherwise says
/// which line to run.
fn debian_packages(wanted: &[(&str, &str)]) -> Result<()> {
    // Two of apt at once would refuse each other.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let there = |proof: &str| {
        if proof.starts_with('/') {
            Path::new(proof).exists()
        } else {
            succeeds(command("sh").args(["-c", "command -v \"$0\"", proof]))
        }
    };
    let absent: Vec<&str> = wanted.iter().filter(|(_, proof)| !there(proof)).map(|(package, _)| *package).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let install_line = format!("apt-get install {}", absent.join(" "));
    if output(command("id").arg("-u"))? != "0" || !succeeds(command("apt-get").arg("--version")) {
        bail!("Debian packages are missing: run `{install_line}`");
    }
    eprintln!("tools: {install_line}");
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get");
        // At this runlevel nothing is started that a package brings as a service, such as Redis on its own port.
        output(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1")).map(drop)
    };
    let arguments = [&["install", "--yes", "--no-install-recommends"], &absent[..]].concat();
    apt(&arguments).or_else(|_| apt(&["update"]).and_then(|()| apt(&arguments)))
}

/// The version of `package` in the workspace's lockfile.
fn locked_version(package: &str) -> Result<String> {
    let lock = fs::read_to_string(environment::root().join("Cargo.lock")).context("Cargo.lock cannot be read")?;
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).with_context(|| format!("Cargo.lock has no {package}"))
}

/// FNV-1a: names a directory after a file's content.
fn fingerprint(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_lockfile_tells_the_version_of_wasm_bindgen() {
        let version = locked_version("wasm-bindgen").unwrap();
        assert_eq!(version.split('.').count(), 3, "{version}");
        assert!(locked_version("no-such-package").is_err());
    }

    #[test]
    fn the_node_lockfiles_name_no_registry() {
        for packages in ["node", "peers"] {
            let lock = environment::root().join("xtask").join(packages).join("package-lock.json");
            let lock = fs::read_to_string(lock).unwrap();
            assert!(!lock.contains("\"resolved\""), "npm writes addresses unless told omit-lockfile-registry-resolved");
        }
    }

    #[test]
    fn a_missing_package_is_named_with_the_line_to_run() {
        // Neither program can be there; as another user than root nothing is installed.
        if output(command("id").arg("-u")).unwrap() != "0" {
            let error = debian_packages(&[("no-such-package", "no-such-program")]).unwrap_err();
            assert!(error.to_string().contains("apt-get install no-such-package"), "{error}");
        }
        debian_packages(&[("dash", "sh"), ("base-files", "/etc/debian_version")]).unwrap();
    }
}
