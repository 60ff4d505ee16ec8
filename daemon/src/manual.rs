//! keyagentd(8) is what the command line's definition says.

use clap::CommandFactory;

use crate::options::Options;

#[path = "../../packaging/manual.rs"]
mod rendering;

const BY_HAND: rendering::ByHand = rendering::ByHand {
    section: "8",
    description: ".PP
It opens no network socket and starts no program. Usually \\fBkeyagent\\fR(1) \\fBstart\\fR or a service manager starts it.
The order in which it looks for a master key, and everything that it refuses, is in
docs/ARCHITECTURE.md.
",
    negative: "\\fB\\-\\-verify\\-audit\\fR: something was found.",
    end: ".SH SIGNALS
.TP
\\fBSIGTERM\\fR, \\fBSIGINT\\fR
Finish the requests that have begun, wipe every key, end.
.TP
\\fBSIGHUP\\fR
Read configuration, policy and keyring again, as \\fBkeyagent reload\\fR.
.SH ENVIRONMENT
.TP
\\fBKEYAGENT_KEY_FILE\\fR
As \\fB\\-\\-key\\-file\\fR.
.TP
\\fBKEYAGENT_KEY\\fR
The master key itself; overwritten before any thread exists. Better are a file or a credential.
.TP
\\fBKEYAGENT_EXPECT_KEY_ID\\fR
Fingerprint that the master key must have; another key is refused.
.TP
\\fBCREDENTIALS_DIRECTORY\\fR
As \\fB\\-\\-credentials\\-dir\\fR; set by systemd.
.TP
\\fBKEYAGENT_CONFIG\\fR, \\fBKEYAGENT_LOG\\fR
As \\fB\\-\\-config\\fR and \\fB\\-\\-log\\fR.
.SH FILES
.TP
\\fI~/.config/keyagent/\\fR, \\fI/etc/keyagent/\\fR
\\fIkey\\fR or \\fIkey.protected\\fR: the master key. \\fIconfig.toml\\fR: see \\fBkeyagent.toml\\fR(5).
.TP
\\fI~/.local/share/keyagent/\\fR, \\fI/var/lib/keyagent/\\fR
\\fIkeyring\\fR, its lock, the marker \\fIinitialized\\fR, and \\fImaintenance\\fR while sealing is stopped.
.TP
\\fI~/.local/state/keyagent/\\fR, \\fI/var/log/keyagent/\\fR
\\fIaudit.log\\fR, \\fIaudit.pin\\fR, rotated files of the log, and \\fIdaemon.log\\fR.
.TP
\\fI$XDG_RUNTIME_DIR/keyagent/agent.sock\\fR, \\fI/run/keyagent/agent.sock\\fR
The socket. \\fIagent.sock.lock\\fR is held by the one daemon that serves it.
.SH \"SEE ALSO\"
.BR keyagent (1),
.BR keyagent.toml (5)
",
};

#[test]
fn the_page_says_what_the_definition_says() {
    rendering::compare("keyagentd.8", &rendering::page(&Options::command(), &BY_HAND));
}
