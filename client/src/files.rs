//! From file names on the command line to pairs of input and output.
//!
//! Every name is settled before the first file is read, so that a mistake leaves nothing half done.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use crate::{
    failure::{Failure, usage},
    input,
    output::{self, Destination},
};

/// What an encrypted file's name ends with.
const SUFFIX: &str = ".ka";

/// Which files, and where to.
#[derive(Debug, Args)]
pub(crate) struct FileArguments {
    /// Write here; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(short, long)]
    force: bool,
    /// Replace each FILE by its new form when that is whole, keeping permissions and owner
    #[arg(long, conflicts_with_all = ["output", "force"])]
    in_place: bool,
    /// Files to read; none or - is standard input. Several files become FILE.ka, or lose that ending
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// One file to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) input: Option<PathBuf>,
    pub(crate) destination: Destination,
}

/// How the name of an output is made from that of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Append `.ka`.
    Append,
    /// Take `.ka` away.
    Strip,
    /// Several files have no names to go to.
    None,
}

/// What was done, for `--json`.
#[derive(Serialize)]
pub(crate) struct FilesDocument {
    pub(crate) schema: &'static str,
    pub(crate) files: Vec<FileDocument>,
}

/// One file of [`FilesDocument`].
#[derive(Serialize)]
pub(crate) struct FileDocument {
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) kind: &'static str,
    pub(crate) plaintext_bytes: u64,
}

impl FileArguments {
    /// What a command took apart itself.
    pub(crate) fn new(output: Option<PathBuf>, force: bool, in_place: bool, files: Vec<PathBuf>) -> Self {
        Self { output, force, in_place, files }
    }

    /// What is to be done.
    pub(crate) fn jobs(self, naming: Naming) -> Result<Vec<Job>, Failure> {
        let Self { output, force: replace, in_place, files } = self;
        if in_place {
            return jobs_in_place(files);
        }
        if files.len() < 2 {
            let destination = match output {
                None => Destination::Stdout { asked_for: false },
                Some(path) if path.as_os_str() == "-" => Destination::Stdout { asked_for: true },
                Some(path) => Destination::File { path, replace },
            };
            return Ok(vec![Job { input: files.into_iter().next(), destination }]);
        }
        if output.is_some() {
            return Err(usage("several files cannot become one")
                .why("--output names one file")
                .fix("leave --output away: each FILE becomes FILE.ka, or loses that ending")
                .into());
        }
        let jobs = files.into_iter().map(|input| job_beside(input, replace, naming));
        let jobs = jobs.collect::<Result<Vec<_>, Failure>>()?;
        jobs.iter().try_for_each(Job::check)?;
        Ok(jobs)
    }
}

impl Job {
    /// Refuses what is known to fail before any work is done.
    fn check(&self) -> Result<(), Failure> {
        self.input.as_deref().map_or(Ok(()), input::check_exists)?;
        output::check_destination(&self.destination)
    }

    /// How the input is called.
    pub(crate) fn input_name(&self) -> String {
        self.input.as_deref().unwrap_or(Path::new("-")).display().to_string()
    }

    /// How the output is called.
    pub(crate) fn output_name(&self) -> String {
        match &self.destination {
            Destination::Stdout { .. } => "-".to_owned(),
            Destination::File { path, .. } | Destination::InPlace { path } => path.display().to_string(),
        }
    }
}

fn jobs_in_place(files: Vec<PathBuf>) -> Result<Vec<Job>, Failure> {
    if files.is_empty() || files.iter().any(|file| file.as_os_str() == "-") {
        return Err(usage("--in-place needs files that are named")
            .fix("name the files behind --in-place")
            .into());
    }
    let job = |path: PathBuf| Job { input: Some(path.clone()), destination: Destination::InPlace { path } };
    let jobs: Vec<Job> = files.into_iter().map(job).collect();
    jobs.iter().try_for_each(Job::check)?;
    Ok(jobs)
}

fn job_beside(input: PathBuf, replace: bool, naming: Naming) -> Result<Job, Failure> {
    if input.as_os_str() == "-" {
        return Err(usage("standard input cannot be one of several files").into());
    }
    let path = match naming {
        Naming::Append => {
            let mut name = input.clone().into_os_string();
            name.push(SUFFIX);
            PathBuf::from(name)
        }
        Naming::None => {
            return Err(usage("several files can only be replaced").fix("--in-place FILE...").into());
        }
        Naming::Strip => strip(input.as_os_str())
            .ok_or_else(|| {
                usage("the name of an encrypted file ends with .ka")
                    .fact("input", input.display().to_string())
                    .fix("keyagent decrypt -o OUTPUT FILE")
            })?
            .into(),
    };
    Ok(Job { input: Some(input), destination: Destination::File { path, replace } })
}

fn strip(name: &OsStr) -> Option<OsString> {
    let stem = name.as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    let named = !stem.is_empty() && !stem.ends_with(b"/");
    named.then(|| OsString::from_vec(stem.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(files: &[&str], output: Option<&str>, naming: Naming) -> Result<Vec<String>, Failure> {
        let files = files.iter().map(PathBuf::from).collect();
        let arguments =
            FileArguments { output: output.map(PathBuf::from), force: false, in_place: false, files };
        Ok(arguments.jobs(naming)?.iter().map(Job::output_name).collect())
    }

    #[test]
    fn one_input_goes_to_standard_output_and_several_beside_themselves() {
        assert_eq!(jobs(&[], None, Naming::Append).unwrap(), ["-"]);
        assert_eq!(jobs(&["a"], None, Naming::Append).unwrap(), ["-"]);
        assert_eq!(jobs(&["a"], Some("b"), Naming::Append).unwrap(), ["b"]);
        let folder = tempfile::tempdir().unwrap();
        let names =
            ["a", "b", "c.ka", "d.ka"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
        for name in &names {
            std::fs::write(name, "").unwrap();
        }
        let [a, b, c, d] = names.each_ref().map(String::as_str);
        assert_eq!(jobs(&[a, b], None, Naming::Append).unwrap(), [format!("{a}.ka"), format!("{b}.ka")]);
        assert_eq!(jobs(&[c, d], None, Naming::Strip).unwrap(), [&c[..c.len() - 3], &d[..d.len() - 3]]);
        assert!(jobs(&[a, b], Some("c"), Naming::Append).is_err());
        assert!(jobs(&[a, "-"], None, Naming::Append).is_err());
        assert!(jobs(&[c, b], None, Naming::Strip).is_err());
        assert!(jobs(&[c, "d/.ka"], None, Naming::Strip).is_err());
        assert!(jobs(&[a, "/no such file"], None, Naming::Append).is_err());
        std::fs::write(format!("{b}.ka"), "").unwrap();
        assert!(jobs(&[a, b], None, Naming::Append).is_err(), "the second target exists");
    }
}
