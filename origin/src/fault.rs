//! Where tests let the process die.
//!
//! Every two steps of which a crash may see only the first have a [`point`] between them. A build with debug assertions
//! ends at the one that `HEADWATER_FAULT` names, as a kill would: without a destructor, a flush or an answer. Any other
//! build has nothing of this, and does not read the variable.

/// A place between two steps; its name is its own, `<what is done>.<how far it is>`.
#[cfg(not(debug_assertions))]
pub(crate) const fn point(_name: &str) {}

/// A place between two steps; its name is its own, `<what is done>.<how far it is>`.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::LazyLock;

    static CHOSEN: LazyLock<Option<String>> = LazyLock::new(crate::config::Config::fault);
    if CHOSEN.as_deref() == Some(name) {
        std::process::abort();
    }
}
