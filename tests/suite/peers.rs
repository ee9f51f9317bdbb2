//! The origin beside what other people wrote: the reference server on the same data, the official clients, a relay.

mod caller;
mod differential;
mod drop_in;
mod migration;
mod official;
mod rate_limits;
mod read_after_write;
mod recover;
mod statuses;
mod watch;
mod world;
