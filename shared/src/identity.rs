//! Identity: what a DID document says of an account or a service, and the operations by which a did:plc is changed.
//!
//! Nothing here asks the network. Whoever resolves a DID hands the JSON to [`DidDocument::parse`], which checks that it
//! is about the DID asked for; whoever talks to a directory builds and checks [`plc`] operations and logs here. That a
//! handle points back to its DID is the resolver's to confirm.
//!
//! Specification: <https://atproto.com/specs/did>, <https://atproto.com/specs/handle>; did:plc:
//! <https://web.plc.directory/spec/v0.1/did-plc>.

mod did_document;
pub mod plc;

pub use did_document::{DidDocument, DidDocumentError};
