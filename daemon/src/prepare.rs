//! From command line and environment to a setup: absolute paths, descriptors, and the variable with the
//! key taken out of the environment. Runs before any other thread exists.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use directories::BaseDirs;
use keyagent_common::{
    error::ErrorCode,
    layout::{BaseFolders, Layout},
    report::Report,
};
use keyagent_config::Flags;
use keyagent_sys::{
    descriptor, environment, harden, limits,
    memory::{LockPolicy, LockedBuffer},
    peer,
    thread::{clear_vector_registers, scrub_stack},
};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::gethostname,
};

use crate::{
    configuration::Places,
    daemon::Setup,
    listen::RESERVED_DESCRIPTORS,
    options::{LogFormat, Options},
    source::Sources,
};

/// Room for the text of `KEYAGENT_KEY` and one byte more.
const VARIABLE_BYTES: usize = keyagent_common::key_text::MAX_TEXT_BYTES + 1;

/// Everything that must happen while the process is still one ordinary thread.
pub(crate) fn setup(options: Options) -> Result<Setup, Report> {
    let policy = if options.allow_unlocked_memory { LockPolicy::AllowUnlocked } else { LockPolicy::Required };
    let variable = take_key_variable(policy)?;
    let base = base_folders(options.system)?;
    // Closing the doors changes the working folder: what is relative is relative to this one.
    let here = std::env::current_dir().unwrap_or_default();
    let absolute =
        |path: &Option<PathBuf>| path.as_deref().map(|path| make_absolute(&here, path)).transpose();
    let key_fd = options.key_fd.map(descriptor::adopt).transpose().map_err(|error| {
        Report::new(ErrorCode::Usage, "the descriptor of --key-fd cannot be used").why(error.to_string())
    })?;
    let keep: Vec<_> = key_fd.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    close_doors(&keep)?;
    let flags = Flags {
        key_file: absolute(&options.key_file)?,
        state_dir: absolute(&options.state_dir)?,
        socket: absolute(&options.socket)?,
        log: options.log.map(|format| match format {
            LogFormat::Text => keyagent_config::LogFormat::Text,
            LogFormat::Json => keyagent_config::LogFormat::Json,
        }),
    };
    let named = absolute(&options.config)?;
    let places = Places { base: base.clone(), named, flags, variables: Places::variables() };
    let loaded = places.load()?;
    crate::report::choose(match loaded.settings.log {
        keyagent_config::LogFormat::Text => LogFormat::Text,
        keyagent_config::LogFormat::Json => LogFormat::Json,
    });
    let mut layout = Layout::new(&base, loaded.settings.state_dir.as_deref());
    if let Some(socket) = &places.flags.socket {
        layout.socket.clone_from(socket);
    } else if let Some(path) = loaded.settings.listeners.first().and_then(|first| first.path.clone()) {
        layout.socket = path;
    }
    let credentials = options.credentials_dir.clone().map(PathBuf::into_os_string);
    let credentials = credentials.or_else(|| variable_text("CREDENTIALS_DIRECTORY"));
    let sources = Sources {
        // A key from a descriptor ends the search just as a named file does.
        key_file: if key_fd.is_some() { None } else { absolute(&loaded.settings.key_file)? },
        key_fd,
        credentials: absolute(&credentials.map(PathBuf::from))?,
        variable,
        default_file: layout.key_file.clone(),
        lock_policy: policy,
    };
    if peer::effective_uid() == 0 && !options.system {
        crate::report::warn(
            &"running as root in user mode; a service belongs to a user of its own (--system)",
        );
    }
    let host = gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let expected_key_id =
        variable_text("KEYAGENT_EXPECT_KEY_ID").map(|text| text.to_string_lossy().into_owned());
    Ok(Setup { options, layout, places, loaded, sources, lock_policy: policy, host, expected_key_id })
}

