//! Rust for wasm32-unknown-unknown: the toolchain that runs this, with the target added, or Debian's, unpacked.
//!
//! `rustup target add` is tried first. Where rustup's server is out of reach, Debian's `rustc-web` and what it depends on
//! are downloaded as packages and unpacked into the cache, which needs no root and installs nothing: a sysroot of its own.
//! They bring the library's source but not its build for wasm, so that is built here, once, with bitcode in it so that
//! link-time optimisation works as with rustup's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::environment;
use crate::process::{command, install, output};

const TARGET: &str = "wasm32-unknown-unknown";

/// Names the unpacked toolchain in the cache: raised when this file builds it differently.
const RECIPE: &str = "debian-rust-wasm-1";

/// Debian's packages: compiler, cargo, library source, clippy, linker.
const PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "lld-22"];

/// A server that does not answer is given up on after this.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// A Rust toolchain that has the target.
#[derive(Clone, Debug)]
pub(crate) enum Wasm {
    /// The one that runs this.
    Own,
    /// Debian's, unpacked at this path (what would be `/usr`).
    Debian(PathBuf),
}

impl Wasm {
    /// A cargo that builds for the target.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = command(match self {
            Self::Own => environment::cargo(),
            Self::Debian(usr) => usr.join("bin/cargo").into_os_string(),
        });
        self.apply(&mut cargo);
        cargo
    }

    /// Makes a program that runs `cargo` and `rustc` by itself use this toolchain.
    pub(crate) fn apply(&self, program: &mut Command) {
        if let Self::Debian(usr) = self {
            program
                .env("PATH", environment::path_with(&usr.join("bin")))
                .env("LD_LIBRARY_PATH", usr.join("lib/x86_64-linux-gnu"))
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", usr.join("lib/llvm-22/bin/wasm-ld"))
                .env_remove("CARGO")
                .env_remove("RUSTUP_TOOLCHAIN");
        }
    }
}

pub(super) fn find_or_install(cache: &Cache) -> Result<Wasm> {
    if has_target() {
        return Ok(Wasm::Own);
    }
    let Err(rustup) = rustup_target_add(cache) else { return Ok(Wasm::Own) };
    let usr = cache.ensure(RECIPE, unpack_debian).with_context(|| format!("rustup: {rustup:#}"))?.join("usr");
    Ok(Wasm::Debian(usr))
}

/// Whether the toolchain that runs this has the target's standard library.
fn has_target() -> bool {
    let library = output(command("rustc").args(["--target", TARGET, "--print", "target-libdir"]));
    library.is_ok_and(|library| {
        let mut files = fs::read_dir(library).into_iter().flatten().flatten();
        files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

fn rustup_target_add(cache: &Cache) -> Result<()> {
    let log = cache.log("rustup-target-add")?;
    install(command("rustup").args(["target", "add", TARGET]), &log, RUSTUP_LIMIT)?;
    if has_target() { Ok(()) } else { bail!("the target was added, but is not there") }
}

fn unpack_debian(at: &Path, log: &Path) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("Debian's toolchain is used on x86_64 only, this is {}", std::env::consts::ARCH);
    }
    let archives = at.join("packages");
    fs::create_dir(&archives)?;
    let download = |log: &Path| -> Result<()> {
        let mut simulated = command("apt-get");
        let plan = output(simulated.args(["install", "--simulate", "--no-install-recommends"]).args(PACKAGES))?;
        let needed = packages_to_install(&plan);
        if needed.is_empty() {
            bail!("{} are installed already, yet there is no wasm target", PACKAGES.join(", "));
        }
        install(command("apt-get").arg("download").args(needed).current_dir(&archives), log, BUILD_LIMIT)
    };
    // Package lists may be missing or old; only root can renew them.
    download(log).or_else(|_| {
        install(command("apt-get").arg("update"), log, BUILD_LIMIT)
            .context("as root, run `apt-get update`, then this again")?;
        download(log)
    })?;
    for archive in fs::read_dir(&archives)? {
        install(command("dpkg-deb").arg("--extract").arg(archive?.path()).arg(at), log, BUILD_LIMIT)?;
    }
    fs::remove_dir_all(archives)?;
    build_library(&at.join("usr"), log)
}

/// The packages that `apt-get install --simulate` says it would install.
fn packages_to_install(plan: &str) -> Vec<&str> {
    plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect()
}

/// Builds the standard library for the target from the source in the sysroot at `usr`, and lays it where rustc looks.
fn build_library(usr: &Path, log: &Path) -> Result<()> {
    let build = usr.join("empty");
    fs::create_dir_all(build.join("src"))?;
    fs::write(build.join("Cargo.toml"), EMPTY_CRATE)?;
    fs::write(build.join("src/lib.rs"), "#![no_std]\n")?;

    let mut cargo = Wasm::Debian(usr.to_owned()).cargo();
    cargo
        .args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort,panic_unwind"])
        .current_dir(&build)
        // The library's own features are unstable; what is built with it afterwards is not.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .env_remove("CARGO_TARGET_DIR");
    install(&mut cargo, log, BUILD_LIMIT)?;

    let library = usr.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&library)?;
    for file in fs::read_dir(build.join("target").join(TARGET).join("release/deps"))? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(file.path(), library.join(&*name))?;
        }
    }
    fs::remove_dir_all(build)?;
    Ok(())
}

const EMPTY_CRATE: &str = "\
[package]
name = \"empty\"
version = \"0.0.0\"
edition = \"2024\"

[workspace]
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_installation_names_its_packages() {
        let plan = "Reading package lists...\nInst lld-22 (1:22 Debian:12 [amd64])\nInst rustc-web (1.96 Debian:12 [amd64])\n\
                    Conf lld-22 (1:22 Debian:12 [amd64])\n";
        assert_eq!(packages_to_install(plan), ["lld-22", "rustc-web"]);
    }
}
