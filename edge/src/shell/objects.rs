//! Where the objects are: each by its name, placed where its region is.

use shared::link::{Region, Replica};
use worker::{Env, Result, Stub};

use crate::gateway::object_name;

/// The object of a replica.
pub(super) fn replica(env: &Env, replica: &Replica) -> Result<Stub> {
    named(env, "REPLICAS", &object_name(&replica.account, &replica.region), &replica.region)
}

/// The host object of a region.
pub(super) fn host(env: &Env, region: &Region) -> Result<Stub> {
    named(env, "HOSTS", region.as_str(), region)
}

fn named(env: &Env, binding: &str, name: &str, region: &Region) -> Result<Stub> {
    env.durable_object(binding)?.get_by_name_with_location_hint(name, region.as_str())
}