/// What was inherited goes, before the first file is opened: with every descriptor taken none could be.
fn close_doors(keep: &[std::os::fd::RawFd]) -> Result<(), Report> {
    let protect = |error: harden::HardenError| {
        Report::new(ErrorCode::Internal, "refusing to start: the process cannot be protected")
            .why(error.to_string())
    };
    harden::sanitize_process(keep).map_err(protect)?;
    harden::ignore_signal(Signal::SIGPIPE as i32).map_err(protect)?;
    harden::ignore_signal(Signal::SIGXFSZ as i32).map_err(protect)?;
    harden::limit_malloc_arenas().map_err(protect)?;
    raise_descriptor_limit()
}

/// Takes `KEYAGENT_KEY` out of the environment block, whether or not it will be used.
fn take_key_variable(policy: LockPolicy) -> Result<Option<(LockedBuffer, usize)>, Report> {
    // `std::env::var_os` would leave a copy of the value on the heap.
    match environment::is_set("KEYAGENT_KEY") {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => {
            return Err(Report::new(
                ErrorCode::Internal,
                "refusing to start: the environment cannot be read",
            )
            .why(error.to_string()));
        }
    }
    let mut place =
        LockedBuffer::secret(VARIABLE_BYTES, policy).map_err(|error| crate::memory_not_locked(&error))?;
    let taken =
        environment::take_variable("KEYAGENT_KEY", place.get_mut(..VARIABLE_BYTES).unwrap_or_default());
    scrub_stack();
    clear_vector_registers();
    crate::report::warn(
        &"the master key came through KEYAGENT_KEY: whoever could read this process's environment before now has it; \
          a key file or a systemd credential is safer",
    );
    match taken {
        Ok(Some(length)) => Ok(Some((place, length))),
        Ok(None) => Ok(None),
        Err(error) => {
            Err(Report::new(ErrorCode::KeyMalformed, "refusing to start: KEYAGENT_KEY cannot be used")
                .why(error.to_string())
                .fix("64 hexadecimal digits, or the base64 of 32 bytes"))
        }
    }
}

fn base_folders(system: bool) -> Result<BaseFolders, Report> {
    if system {
        return Ok(BaseFolders::System);
    }
    let folders = BaseDirs::new().ok_or_else(|| {
        Report::new(ErrorCode::Configuration, "refusing to start: this user has no home folder")
            .why("user mode keeps its files below it")
            .fix("set HOME, or use --system")
    })?;
    // A folder that does not exist is not made: the client does not look there either.
    let usual = || PathBuf::from(format!("/run/user/{}", peer::effective_uid()));
    let runtime =
        Some(folders.runtime_dir().map_or_else(usual, Path::to_path_buf)).filter(|folder| folder.is_dir());
    Ok(BaseFolders::User {
        config: folders.config_dir().to_path_buf(),
        data: folders.data_dir().to_path_buf(),
        state: folders.state_dir().map_or_else(|| folders.data_dir().to_path_buf(), Path::to_path_buf),
        runtime,
    })
}

/// Before the working folder becomes `/`, every path a person gave is made absolute.
///
/// `here` is the folder in which it was given; empty if that is gone.
fn make_absolute(here: &Path, path: &Path) -> Result<PathBuf, Report> {
    let unusable = |why: String| {
        Report::new(ErrorCode::Configuration, "a path cannot be used")
            .fact("path", path.display().to_string())
            .why(why)
    };
    let path = here.join(path);
    if path.is_relative() {
        return Err(unusable("the folder in which it was given is gone".into()));
    }
    std::path::absolute(&path).map_err(|error| unusable(error.to_string()))
}

fn variable_text(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

/// Up to the hard limit; fewer descriptors only mean fewer connections, down to what the daemon itself needs.
fn raise_descriptor_limit() -> Result<(), Report> {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        let now = limits::descriptor_limit().unwrap_or(soft);
        crate::report::warn(&format!("the limit of {now} descriptors could not be raised: {errno}"));
    }
    match limits::descriptor_limit() {
        Some(limit) if limit <= RESERVED_DESCRIPTORS as u64 => Err(Report::new(
            ErrorCode::Configuration,
            "refusing to start: the limit of open files leaves no room for connections",
        )
        .why(format!("it is {limit}, and the daemon needs {RESERVED_DESCRIPTORS} for itself"))
        .fix("ulimit -n 1024 (or LimitNOFILE=1024 in the unit)")),
        _ => Ok(()),
    }
}
