//! The policy as it is lived: a real daemon in system mode, its configuration in a file, and connections of real
//! users, groups and units.

mod delegate;
mod example;
mod flooding;
mod hiding;
mod matrix;
mod obligations;
mod reload;
mod removal;
pub(crate) mod stage;
mod user_mode;

use keyagent_common::{
    codec,
    op::{KeyList, KeyListReply, KeyListRequest},
};

use crate::support::Client;

/// What `key_list` says of a key about rights and rotation.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    /// 0 for never.
    due_at: u64,
    due_reason: String,
    access: Vec<String>,
}

fn list(client: &mut Client) -> Vec<Listed> {
    let body = client.ask::<KeyList>(&KeyListRequest { after: "", limit: 256 }).success().unwrap();
    let reply = codec::decode::<KeyListReply<'_>>(&body).unwrap();
    let keys = reply.keys.iter().map(|key| Listed {
        name: key.name.into(),
        due_at: key.due_at,
        due_reason: key.due_reason.into(),
        access: key.access.iter().map(|subject| (*subject).into()).collect(),
    });
    keys.collect()
}
