//! The command line `keyagent` with the real `keyagentd`, as its users type it.
//!
//! Every test has a place of its own (home, runtime folder) and ends every daemon in it. Nothing here
//! reads or writes the home folder of whoever runs the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; clippy knows only functions marked #[test]"
)]

mod agent;
mod autostart;
mod backup;
mod backups;
mod cases;
mod data_commands;
mod documents;
mod examples;
mod keys;
mod library;
mod mask;
mod master;
mod odd;
mod offline;
mod oversight;
mod passphrase;
mod peers;
mod place;
mod policy;
mod refusals;
mod sandbox;
mod shares;
mod state_folder;
mod stream_damage;
mod stream_places;
mod streams;
mod terminal;
mod values;
