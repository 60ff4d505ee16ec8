//! The verbs, one file each: arguments, effect, and what is shown.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod config;
pub(crate) mod decrypt;
pub(crate) mod doctor;
pub(crate) mod encrypt;
pub(crate) mod fingerprint;
pub(crate) mod health;
pub(crate) mod help;
pub(crate) mod hmac;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod lock;
pub(crate) mod maintenance;
pub(crate) mod master;
pub(crate) mod metrics;
pub(crate) mod policy;
pub(crate) mod random;
pub(crate) mod reload;
pub(crate) mod report;
pub(crate) mod rewrap;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod unlock;
pub(crate) mod version;
pub(crate) mod watch;

use crate::{
    arguments::{CommandLine, Verb},
    console::Console,
    failure::Failure,
    session::Session,
};

/// Success.
pub(crate) const OK: u8 = 0;
/// The answer is no: locked, unhealthy, something failed.
pub(crate) const NEGATIVE: u8 = 1;

/// Runs one verb; the exit code.
pub(crate) fn run(line: CommandLine, console: &Console) -> Result<u8, Failure> {
    let mut session = Session::new(console, &line.globals);
    match line.verb {
        Verb::Encrypt(arguments) => encrypt::run(&mut session, line.key, arguments),
        Verb::Decrypt(arguments) => decrypt::run(&mut session, line.key, arguments),
        Verb::Rewrap(arguments) => rewrap::run(&mut session, line.key, arguments),
        Verb::Jwt(arguments) => jwt::run(&mut session, line.key, arguments),
        Verb::Hmac(arguments) => hmac::run(&mut session, line.key, arguments),
        Verb::Random(arguments) => random::run(&mut session, &arguments),
        Verb::Inspect(arguments) => inspect::run(console, &arguments),
        Verb::Status => status::run(&session),
        Verb::Start(arguments) => start::run(&session, &arguments),
        Verb::Stop => stop::run(&session),
        Verb::Lock => lock::run(&session),
        Verb::Unlock(arguments) => unlock::run(&session, &arguments),
        Verb::Reload => reload::run(&session),
        Verb::Health => health::run(&session),
        Verb::Maintenance(arguments) => maintenance::run(&session, &arguments),
        Verb::Watch(arguments) => watch::run(&session, &arguments),
        Verb::Metrics(arguments) => metrics::run(&session, &arguments),
        Verb::Keys(arguments) => keys::run(&session, &arguments),
        Verb::Backup(arguments) => backup::run(&session, &arguments),
        Verb::Master(arguments) => master::run(&session, &arguments),
        Verb::Audit(arguments) => audit::run(&session, &arguments),
        Verb::Report(arguments) => report::run(&session, &arguments),
        Verb::Doctor(arguments) => doctor::run(&session, &arguments),
        Verb::Init(arguments) => init::run(&session, arguments),
        Verb::Fingerprint(arguments) => fingerprint::run(&session, &arguments),
        Verb::Config(arguments) => config::run(console, &arguments),
        Verb::Policy(arguments) => policy::run(console, &arguments),
        Verb::Version => version::run(console),
        Verb::Help(arguments) => help::run(console, &arguments),
    }
}
