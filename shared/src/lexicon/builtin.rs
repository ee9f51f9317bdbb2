//! The schema documents that ship inside the program, as lists of documents by namespace.
//!
//! They hold facts only (types, formats, limits, references), no descriptions. A document may be partial: of shared
//! definitions each list holds what it needs.

/// Every record type of the network's main applications, and every definition that one of them refers to.
pub(super) const RECORDS: [&str; 5] = [
    include_str!("../../lexicons/records/app.bsky.json"),
    include_str!("../../lexicons/records/chat.bsky.json"),
    include_str!("../../lexicons/records/com.atproto.json"),
    include_str!("../../lexicons/records/com.germnetwork.json"),
    include_str!("../../lexicons/records/site.standard.json"),
];

/// The methods of `com.atproto` and of the account's preferences, and the definitions they need beside [`RECORDS`].
pub(super) const METHODS: [&str; 12] = [
    include_str!("../../lexicons/methods/app.bsky.actor.json"),
    include_str!("../../lexicons/methods/app.bsky.feed.json"),
    include_str!("../../lexicons/methods/app.bsky.notification.json"),
    include_str!("../../lexicons/methods/com.atproto.admin.json"),
    include_str!("../../lexicons/methods/com.atproto.identity.json"),
    include_str!("../../lexicons/methods/com.atproto.label.json"),
    include_str!("../../lexicons/methods/com.atproto.lexicon.json"),
    include_str!("../../lexicons/methods/com.atproto.moderation.json"),
    include_str!("../../lexicons/methods/com.atproto.repo.json"),
    include_str!("../../lexicons/methods/com.atproto.server.json"),
    include_str!("../../lexicons/methods/com.atproto.sync.json"),
    include_str!("../../lexicons/methods/com.atproto.temp.json"),
];
