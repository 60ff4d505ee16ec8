//! keyagent(1) is what the command line's definition says.

use clap::CommandFactory;

use crate::arguments::CommandLine;

#[path = "../../packaging/manual.rs"]
mod rendering;

const BY_HAND: rendering::ByHand = rendering::ByHand {
    section: "1",
    description: ".PP
Secrets are read from standard input or files and written to standard output or files, never from arguments.
Every word for people goes to standard error. The keys stay in the memory of \\fBkeyagentd\\fR(8).
",
    negative: "The answer is no: \\fBstatus\\fR: locked; \\fBhealth\\fR, \\fBdoctor\\fR, \\fBaudit verify\\fR, \
               \\fBreport\\fR: something failed; \\fBpolicy explain\\fR: denied.",
    end: ".SH ENVIRONMENT
.TP
\\fBKEYAGENT_SOCK\\fR
Socket of the agent, as \\fB\\-\\-socket\\fR.
.TP
\\fBKEYAGENT_TIMEOUT\\fR
Longest time for one operation, as \\fB\\-\\-timeout\\fR.
.TP
\\fBKEYAGENT_AUTOSTART\\fR
\\fB0\\fR: start no agent when none is running.
.TP
\\fBKEYAGENT_NO_INPUT\\fR
\\fB1\\fR: never ask a question.
.TP
\\fBKEYAGENT_CONFIG\\fR
Configuration file instead of the usual ones.
.TP
\\fBNO_COLOR\\fR
No colours.
.SH FILES
.TP
\\fI~/.config/keyagent/key\\fR, \\fI/etc/keyagent/key\\fR
The master key; \\fIkey.protected\\fR beside it if a passphrase protects it.
.TP
\\fI~/.config/keyagent/config.toml\\fR, \\fI/etc/keyagent/config.toml\\fR
Configuration and policy, see \\fBkeyagent.toml\\fR(5).
.TP
\\fI~/.local/share/keyagent/keyring\\fR, \\fI/var/lib/keyagent/keyring\\fR
The keyring, sealed under the master key.
.TP
\\fI~/.local/state/keyagent/audit.log\\fR, \\fI/var/log/keyagent/audit.log\\fR
The audit log, with \\fIaudit.pin\\fR and rotated files beside it.
.TP
\\fI$XDG_RUNTIME_DIR/keyagent/agent.sock\\fR, \\fI/run/keyagent/agent.sock\\fR
The agent's socket.
.SH \"SEE ALSO\"
.BR keyagentd (8),
.BR keyagent.toml (5)
",
};

#[test]
fn the_page_says_what_the_definition_says() {
    rendering::compare("keyagent.1", &rendering::page(&CommandLine::command(), &BY_HAND));
}
