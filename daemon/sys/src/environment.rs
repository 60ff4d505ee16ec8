//! Taking one secret out of the process's environment.
//!
//! `std::env::remove_var` alone leaves the value readable in `/proc/PID/environ` and in memory; here
//! the bytes of the initial environment block are overwritten in place. Must never copy the value
//! anywhere but into the caller's (locked) buffer, and never run beside a second thread.

#![expect(unsafe_code, reason = "the initial environment block has no owner in Rust")]

use std::{ffi::CString, ptr, slice};

/// Positions after the command name in /proc/self/stat (`proc_pid_stat(5)`, fields 50 and 51, of which 3 is the first).
const ENV_START: usize = 47;

/// A variable could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The name is empty or contains `=` or NUL.
    #[error("{name:?} is not a variable name")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// More than one thread runs, so that somebody else could be reading the environment.
    #[error("the environment can only be scrubbed while one thread runs, there are {threads}")]
    OtherThreads {
        /// How many threads there are.
        threads: usize,
    },
    /// The value is longer than the buffer; it was scrubbed all the same.
    #[error("the value of {name} has {bytes} bytes, at most {room} are allowed")]
    TooLong {
        /// The variable.
        name: String,
        /// Length of its value, in bytes.
        bytes: usize,
        /// Length of the buffer, in bytes.
        room: usize,
    },
    /// A file of /proc could not be read or understood.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Whether the variable `name` is set; its value is looked at nowhere and copied nowhere.
///
/// `std::env::var_os` would leave a copy on the heap. Needs no descriptor.
pub fn is_set(name: &str) -> Result<bool, EnvironmentError> {
    let bad_name = |_| EnvironmentError::BadName { name: name.to_owned() };
    let c_name = CString::new(name).map_err(bad_name)?;
    // SAFETY: the name ends with NUL; whoever changes the environment must make sure that no other thread runs
    // (`std::env::set_var`, `take_variable`), so nobody does while this one is here.
    let value = unsafe { libc::getenv(c_name.as_ptr()) };
    Ok(!value.is_null())
}

/// Moves the value of the variable `name` into `out` and returns its length in bytes; `None` when it is not set.
///
/// The variable is removed, and every entry of that name in the environment block that this process was
/// started with is overwritten with zeros. When a name was given twice the first value counts, as in `getenv`.
/// Only variables that were there at start are seen. Call it before any other thread exists, and
/// before anything else copies the environment.
pub fn take_variable(name: &str, out: &mut [u8]) -> Result<Option<usize>, EnvironmentError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(EnvironmentError::BadName { name: name.to_owned() });
    }
    require_single_thread()?;
    // SAFETY: this is the only thread (checked above), so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    let found = with_initial_block(|block| move_values(block, name.as_bytes(), out))?;
    crate::thread::clear_vector_registers();
    match found {
        Some(bytes) if bytes > out.len() => {
            Err(EnvironmentError::TooLong { name: name.to_owned(), bytes, room: out.len() })
        }
        other => Ok(other),
    }
}

/// Copies the first value of `name` into `out` when it fits, wipes all entries of that name, returns the first value's length.
fn move_values(block: &mut [u8], name: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut first = None;
    for entry in block.split_mut(|byte| *byte == 0) {
        let Some((head, [b'=', value @ ..])) = entry.split_at_checked(name.len()) else { continue };
        if head != name {
            continue;
        }
        if first.is_none() {
            first = Some(value.len());
            if let Some(place) = out.get_mut(..value.len()) {
                place.copy_from_slice(value);
            }
        }
        crate::bytes::wipe(entry);
    }
    first
}

fn require_single_thread() -> Result<(), EnvironmentError> {
    const PATH: &str = "/proc/self/task";
    let threads =
        std::fs::read_dir(PATH).map_err(|source| EnvironmentError::Proc { path: PATH, source })?.count();
    if threads == 1 { Ok(()) } else { Err(EnvironmentError::OtherThreads { threads }) }
}

/// Lends the memory behind /proc/PID/environ, where the kernel put the environment at exec.
fn with_initial_block<R>(use_block: impl FnOnce(&mut [u8]) -> R) -> Result<R, EnvironmentError> {
    let (start, len) = initial_block_place()?;
    if len == 0 {
        return Ok(use_block(&mut []));
    }
    // SAFETY: the kernel mapped these bytes on the main thread's stack for the life of the process; only one
    // thread runs, and nothing in it holds a reference to them during the call (C strings are raw pointers).
    let block = unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut::<u8>(start), len) };
    Ok(use_block(block))
}

/// Address and length in bytes of the initial environment block.
fn initial_block_place() -> Result<(usize, usize), EnvironmentError> {
    const PATH: &str = "/proc/self/stat";
    let unclear = |source| EnvironmentError::Proc { path: PATH, source };
    let text = std::fs::read_to_string(PATH).map_err(unclear)?;
    // The command name may contain anything, also `)` and spaces: fields are counted after its last `)`.
    let mut fields = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace())
        .into_iter()
        .flatten()
        .skip(ENV_START)
        .map_while(|field| field.parse::<usize>().ok());
    match (fields.next(), fields.next()) {
        (Some(start), Some(end)) if start != 0 && end >= start => Ok((start, end - start)),
        _ => Err(unclear(std::io::Error::from(std::io::ErrorKind::InvalidData))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_and_wipes_all() {
        let mut block = *b"A=1\0KEY=one\0KEYS=x\0KEY=second\0KEY\0B=KEY=z\0";
        let mut out = [0; 4];
        assert_eq!(move_values(&mut block, b"KEY", &mut out), Some(3));
        assert_eq!(&out, b"one\0");
        assert_eq!(&block, b"A=1\0\0\0\0\0\0\0\0\0KEYS=x\0\0\0\0\0\0\0\0\0\0\0\0KEY\0B=KEY=z\0");
    }

    #[test]
    fn a_long_value_is_wiped_and_not_copied() {
        let mut block = *b"KEY=toolong\0";
        let mut out = [7; 4];
        assert_eq!(move_values(&mut block, b"KEY", &mut out), Some(7));
        assert_eq!(out, [7; 4]);
        assert_eq!(block, [0; 12]);
    }

    #[test]
    fn tells_whether_a_variable_is_set() {
        assert!(is_set("PATH").unwrap());
        assert!(!is_set("KEYAGENT_NO_SUCH_VARIABLE").unwrap());
        assert!(is_set("a\0b").is_err());
    }

    #[test]
    fn refuses_other_threads_and_bad_names() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv().is_err());
        let error = take_variable("KEYAGENT_KEY", &mut []).unwrap_err();
        assert!(matches!(error, EnvironmentError::OtherThreads { threads: 2.. }), "{error}");
        drop(stop);
        other.join().unwrap();
        for name in ["", "A=B", "A\0"] {
            assert!(matches!(take_variable(name, &mut []), Err(EnvironmentError::BadName { .. })));
        }
    }
}
