//! Building the edge: the directory that wrangler would deploy, by the same program with the same profile.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::environment;
use crate::process::{command, run};
use crate::tools::{Tools, Trouble};

/// Builds the edge, once in a run of this program, and returns the directory with `index.js` and its wasm.
pub(crate) fn build(tools: &Tools) -> Result<PathBuf, Trouble> {
    static BUILT: AtomicBool = AtomicBool::new(false);
    let directory = environment::root().join("edge/build");
    if BUILT.load(Ordering::Relaxed) {
        return Ok(directory);
    }
    let wasm = tools.wasm()?;
    let programs = tools.node_modules()?.join(".bin");
    let mut build = command(tools.worker_build()?);
    build
        .arg("--release")
        .current_dir(environment::root().join("edge"))
        // It would download what it is not told the path of.
        .env("WASM_BINDGEN_BIN", tools.wasm_bindgen()?)
        .env("WASM_OPT_BIN", programs.join("wasm-opt"))
        .env("ESBUILD_BIN", programs.join("esbuild"));
    wasm.apply(&mut build);
    run(&mut build).context("the edge was not built")?;
    BUILT.store(true, Ordering::Relaxed);
    Ok(directory)
}
