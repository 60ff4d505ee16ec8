//! The order of files, variables and flags, and where each value was said.

use super::*;

const SYSTEM: &str = "[daemon]\nkey_file = \"/etc/keyagent/key\"\nstate_dir = \"/var/lib/x\"\nlog = \"json\"\n\
                      [lock]\nidle = \"1h\"\nabsolute = \"2h\"\n[[listen]]\nname = \"system\"\n\
                      [admins]\nusers = \"nobody here knows\"\n[[rule]]\nanything = true\n";
const USER: &str =
    "[lock]\nidle = \"5m\"\n[[rule]]\nname = \"ben\"\nuser = \"ben\"\nkeys = \"k\"\nallow = \"decrypt\"\n";

fn both(mode: Mode, variables: &[(&str, &str)], flags: &Flags) -> Configuration {
    let files = [source(SourceKind::System, SYSTEM), source(SourceKind::User, USER)];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, OsStr::new(*value))).collect();
    Configuration::parse(&files, &variables, flags, mode, &Accounts).unwrap()
}

fn origin(configuration: &Configuration, name: &str) -> String {
    let setting = configuration.setting(name).unwrap_or_else(|| panic!("{name}"));
    format!("{} {}", setting.value, setting.origin)
}

#[test]
fn a_users_agent_takes_from_the_systems_file_what_is_good_for_every_agent() {
    let found = both(OWNER, &[], &Flags::default());
    assert_eq!(origin(&found, "lock.idle"), "5m /home/ana/.config/keyagent/config.toml:2");
    assert_eq!(origin(&found, "lock.absolute"), "2h /etc/keyagent/config.toml:7");
    assert_eq!(origin(&found, "daemon.log"), "json /etc/keyagent/config.toml:4");
    assert_eq!(found.settings.lock.idle, Some(Duration::from_mins(5)));
    assert_eq!((&found.settings.key_file, &found.settings.state_dir), (&None, &None));
    assert_eq!(found.settings.listeners[0].name, "agent");
    assert!(found.policy.admins.is_empty());
    let names: Vec<_> = found.policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["ben"]);
    assert_eq!(origin(&found, "rule.ben"), "(rule 1) /home/ana/.config/keyagent/config.toml:3");
    assert_eq!(origin(&found, "rule.ben.user"), "ben /home/ana/.config/keyagent/config.toml:5");
}

#[test]
fn the_systems_agent_never_looks_at_a_users_file() {
    let user = source(SourceKind::User, "this is no TOML");
    let files = [
        source(
            SourceKind::System,
            "[lock]\nidle = \"1h\"\n[[rule]]\nname = \"a\"\nuid = 5\nkeys = \"k\"\nallow = \"decrypt\"\n",
        ),
        user,
    ];
    let found = Configuration::parse(&files, &[], &Flags::default(), Mode::System, &Accounts).unwrap();
    assert_eq!(origin(&found, "lock.idle"), "1h /etc/keyagent/config.toml:2");
    assert_eq!(found.policy.rules.len(), 1);
}

#[test]
fn variables_win_over_files_and_flags_over_variables() {
    let variables = [("KEYAGENT_LOG", "text"), ("KEYAGENT_KEY_FILE", "/v/key"), ("KEYAGENT_SOCK", "/no")];
    let found = both(OWNER, &variables, &Flags::default());
    assert_eq!(origin(&found, "daemon.log"), "text $KEYAGENT_LOG");
    assert_eq!(origin(&found, "daemon.key_file"), "/v/key $KEYAGENT_KEY_FILE");
    let flags = Flags {
        key_file: Some("/f/key".into()),
        state_dir: Some("/f/state".into()),
        socket: Some("/f/sock".into()),
        log: Some(LogFormat::Json),
    };
    let found = both(OWNER, &variables, &flags);
    assert_eq!(origin(&found, "daemon.log"), "json --log");
    assert_eq!(origin(&found, "daemon.key_file"), "/f/key --key-file");
    assert_eq!(origin(&found, "daemon.state_dir"), "/f/state --state-dir");
    assert_eq!(origin(&found, "listen.agent.path"), "/f/sock --socket");
    assert_eq!(found.settings.key_file, Some(PathBuf::from("/f/key")));
    assert_eq!(found.settings.log, LogFormat::Json);
    assert_eq!(found.settings.listeners.len(), 1);
    let empty = both(OWNER, &[("KEYAGENT_LOG", "")], &Flags::default());
    assert_eq!(
        origin(&empty, "daemon.log"),
        "json /etc/keyagent/config.toml:4",
        "set to nothing says nothing"
    );
}

