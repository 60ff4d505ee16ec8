//! Signals as events: no work happens in a handler.

use std::{io, sync::Arc};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use crate::state::Shared;

/// Waits for signals on a thread of its own, which never touches a key: its stack is ordinary memory, and
/// even the audit line of a reload is made with a key. So it only tells the control thread.
pub(crate) fn watch(shared: &Arc<Shared>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(move || {
        for signal in &mut signals {
            match signal {
                SIGHUP => shared.reload.notify_one(),
                SIGUSR1 => shared.lock.notify_one(),
                _ => shared.begin_stop(),
            }
        }
    })?;
    Ok(())
}
