//! `[[listen]]`: the sockets.

use keyagent_common::layout::MAX_SOCKET_PATH_BYTES;

use crate::{
    configuration::{Flags, Names},
    document::{Table, Value},
    error::{ConfigurationError, Problem},
    origin::{Origin, Setting},
    rules::{Kind, id},
    settings::{Listener, SocketMode},
    value::{Given, Refusal, name, one_of, path},
};

const FIELDS: &[&str] = &["name", "path", "mode", "group"];
/// Name of the listener that is there without a configuration.
const FIRST: &str = "agent";
/// Most listeners.
const MOST: usize = 16;

/// The listeners in order, and what was found.
pub(crate) struct Listeners<'n> {
    names: &'n dyn Names,
    /// The mode of a listener that names none.
    usual: SocketMode,
    list: Vec<(Listener, Origin)>,
    found: Vec<Setting>,
}

impl<'n> Listeners<'n> {
    pub(crate) fn new(names: &'n dyn Names, user_mode: bool) -> Self {
        let usual = if user_mode { SocketMode::Owner } else { SocketMode::Everybody };
        Self { names, usual, list: Vec::new(), found: Vec::new() }
    }

    /// Those of one file.
    pub(crate) fn read(&mut self, root: &Table<'_>) -> Result<(), ConfigurationError> {
        root.sections("listen")?.iter().try_for_each(|value| self.add(value))
    }

    fn add(&mut self, value: &Value<'_>) -> Result<(), ConfigurationError> {
        let title = value.peek("name").map_or("[[listen]]".to_owned(), |name| format!("listener {name:?}"));
        let prefix = value.peek("name").map_or("listen.".to_owned(), |name| format!("listen.{name}."));
        let table = value.table(title.clone(), prefix, FIELDS, "[[listen]] begins each one")?;
        let Some(name_value) = table.get("name") else {
            return Err(ConfigurationError::new(
                table.at,
                Problem::Missing { field: "name", table: title, fix: "name = \"agent\"".to_owned() },
            ));
        };
        let name = Given::from(&name_value).parse(name)?;
        if self.list.len() >= MOST {
            return Err(name_value.refuse(&format!("there are at most {MOST} listeners"), "fewer of them"));
        }
        let path = table.get("path").map(|value| Given::from(&value).parse(socket_path)).transpose()?;
        let mode = table.get("mode").map(|value| Given::from(&value).parse(mode)).transpose()?;
        let mode = mode.unwrap_or(self.usual);
        let group = self.group(&table, mode)?;
        let first = |same: &dyn Fn(&Listener) -> bool| self.list.iter().find(|(other, _)| same(other));
        let twice = [
            (format!("listener {name:?}"), first(&|other| other.name == name)),
            (
                path.as_ref()
                    .map_or("a listener without a path".to_owned(), |path| path.display().to_string()),
                first(&|other| other.path == path),
            ),
        ];
        if let Some((what, Some((_, first)))) = twice.into_iter().find(|(_, first)| first.is_some()) {
            return Err(ConfigurationError::new(table.at, Problem::Twice { what, first: first.clone() }));
        }
        self.record(&table, mode);
        self.list.push((Listener { name, path, mode, group }, table.at));
        Ok(())
    }

    fn group(&self, table: &Table<'_>, mode: SocketMode) -> Result<Option<u32>, ConfigurationError> {
        let Some(value) = table.get("group") else { return Ok(None) };
        if mode != SocketMode::Group {
            return Err(value.refuse(
                &format!("mode {} does not ask for the group", mode.text()),
                "mode = \"0660\", or no group",
            ));
        }
        id(&value, Kind::Group, self.names).map(Some)
    }

    fn record(&mut self, table: &Table<'_>, mode: SocketMode) {
        for field in FIELDS {
            if let Some(value) = table.get(field).filter(|_| *field != "name") {
                self.found.push(Setting {
                    name: value.name.clone(),
                    value: value.written(),
                    origin: value.at.clone(),
                });
            } else if *field == "mode" {
                let name = format!("{}mode", table.prefix);
                self.found.push(Setting { name, value: mode.text().to_owned(), origin: Origin::Default });
            }
        }
    }

    /// All of them: the usual one where there is none, and what `--socket` says.
    pub(crate) fn finish(mut self, flags: &Flags) -> (Vec<Listener>, Vec<Setting>) {
        let known = self.list.iter().any(|(listener, _)| listener.name == FIRST);
        if self.list.is_empty() || (flags.socket.is_some() && !known) {
            let listener = Listener { name: FIRST.to_owned(), path: None, mode: self.usual, group: None };
            self.list.insert(0, (listener, Origin::Default));
            let value = self.usual.text().to_owned();
            self.found.push(Setting { name: format!("listen.{FIRST}.mode"), value, origin: Origin::Default });
        }
        let mut list: Vec<Listener> = self.list.into_iter().map(|(listener, _)| listener).collect();
        if let Some(socket) = &flags.socket {
            for listener in list.iter_mut().filter(|listener| listener.name == FIRST) {
                listener.path = Some(socket.clone());
            }
            let name = format!("listen.{FIRST}.path");
            self.found.retain(|setting| setting.name != name);
            let value = socket.display().to_string();
            self.found.push(Setting { name, value, origin: Origin::Flag("--socket") });
        }
        (list, self.found)
    }
}

fn mode(given: &Given) -> Result<SocketMode, Refusal> {
    let modes = [SocketMode::Owner, SocketMode::Group, SocketMode::Everybody];
    one_of(given, &modes.map(|mode| (mode.text(), mode)))
}

fn socket_path(given: &Given) -> Result<std::path::PathBuf, Refusal> {
    let path = path(given)?;
    if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        let why = format!("the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes");
        return Err(Refusal::new(why, "path = \"/run/keyagent/agent.sock\""));
    }
    Ok(path)
}
