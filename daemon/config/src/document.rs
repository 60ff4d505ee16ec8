//! One file as a tree whose every value knows its line.
//!
//! A table says which fields it has when it is opened: whatever else stands in it is refused at once.

use std::{ops::Range, path::PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    error::{ConfigurationError, Problem},
    origin::Origin,
    suggest::nearest,
    value::Given,
};

/// Most bytes of a configuration file.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most tables of one name.
const MAX_SECTIONS: usize = 1024;

/// The text of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How the file is called in errors and origins.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
    /// Which file it is.
    pub kind: SourceKind,
}

/// Which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// `/etc/keyagent/config.toml`. In user mode only what is good for every agent is taken from it: `log`,
    /// `[lock]`, `[audit]`, `[alerts]` and `[policy]`; paths, sockets, roles and rules are the system agent's.
    System,
    /// The user's own; not looked at in system mode.
    User,
    /// The one that `--config` or `$KEYAGENT_CONFIG` names, instead of both.
    Named,
}

/// A file with its tree.
#[derive(Debug)]
pub(crate) struct Document<'s> {
    source: &'s Source,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    tree: Spanned<DeTable<'s>>,
}

impl<'s> Document<'s> {
    /// Parses a file.
    pub(crate) fn parse(source: &'s Source) -> Result<Self, ConfigurationError> {
        let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines: Vec<usize> = [0].into_iter().chain(ends.map(|(end, _)| end + 1)).collect();
        let refuse = |offset: usize, problem: Problem| {
            ConfigurationError::new(Place { source, lines: &lines }.at(&(offset..offset)), problem)
        };
        if source.text.len() > MAX_FILE_BYTES {
            return Err(refuse(0, Problem::TooLarge { bytes: source.text.len() }));
        }
        match DeTable::parse(&source.text) {
            Ok(tree) => Ok(Self { source, lines, tree }),
            Err(error) => {
                let message = error.message().to_owned();
                Err(refuse(error.span().unwrap_or_default().start, Problem::Syntax { message }))
            }
        }
    }

    /// The whole file as a table with these fields.
    pub(crate) fn root(&self, fields: &'static [&'static str]) -> Result<Table<'_>, ConfigurationError> {
        let place = Place { source: self.source, lines: &self.lines };
        let (title, prefix) = ("the file".to_owned(), String::new());
        let table = Table { place, entries: self.tree.get_ref(), title, prefix, at: place.at(&(0..0)) };
        table.check(fields)?;
        Ok(table)
    }
}

/// Where a text lies, to turn offsets into lines.
#[derive(Debug, Clone, Copy)]
struct Place<'s> {
    source: &'s Source,
    lines: &'s [usize],
}

impl<'s> Place<'s> {
    fn at(self, span: &Range<usize>) -> Origin {
        let line = self.lines.partition_point(|start| *start <= span.start);
        Origin::File { path: self.source.path.clone(), line }
    }

    fn text(self, span: &Range<usize>) -> &'s str {
        self.source.text.get(span.clone()).unwrap_or_default()
    }
}

/// One table of a file.
#[derive(Debug, Clone)]
pub(crate) struct Table<'d> {
    place: Place<'d>,
    entries: &'d DeTable<'d>,
    /// How it is called in errors, such as `[lock]` or `rule "billing"`.
    pub(crate) title: String,
    /// What stands before its fields in the names of settings, such as `lock.`.
    pub(crate) prefix: String,
    /// Where it begins.
    pub(crate) at: Origin,
}

/// One value of a file.
#[derive(Debug, Clone)]
pub(crate) struct Value<'d> {
    place: Place<'d>,
    spanned: &'d Spanned<DeValue<'d>>,
    /// Name of the setting.
    pub(crate) name: String,
    /// Title of the table it stands in.
    pub(crate) table: String,
    /// Where it stands.
    pub(crate) at: Origin,
}