#[test]
fn the_flag_for_the_socket_is_about_the_listener_agent() {
    let flags = Flags { socket: Some("/f/sock".into()), ..Flags::default() };
    let listeners = |text: &str| {
        let files = [source(SourceKind::Named, text)];
        let found = Configuration::parse(&files, &[], &flags, Mode::System, &Accounts).unwrap();
        assert_eq!(origin(&found, "listen.agent.path"), "/f/sock --socket");
        found.settings.listeners.into_iter().map(|each| (each.name, each.path, each.mode)).collect::<Vec<_>>()
    };
    let agent = |mode| ("agent".to_owned(), Some(PathBuf::from("/f/sock")), mode);
    assert_eq!(listeners(""), [agent(SocketMode::Everybody)]);
    let named = "[[listen]]\nname = \"agent\"\npath = \"/a\"\nmode = \"0600\"\n";
    assert_eq!(listeners(named), [agent(SocketMode::Owner)]);
    let other = ("other".to_owned(), Some(PathBuf::from("/o")), SocketMode::Everybody);
    assert_eq!(
        listeners("[[listen]]\nname = \"other\"\npath = \"/o\"\n"),
        [agent(SocketMode::Everybody), other]
    );
}

#[test]
fn never_takes_back_what_an_earlier_file_said() {
    let files = [
        source(SourceKind::System, "[lock]\nidle = \"1h\""),
        source(SourceKind::User, "[lock]\nidle = \"never\""),
    ];
    let found = Configuration::parse(&files, &[], &Flags::default(), OWNER, &Accounts).unwrap();
    assert_eq!(found.settings.lock.idle, None);
}

#[test]
fn every_setting_that_can_be_written_is_listed_once() {
    let found = good(
        "[[rule]]\nname = \"a\"\nuid = 5\nkeys = [\n \"k\",\n 'l' ]\nallow = \"decrypt\"\nno_reveal = false\n",
    );
    let mut names: Vec<_> = found.origins.iter().map(|setting| setting.name.clone()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    for (section, fields) in crate::scalars::SECTIONS {
        assert!(fields.iter().all(|field| names.contains(&format!("{section}.{field}"))), "{section}");
    }
    assert_eq!(origin(&found, "rule.a.keys"), "[k, l] /c.toml:4");
    assert_eq!(origin(&found, "rule.a.no_reveal"), "false /c.toml:8");
}

#[test]
fn the_files_are_those_of_the_mode_or_the_named_one() {
    use keyagent_common::layout::BaseFolders;
    let user = BaseFolders::User {
        config: "/h/.config".into(),
        data: "/h/d".into(),
        state: "/h/s".into(),
        runtime: None,
    };
    let shown = |base: &BaseFolders, named: Option<&str>| {
        files(base, named.map(std::path::Path::new))
            .into_iter()
            .map(|(kind, path)| (kind, path.display().to_string()))
            .collect::<Vec<_>>()
    };
    let system = (SourceKind::System, "/etc/keyagent/config.toml".to_owned());
    assert_eq!(shown(&BaseFolders::System, None), std::slice::from_ref(&system));
    let own = (SourceKind::User, "/h/.config/keyagent/config.toml".to_owned());
    assert_eq!(shown(&user, None), [system, own]);
    assert_eq!(shown(&user, Some("/n")), [(SourceKind::Named, "/n".to_owned())]);
}
