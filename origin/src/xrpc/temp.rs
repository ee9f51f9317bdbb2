//! `com.atproto.temp.*`.

use shared::api::temp::CheckSignupQueueOutput;

use super::call::{Answer, Call};
use super::input::Json;
use crate::auth::Caller;

/// com.atproto.temp.checkSignupQueue
///
/// There is no queue here.
pub(super) async fn check_signup_queue(_: Call<Caller>) -> Answer<Json<CheckSignupQueueOutput>> {
    Ok(Json(CheckSignupQueueOutput { activated: true, place_in_queue: None, estimated_time_ms: None }))
}