impl<'d> Table<'d> {
    /// Refuses every field that is not named here; the first in the file is told.
    fn check(&self, fields: &'static [&'static str]) -> Result<(), ConfigurationError> {
        let unknown = self.entries.iter().filter(|(name, _)| !fields.contains(&name.get_ref().as_ref()));
        let Some((name, _)) = unknown.min_by_key(|(name, _)| name.span().start) else { return Ok(()) };
        Err(ConfigurationError::new(
            self.place.at(&name.span()),
            Problem::UnknownField {
                field: name.get_ref().clone().into_owned(),
                table: self.title.clone(),
                suggestion: nearest(name.get_ref(), fields),
                known: fields,
            },
        ))
    }

    /// The value of a field, where it is set.
    pub(crate) fn get(&self, field: &str) -> Option<Value<'d>> {
        // The key's line is where a person looks for the field, even if its value begins later.
        let (key, spanned) = self.entries.iter().find(|(name, _)| name.get_ref() == field)?;
        let place = self.place;
        let at = place.at(&key.span());
        Some(Value { place, spanned, name: format!("{}{field}", self.prefix), table: self.title.clone(), at })
    }

    /// A table within this one, with exactly these fields.
    pub(crate) fn section(
        &self,
        name: &'static str,
        fields: &'static [&'static str],
    ) -> Result<Option<Self>, ConfigurationError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let (title, prefix) = (format!("[{name}]"), format!("{name}."));
        value.table(title, prefix, fields, &format!("[{name}] begins a section")).map(Some)
    }

    /// The elements of an array of tables.
    pub(crate) fn sections(&self, name: &'static str) -> Result<Vec<Value<'d>>, ConfigurationError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        match value.spanned.get_ref() {
            DeValue::Array(array) if array.len() > MAX_SECTIONS => {
                let why = format!("there are at most {MAX_SECTIONS} of them");
                Err(value.refuse(&why, "one that names a group instead of each of its members"))
            }
            DeValue::Array(_) => Ok(value.elements()),
            _ => Err(value.refuse("there can be several of them", &format!("[[{name}]] begins each one"))),
        }
    }
}

impl<'d> Value<'d> {
    /// What the parser found.
    pub(crate) fn raw(&self) -> &'d DeValue<'d> {
        self.spanned.get_ref()
    }

    /// As written in the file, on one line.
    pub(crate) fn written(&self) -> String {
        match self.raw() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Array(_) => {
                format!("[{}]", self.elements().iter().map(Self::written).collect::<Vec<_>>().join(", "))
            }
            _ => self.place.text(&self.spanned.span()).split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// The elements of a list; the value itself where it is none.
    pub(crate) fn elements(&self) -> Vec<Self> {
        let DeValue::Array(array) = self.raw() else { return vec![self.clone()] };
        let element = |spanned: &'d Spanned<DeValue<'d>>| Self {
            spanned,
            at: self.place.at(&spanned.span()),
            ..self.clone()
        };
        array.iter().map(element).collect()
    }

    /// As a table with exactly these fields.
    pub(crate) fn table(
        &self,
        title: String,
        prefix: String,
        fields: &'static [&'static str],
        fix: &str,
    ) -> Result<Table<'d>, ConfigurationError> {
        let DeValue::Table(entries) = self.raw() else { return Err(self.refuse("it has fields", fix)) };
        let table = Table { place: self.place, entries, title, prefix, at: self.at.clone() };
        table.check(fields)?;
        Ok(table)
    }

    /// A field of a table, before it is known what its other fields may be.
    pub(crate) fn peek(&self, field: &str) -> Option<&'d str> {
        self.raw().as_table()?.iter().find(|(name, _)| name.get_ref() == field)?.1.get_ref().as_str()
    }

    /// This value is refused.
    pub(crate) fn refuse(&self, why: &str, fix: &str) -> ConfigurationError {
        ConfigurationError::new(
            self.at.clone(),
            Problem::Value {
                field: self.name.clone(),
                value: Given::from(self).quoted(),
                why: why.to_owned(),
                fix: fix.to_owned(),
            },
        )
    }
}
