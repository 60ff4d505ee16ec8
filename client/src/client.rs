//! A client for the life of a program: it connects when it is first asked, and again when a connection has died.
//!
//! It must never use a connection that another process opened, nor repeat anything but operations on data and
//! reads.

use std::time::Duration;

use keyagent_common::op::{Empty, Health, Status};

use crate::{
    Address, Connection, Error, Options, Server,
    answer::DataOperation,
    batch::Answers,
    pipeline::{Pipeline, Replies},
};

/// The agent, as a program uses it: one connection, opened when it is needed.
///
/// - **One for each thread.** Every call takes `&mut self` and waits; threads that share one wait for each other.
/// - **Fork-safe.** A forked child opens a connection of its own; it never reads what belongs to its parent.
/// - **Reconnecting.** If the connection has died, an operation on data is sent once more on a new one. Anything
///   else goes through [`Client::connection`] and is never repeated.
/// - **Deadlines.** A call that takes longer than [`Options::timeout`] fails with `TIMEOUT`; the connection on which
///   its reply could still arrive is closed.
pub struct Client {
    address: Address,
    options: Options,
    connection: Option<Connection>,
}

impl Client {
    /// For the agent at an address; connects when first asked.
    pub fn new(address: Address) -> Self {
        Self::with_options(address, Options::default())
    }

    /// The same with deadlines of one's own.
    pub fn with_options(address: Address, options: Options) -> Self {
        Self { address, options, connection: None }
    }

    /// For the agent that `$KEYAGENT_SOCK` names, or the one in the default places of this user and the system.
    pub fn search() -> Result<Self, Error> {
        Ok(Self::new(Address::search()?))
    }

    /// How long each call from now on may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.options.timeout = timeout;
        if let Some(connection) = &mut self.connection {
            connection.set_timeout(timeout);
        }
    }

    /// What the daemon says about itself.
    pub fn server(&mut self) -> Result<Server, Error> {
        self.again(|connection| connection.hello().cloned())
    }

    /// The connection, checked to be alive, for operations that this type does not have: they are not repeated.
    pub fn connection(&mut self) -> Result<&mut Connection, Error> {
        let connection = match self.connection.take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => Connection::open(&self.address, self.options)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Closes the connection; the next call opens another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Performs an operation on data; what is secret in the answer is wiped when it is dropped.
    pub fn data<O: DataOperation>(&mut self, request: &O::Request<'_>) -> Result<O::Output, Error> {
        self.again(|connection| connection.data::<O>(request))
    }

    /// As [`Connection::many`]; each batch is sent once more if the connection has died.
    pub fn many<O: DataOperation>(
        &mut self,
        requests: &[O::Request<'_>],
    ) -> Result<Answers<O::Output>, Error> {
        let mut answers = Vec::with_capacity(requests.len());
        while let Some(rest) = requests.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            answers.extend(self.again(|connection| connection.some::<O>(rest))?);
        }
        Ok(answers)
    }

    /// As [`Connection::run`]; all of it is sent once more if the connection has died.
    pub fn run(&mut self, mut pipeline: Pipeline) -> Result<Replies, Error> {
        self.again(|connection| connection.run(&mut pipeline))
    }

    /// What the agent is doing, as names and values (docs/PROTOCOL.md, `status`). Never resets its idle timer.
    pub fn status(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.again(|connection| {
            let fields = connection.call::<Status>(&Empty {})?.fields;
            Ok(fields.iter().map(|field| (field.name.to_owned(), field.value.to_owned())).collect())
        })
    }

    /// Whether the agent can do its work: `healthy`, `degraded`, `locked` or `unhealthy`.
    pub fn health(&mut self) -> Result<String, Error> {
        self.again(|connection| Ok(connection.call::<Health>(&Empty {})?.status.to_owned()))
    }

    /// Asks, and asks once more on a new connection if one that had served before turns out to have died.
    ///
    /// A connection that was opened for this very question and dies is not tried again: whoever listens does not want
    /// this user.
    fn again<T>(&mut self, mut ask: impl FnMut(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        if let Some(mut connection) = self.connection.take().filter(Connection::seems_usable) {
            match ask(&mut connection) {
                Err(error) if error.is_dead_connection() => {}
                answer => {
                    self.keep(connection);
                    return answer;
                }
            }
        }
        let mut connection = Connection::open(&self.address, self.options)?;
        let answer = ask(&mut connection);
        self.keep(connection);
        answer
    }

    /// Keeps a connection on which every reply was understood.
    fn keep(&mut self, connection: Connection) {
        self.connection = Some(connection).filter(Connection::seems_usable);
    }
}
