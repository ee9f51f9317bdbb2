//! What came of a command, for people or as JSON.

use std::io::{self, Write};

use shared::link::Region;

use super::{AccountInfo, EdgeInfo, Outcome, RecoveryInfo, RegionInfo, RepoInfo};

const DELETED: &str = "The account is deleted.";
const NONE_DELETED: &str = "There was no such account; what was left of it is deleted.";

impl Outcome {
    /// Prints it, aligned; as one line of JSON with `json`.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn print(&self, json: bool, output: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Account(account) if json => line(account, output),
            Self::Account(account) => account.print(output),
            Self::Accounts { accounts, .. } => accounts.iter().try_for_each(|account| match json {
                true => line(account, output),
                false => account.print_row(output),
            }),
            Self::Deleted { existed, edge_behind } if json => {
                line(&serde_json::json!({ "existed": existed, "edgeBehind": edge_behind }), output)
            }
            Self::Deleted { existed, edge_behind } => {
                writeln!(output, "{}", if *existed { DELETED } else { NONE_DELETED })?;
                unacknowledged(edge_behind, output)
            }
            Self::Invites(codes) if json => line(codes, output),
            Self::Invites(codes) => codes.iter().try_for_each(|code| writeln!(output, "{code}")),
            Self::Sequence(sequence) if json => line(sequence, output),
            Self::Sequence(sequence) => {
                let rows = [
                    ("last event", sequence.last),
                    ("accounts to look at", sequence.dirty),
                    ("changes to tell", sequence.waiting),
                    ("consumers", sequence.consumers),
                ];
                rows.iter().try_for_each(|(name, value)| writeln!(output, "{name:<20}{value}"))
            }
            Self::Recoverable { dids, .. } if json => line(dids, output),
            Self::Recoverable { dids, .. } => dids.iter().try_for_each(|did| writeln!(output, "{did}")),
            Self::Recovered(recovery) if json => line(recovery, output),
            Self::Recovered(recovery) => recovery.print(output),
            Self::Told { did, key } if json => line(&serde_json::json!({ "did": did, "documentChanged": key }), output),
            Self::Told { did, key: false } => writeln!(output, "{did} is told"),
            Self::Told { did, key: true } => writeln!(output, "{did} has its key in its document, and is told"),
            Self::Verified(repo) if json => line(repo, output),
            Self::Verified(repo) => repo.print(output),
            Self::Rebuilt { did, commit, rev, records, dropped, more } if json => line(
                &serde_json::json!({
                    "did": did, "commit": commit, "rev": rev, "records": records, "dropped": dropped, "more": more
                }),
                output,
            ),
            Self::Rebuilt { did, commit, rev, records, dropped, more } => {
                writeln!(output, "{did} is built anew of {records} records: {commit} at {rev}")?;
                dropped.iter().try_for_each(|uri| writeln!(output, "  dropped: {uri}"))?;
                if *more > 0 { writeln!(output, "  and {more} more") } else { Ok(()) }
            }
            Self::Edge(edge) if json => line(edge, output),
            Self::Edge(edge) => edge.print(output),
            Self::Purged { blobs } if json => line(&serde_json::json!({ "blobs": blobs }), output),
            Self::Purged { blobs } => writeln!(output, "The edge has dropped every copy, {blobs} blobs among them."),
        }
    }
}

impl RecoveryInfo {
    /// Nothing of an account of which there is nothing to say.
    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let Self { did, dry_run, commits, made, other_key, deleted, missing_blobs, told, failure } = self;
        let done = match (failure, deleted, made, commits, dry_run) {
            (Some(failure), ..) => format!("FAILED     {failure}"),
            (None, true, .., false) => "deleted    as the sequence says".to_owned(),
            (None, true, .., true) => "to delete  as the sequence says".to_owned(),
            (None, false, true, _, false) => format!("made       of {commits} commits"),
            (None, false, true, _, true) => format!("to make    of {commits} commits"),
            (None, false, false, 0, _) => "unchanged".to_owned(),
            (None, false, false, _, false) => format!("recovered  {commits} commits"),
            (None, false, false, _, true) => format!("to recover {commits} commits"),
        };
        let missing = missing_blobs.unwrap_or_default();
        if failure.is_none() && !deleted && *commits == 0 && !made && !other_key && missing == 0 && told.is_none() {
            return Ok(());
        }
        writeln!(output, "{:<32}  {done}", did.as_str())?;
        if *other_key {
            writeln!(output, "  not signed by the key that is here, which `headwater keys rotate` publishes")?;
        }
        if missing > 0 {
            writeln!(output, "  {missing} blobs are not here")?;
        }
        match told {
            Some(told) => writeln!(output, "  the sequence says that it is {told}, and account.sqlite does not"),
            None => Ok(()),
        }
    }
}

impl RepoInfo {
    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let Self { did, records, blocks, missing_blobs, findings, more } = self;
        let verdict = if findings.is_empty() { "sound" } else { "DAMAGED" };
        write!(output, "{:<32}  {verdict:<7}  {records} records, {blocks} blocks", did.as_str())?;
        if *missing_blobs > 0 {
            write!(output, ", {missing_blobs} blobs are not here")?;
        }
        writeln!(output)?;
        findings.iter().try_for_each(|finding| writeln!(output, "  {finding}"))?;
        if *more > 0 { writeln!(output, "  and {more} more") } else { Ok(()) }
    }
}

impl AccountInfo {
    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let rows = [
            ("DID", Some(self.did.as_str())),
            ("handle", self.handle.as_ref().map(shared::syntax::Handle::as_str)),
            ("status", Some(&self.status)),
            ("e-mail", self.email.as_deref()),
            ("confirmed", self.email_confirmed_at.as_deref()),
            ("created", Some(&self.created_at)),
            ("taken down", self.takedown_ref.as_deref()),
            ("deactivated", self.deactivated_at.as_deref()),
            ("revision", self.rev.as_deref()),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(output, "{name:<13}{}", value.unwrap_or("-")))?;
        unacknowledged(&self.edge_behind, output)
    }

    fn print_row(&self, output: &mut impl Write) -> io::Result<()> {
        let handle = self.handle.as_ref().map_or("-", shared::syntax::Handle::as_str);
        let email = self.email.as_deref().unwrap_or("-");
        writeln!(output, "{:<32}  {:<11}  {handle:<30}  {email}", self.did.as_str(), self.status)
    }
}

impl EdgeInfo {
    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "{:<20}{}", "edge", self.url)?;
        writeln!(output, "{:<20}{}", "position", self.position)?;
        writeln!(output, "{:<20}{}", "copies to drop", self.purges)?;
        self.regions.iter().try_for_each(|RegionInfo { region, replicas, behind }| {
            writeln!(output, "{:<20}{replicas} replicas, {behind} behind", format!("region {region}"))
        })
    }
}

/// Says which regions of the edge may still show what was before.
fn unacknowledged(regions: &[Region], output: &mut impl Write) -> io::Result<()> {
    if regions.is_empty() {
        return Ok(());
    }
    let regions = regions.iter().map(Region::as_str).collect::<Vec<_>>().join(", ");
    writeln!(output, "The edge has not acknowledged this yet, and is told again: {regions}")
}

fn line(value: &impl serde::Serialize, output: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    writeln!(output)
}
