//! Whether two servers answer the same: what is compared before anything is timed.

use std::collections::BTreeSet;
use std::error::Error;

use bytes::Bytes;
use serde_json::Value;
use shared::firehose::{Event, Frame};
use shared::repo::car;

use crate::load::Consumer;
use crate::rows::{Row, Run, create};
use crate::server::Server;

/// How the answers of two servers are made comparable.
#[derive(Clone, Copy)]
pub(crate) enum Same {
    /// The same bytes.
    Bytes,
    /// The same JSON value.
    Json,
    /// JSON with the same names in it: what it says is new each time.
    Names,
    /// CAR files with the same root and blocks, in any order.
    Blocks,
    /// The same firehose frames, byte for byte: of events that both have.
    Frames,
    /// A firehose frame of the same kind, of the same operations: what it says is new each time.
    Live,
}

/// Asks both once, and fails unless they answer the same.
pub(crate) async fn compare(row: &Row, ours: &Server, reference: &Server) -> Result<(), Box<dyn Error>> {
    let equal = match (&row.run, row.same) {
        (Run::Each { ask, .. }, same) => {
            let (one, other) = (ask(ours, row.account, 0).await?, ask(reference, row.account, 0).await?);
            if one.status() != other.status() || !one.status().is_success() {
                return Err(format!("{}: {} here, {} there", row.name, one.status(), other.status()).into());
            }
            answers(same, &one.bytes().await?, &other.bytes().await?)?
        }
        (Run::Backfill { events }, _) => replay(ours, *events).await? == replay(reference, *events).await?,
        (Run::Delivery { .. }, _) => live(ours).await? == live(reference).await?,
    };
    if equal { Ok(()) } else { Err(format!("{}: they differ", row.name).into()) }
}

fn answers(same: Same, one: &Bytes, other: &Bytes) -> Result<bool, Box<dyn Error>> {
    Ok(match same {
        Same::Json => serde_json::from_slice::<Value>(one)? == serde_json::from_slice::<Value>(other)?,
        Same::Names => names(&serde_json::from_slice(one)?) == names(&serde_json::from_slice(other)?),
        Same::Blocks => blocks(one)? == blocks(other)?,
        Same::Bytes | Same::Frames | Same::Live => one == other,
    })
}

/// The last events of the seed, as a consumer is sent them.
async fn replay(server: &Server, events: u64) -> Result<Vec<Bytes>, Box<dyn Error>> {
    let last = server.seed.last;
    Consumer::connect(server, Some(last.saturating_sub(events))).await?.until(last).await
}

/// What a consumer is told of a new record: the operations, without what is new each time.
async fn live(server: &Server) -> Result<Vec<String>, Box<dyn Error>> {
    let mut consumer = Consumer::connect(server, None).await?;
    create(server, crate::seed::SMALL, 0).await?.error_for_status()?;
    match Frame::decode(&consumer.next().await?)? {
        Frame::Event { event: Event::Commit(commit), .. } => {
            let collections = commit.ops.iter().map(|op| format!("{:?} {}", op.action, op.path.collection()));
            Ok(collections.collect())
        }
        other => Err(format!("the firehose says {other:?}").into()),
    }
}

/// A JSON value's shape: the names in it, each with where it stands.
fn names(value: &Value) -> BTreeSet<String> {
    fn gather(value: &Value, at: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let at = format!("{at}.{name}");
                    into.insert(at.clone());
                    gather(value, &at, into);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| gather(item, &format!("{at}[]"), into)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    gather(value, "", &mut found);
    found
}

fn blocks(file: &Bytes) -> Result<(Vec<String>, BTreeSet<String>), Box<dyn Error>> {
    let file = car::read(file.clone(), car::MAX_BLOCK_LEN)?;
    let roots = file.roots.iter().map(ToString::to_string).collect();
    Ok((roots, file.blocks.iter().map(|block| block.cid.to_string()).collect()))
}
