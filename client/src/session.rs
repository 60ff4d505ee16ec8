//! From flags and variables to a connection.
//!
//! Only commands that work on data may start an agent; every other one reports what it found.

use std::time::Duration;

use keyagent_client::{Address, Connection, DataKeySecret, Error, Options, effective_uid};
use keyagent_common::{
    context::Context,
    error::ErrorCode,
    op::{DataKeyOpenRequest, Decrypt, DecryptRequest},
    report::Report,
};
use zeroize::Zeroizing;

use crate::{
    arguments::{Globals, parse_duration},
    autostart,
    console::Console,
    failure::Failure,
    offline::Offline,
};

/// Flags, and the connection once there is one.
pub(crate) struct Session<'a> {
    pub(crate) console: &'a Console,
    pub(crate) globals: &'a Globals,
    connection: Option<Connection>,
    /// Keys in this process, for opening alone: then no agent is asked.
    offline: Option<Offline>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(console: &'a Console, globals: &'a Globals) -> Self {
        Self { console, globals, connection: None, offline: None }
    }

    /// Opens with keys in this process from now on.
    pub(crate) fn go_offline(&mut self, offline: Offline) {
        self.offline = Some(offline);
    }

    /// The message in an envelope.
    pub(crate) fn open_message(
        &mut self,
        context: Context<'_>,
        envelope: &[u8],
    ) -> Result<Result<Zeroizing<Vec<u8>>, Error>, Failure> {
        let request = DecryptRequest { context: context.as_bytes(), envelope };
        if let Some(offline) = &self.offline {
            return Ok(offline.decrypt(&request));
        }
        let reply = self.data_connection()?.call::<Decrypt>(&request);
        Ok(reply.map(|reply| Zeroizing::new(reply.plaintext.to_vec())))
    }

    /// The data key in an envelope.
    pub(crate) fn open_data_key(
        &mut self,
        context: Context<'_>,
        envelope: &[u8],
    ) -> Result<Result<DataKeySecret, Error>, Failure> {
        match &self.offline {
            Some(offline) => {
                Ok(offline.data_key_open(&DataKeyOpenRequest { context: context.as_bytes(), envelope }))
            }
            None => Ok(self.data_connection()?.data_key_open(context, envelope)),
        }
    }

    /// Where to look.
    pub(crate) fn address(&self) -> Result<Address, Error> {
        match &self.globals.socket {
            Some(path) => Address::exactly(path),
            None => Address::search(),
        }
    }

    /// How long to wait: `--timeout`, `$KEYAGENT_TIMEOUT`, or the default.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let timeout = match (self.globals.timeout, std::env::var_os("KEYAGENT_TIMEOUT")) {
            (Some(timeout), _) => timeout,
            (None, Some(text)) if !text.is_empty() => variable_timeout(&text.to_string_lossy())?,
            _ => return Ok(Options::default()),
        };
        Ok(Options { timeout })
    }

    /// A connection to a running agent.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open(&self.address()?, self.options()?)?;
        self.console.detail(&format!("socket {}", connection.socket().display()));
        Ok(connection)
    }

    /// Refuses to hand a key to an agent that was only come across: it must be the own user's, or named.
    ///
    /// The search ends at the system's agent when the own one does not run. To ask that for work is one thing; what
    /// opens a user's keys or backup is not for it.
    pub(crate) fn check_receiver(&self, connection: &Connection) -> Result<(), Failure> {
        let (listener, me) = (connection.listener_uid(), effective_uid());
        if listener == me || self.address()?.is_named() {
            return Ok(());
        }
        let what = "refusing to send a key to the agent of another user";
        Err(Report::new(ErrorCode::UntrustedAgent, what)
            .fact("socket", connection.socket().display().to_string())
            .fact("sent", "nothing")
            .why(format!("uid {listener} listens there and you are uid {me}"))
            .fix("keyagent start          (or name the agent that is meant: --socket PATH)")
            .into())
    }

    /// The connection for work on data; an agent is started where that is allowed.
    pub(crate) fn data_connection(&mut self) -> Result<&mut Connection, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open_for_data()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn open_for_data(&self) -> Result<Connection, Failure> {
        let address = self.address()?;
        match Connection::open(&address, self.options()?) {
            Ok(connection) => {
                self.console.detail(&format!("socket {}", connection.socket().display()));
                Ok(connection)
            }
            Err(error @ Error::Unreachable { .. }) => autostart::start(self, &address, &error),
            Err(error) => Err(error.into()),
        }
    }
}

fn variable_timeout(text: &str) -> Result<Duration, Failure> {
    parse_duration(text).map_err(|why| {
        Report::new(ErrorCode::Configuration, "KEYAGENT_TIMEOUT is not a time")
            .fact("value", text)
            .why(why)
            .fix("export KEYAGENT_TIMEOUT=5s")
            .into()
    })
}
