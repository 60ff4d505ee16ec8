//! What a running daemon lets others see, and what it inherits: looked at from outside, and tried by a
//! second process of the same user. Every attack also runs against an ordinary process, where it must work.

#![cfg(test)]

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread::sleep,
    time::{Duration, Instant},
};

use support::{Daemon, Home, KEYAGENTD, am_root, have, skipped};

/// An ordinary user who owns nothing else.
const USER: u32 = 64_321;
const AS_USER: [&str; 5] = ["setpriv", "--reuid=64321", "--regid=64321", "--clear-groups", "--inh-caps=-all"];
/// What an ordinary user may lock by default.
const USUAL_MEMLOCK: &str = "--memlock=8388608:8388608";

/// A home that belongs to the ordinary user, with a copy of the daemon that this user can start.
struct UserHome {
    home: Home,
    binary: PathBuf,
}

impl UserHome {
    fn new() -> Self {
        let home = Home::with_key(&support::random_key());
        let binary = home.join("keyagentd");
        fs::copy(KEYAGENTD, &binary).unwrap();
        for path in [home.path(), &home.join("config"), &home.key(), &binary] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        Self { home, binary }
    }

    /// keyagentd as that user, started through further programs.
    fn command(&self, through: &[&str]) -> Command {
        let mut words = through.iter().chain(&AS_USER);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(&self.binary);
        command.env_clear().env("HOME", self.home.join("user")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--state-dir").arg(self.home.state()).arg("--socket").arg(self.home.socket());
        command.arg("--key-file").arg(self.home.key()).arg("--new-keyring");
        command
    }

    fn start(&self, through: &[&str]) -> Daemon {
        // Root's client is not admitted, so that it serves is told by its socket.
        let daemon = Daemon::spawn(self.command(through), self.home.socket().as_path());
        wait_for(&self.home.socket(), &daemon);
        daemon
    }

    /// One field of `status`, asked as the user by this test binary itself.
    fn status(&self, name: &str) -> String {
        let this = copy_of_this_test(&self.home);
        let asked = Command::new(AS_USER[0])
            .args(&AS_USER[1..])
            .arg(this)
            .args(["--exact", "ask_for_status", "--nocapture", "--include-ignored"])
            .env(ASK_SOCKET, self.home.socket())
            .env(ASK_FIELD, name)
            .output()
            .unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stdout));
        let text = String::from_utf8(asked.stdout).unwrap();
        let (_, rest) = text.split_once("<<").unwrap();
        rest.split_once(">>").unwrap().0.to_owned()
    }
}

const ASK_SOCKET: &str = "KEYAGENT_HYGIENE_SOCKET";
const ASK_FIELD: &str = "KEYAGENT_HYGIENE_FIELD";

/// The part of this binary when it asks as another user; the daemon admits its own user alone.
#[test]
#[ignore = "only a helper of the other tests"]
fn ask_for_status() {
    let Some(socket) = std::env::var_os(ASK_SOCKET) else { return };
    let mut client = support::Client::greeted(Path::new(&socket));
    // A large message needs the large buffers.
    let large = vec![7; 1 << 20];
    let sealed = client.encrypt(&[0, 0], &large).unwrap();
    assert!(client.decrypt(&[0, 0], &sealed).unwrap() == large);
    println!("<<{}>>", client.status(&std::env::var(ASK_FIELD).unwrap()));
}

fn copy_of_this_test(home: &Home) -> PathBuf {
    let copy = home.join("this-test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn wait_for(socket: &Path, daemon: &Daemon) {
    let end = Instant::now() + Duration::from_secs(30);
    while !socket.exists() {
        assert!(Instant::now() < end, "the daemon does not serve: {}", daemon.stderr());
        sleep(Duration::from_millis(10));
    }
}

/// An ordinary process of the same user: what attacks are tried on first.
struct Ordinary(Child);

impl Ordinary {
    fn start() -> Self {
        let child = Command::new(AS_USER[0]).args(&AS_USER[1..]).args(["sleep", "600"]).spawn().unwrap();
        // setpriv becomes sleep: wait until it has, or its own privileges are what is tried.
        let comm = format!("/proc/{}/comm", child.id());
        while fs::read_to_string(&comm).unwrap().trim() != "sleep" {
            sleep(Duration::from_millis(5));
        }
        Self(child)
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn can_become_user(test: &str, programs: &[&str]) -> bool {
    if !am_root() {
        skipped(test, "only root can become another user for it");
        return false;
    }
    let missing = programs.iter().chain(&["setpriv"]).find(|program| !have(program));
    if let Some(program) = missing {
        skipped(test, &format!("{program} is not installed"));
    }
    missing.is_none()
}

fn proc_file(pid: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap()
}

fn status_line(pid: u32, name: &str) -> String {
    let status = proc_file(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}: {status}")).trim_start_matches(':').trim().to_owned()
}

fn core_limit(pid: u32) -> String {
    let limits = proc_file(pid, "limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_process_shows_nothing_and_keeps_nothing() {
    if !can_become_user("the_process_shows_nothing_and_keeps_nothing", &[]) {
        return;
    }
    let home = UserHome::new();
    let (daemon, ordinary) = (home.start(&[]), Ordinary::start());
    let (pid, other) = (daemon.pid(), ordinary.0.id());
    // Not dumpable: its files in /proc belong to root, although it does not run as root.
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid();
    assert_eq!((owner(pid), owner(other)), (0, USER));
    assert_eq!(core_limit(pid), "0 0");
    assert_eq!(status_line(pid, "NoNewPrivs"), "1");
    assert_eq!(status_line(pid, "Umask"), "0077");
    assert_eq!(status_line(pid, "CapEff"), "0000000000000000");
    assert_eq!(status_line(pid, "Uid"), format!("{USER}\t{USER}\t{USER}\t{USER}"));
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert!(!proc_file(pid, "maps").lines().any(|line| line.contains(" rwx")), "writable and executable");
    let key = fs::read_to_string(home.home.key()).unwrap();
    for place in ["environ", "cmdline", "comm"] {
        assert!(!proc_file(pid, place).contains(key.trim()), "the key is in {place}");
    }
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap) {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        assert!(target != home.home.key(), "the key file is still open");
        let target = target.to_string_lossy();
        assert!(!target.contains("secretmem"), "a descriptor to the pages of keys: {target}");
    }
}

#[test]
fn what_was_inherited_is_gone() {
    const INHERIT: &str = r#"
        for number in {3..100}; do eval "exec $number</etc/passwd"; done
        exec 0<&- 1>&- 2>&-
        ulimit -Sn 10; umask 0; cd /usr; trap '' TERM
        exec "$@""#;
    let home = Home::with_key(&support::random_key());
    let mut command = home.command_through(&["bash", "-c", INHERIT, "bash"]);
    command.arg("--new-keyring");
    let daemon = Daemon::start(command, &home.socket());
    let pid = daemon.pid();
    if let Some(count) = daemon.descriptors() {
        assert!(count < 40, "{count} descriptors");
        let target = |number: &str| fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
        for number in ["0", "1", "2"] {
            assert_eq!(target(number), Path::new("/dev/null"));
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap) {
            // A connection may end meanwhile.
            let target = fs::read_link(entry.path()).unwrap_or_default();
            assert_ne!(target, Path::new("/etc/passwd"));
        }
    }
    assert_eq!(status_line(pid, "Umask"), "0077");
    let mut client = daemon.client();
    let sealed = client.encrypt(&[0, 0], b"served all the same").unwrap();
    assert_eq!(client.decrypt(&[0, 0], &sealed).unwrap(), b"served all the same");
    for path in [home.state(), home.state_file("keyring"), home.state_file("audit.log"), home.socket()] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0, "{}", path.display());
    }
    drop(client);
    daemon.terminate();
}

/// Tries everything one process of a user can do to another; prints a line for each: name and errno, 0 if it worked.
const ATTACKS: &str = r#"
import ctypes, os, sys
pid = int(sys.argv[1]); libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
def tell(name, failed):
    print(name, ctypes.get_errno() if failed else 0)
def call(name, *arguments):
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    tell(name, result < 0); return result
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
for name, request in (("ptrace-attach", PTRACE_ATTACH), ("ptrace-seize", PTRACE_SEIZE)):
    failed = libc.ptrace(request, pid, 0, 0) < 0
    tell(name, failed)
    if not failed:
        # A seized process has to be stopped before it can be let go; the end of this one does that.
        if request == PTRACE_ATTACH: os.waitpid(pid, 0); libc.ptrace(PTRACE_DETACH, pid, 0, 0)
def reads(name, path, how):
    try: how(path); print(name, 0)
    except OSError as error: print(name, error.errno)
def first(path):
    with open(path, "rb") as file: file.read(1)
reads("mem", f"/proc/{pid}/mem", lambda path: open(path, "rb").close())
for name in ("environ", "maps", "auxv", "syscall"): reads(name, f"/proc/{pid}/{name}", first)
reads("fd", f"/proc/{pid}/fd", os.listdir)
reads("cwd", f"/proc/{pid}/cwd", os.readlink)
class iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
# Where there is nothing to read the answer is EFAULT, but only for who may read at all.
buffer = ctypes.create_string_buffer(8)
local, remote = iovec(ctypes.addressof(buffer), 8), iovec(0x1000, 8)
result = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
print("process_vm_readv", 0 if result >= 0 or ctypes.get_errno() == 14 else ctypes.get_errno())
pidfd = libc.syscall(434, ctypes.c_long(pid), ctypes.c_long(0))
call("pidfd_getfd", 438, pidfd, 2, 0)
"#;

fn attack(pid: u32) -> Vec<(String, i32)> {
    let output = Command::new(AS_USER[0])
        .args(&AS_USER[1..])
        .args(["/usr/bin/python3", "-c", ATTACKS, &pid.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, errno)| (name.to_owned(), errno.parse().unwrap()))
        .collect()
}

fn by_gdb(pid: u32) -> String {
    let output = Command::new(AS_USER[0])
        .args(&AS_USER[1..])
        .args(["gdb", "--batch", "-nx", "-p", &pid.to_string(), "-ex", "info registers"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn another_process_of_the_user_cannot_look_inside() {
    const TEST: &str = "another_process_of_the_user_cannot_look_inside";
    if !can_become_user(TEST, &["/usr/bin/python3", "gdb"]) {
        return;
    }
    let home = UserHome::new();
    let daemon = home.start(&[]);
    let attacks = attack(daemon.pid());
    assert_eq!(attacks.len(), 11);
    for (name, errno) in attacks {
        // EPERM or EACCES
        assert!(errno == 1 || errno == 13, "{name}: errno {errno}");
    }
    let said = by_gdb(daemon.pid());
    assert!(said.contains("Operation not permitted") && !said.contains("rip"), "{said}");
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if !matches!(yama.trim(), "" | "0") {
        return skipped(TEST, "the control: Yama forbids these attacks on any process");
    }
    let ordinary = Ordinary::start();
    for (name, errno) in attack(ordinary.0.id()) {
        assert_eq!(errno, 0, "the attack itself does not work: {name}");
    }
    assert!(by_gdb(ordinary.0.id()).contains("rip"), "the attack itself does not work");
}

/// The kernel's `core_pattern`, put back at the end.
struct CorePattern {
    before: String,
}

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// It belongs to the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl CorePattern {
    fn set(pattern: &str) -> Option<Self> {
        let before = fs::read_to_string(CORE_PATTERN).ok()?;
        let changed = Self { before };
        fs::write(CORE_PATTERN, pattern).ok()?;
        (fs::read_to_string(CORE_PATTERN).ok()?.trim() == pattern).then_some(changed)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let restored = fs::write(CORE_PATTERN, &self.before);
        assert!(restored.is_ok(), "core_pattern was {:?}: {restored:?}", self.before);
    }
}

#[test]
fn a_crash_leaves_no_core_not_even_through_a_pipe() {
    const TEST: &str = "a_crash_leaves_no_core_not_even_through_a_pipe";
    if !can_become_user(TEST, &[]) {
        return;
    }
    let _one = ONE_AT_A_TIME.lock().unwrap();
    let home = UserHome::new();
    let cores = home.home.join("cores");
    support::make_folder(&cores, 0o700);
    let collector = home.home.join("collect");
    fs::write(&collector, format!("#!/bin/sh\nexec cat > {}/$1\n", cores.display())).unwrap();
    fs::set_permissions(&collector, fs::Permissions::from_mode(0o700)).unwrap();
    let mut daemon = home.start(&[]);
    let Some(_pattern) = CorePattern::set(&format!("|{} %p", collector.display())) else {
        return skipped(TEST, "core_pattern cannot be changed here");
    };
    let crash = |pid: u32| {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
            nix::sys::signal::Signal::SIGSEGV,
        )
        .unwrap();
    };
    // The control, with the limit that is thought to forbid cores: a pipe does not care.
    let mut ordinary = Command::new("sh").args(["-c", "ulimit -c 0; exec sleep 600"]).spawn().unwrap();
    sleep(Duration::from_millis(300));
    crash(ordinary.id());
    ordinary.wait().unwrap();
    let core = |pid: u32| fs::metadata(cores.join(pid.to_string())).map_or(0, |core| core.len());
    let end = Instant::now() + Duration::from_secs(10);
    while core(ordinary.id()) == 0 {
        if Instant::now() > end {
            return skipped(TEST, "this kernel gives no core to a pipe, not even of an ordinary process");
        }
        sleep(Duration::from_millis(50));
    }
    let pid = daemon.pid();
    // Rust's handler takes the first one for a stack overflow and looks; the second one kills.
    while !daemon.has_ended() {
        assert!(Instant::now() < end + Duration::from_secs(20), "it does not die");
        crash(pid);
        sleep(Duration::from_millis(100));
    }
    let finished = daemon.wait();
    assert_eq!(finished.signal, Some(nix::sys::signal::Signal::SIGSEGV as i32));
    sleep(Duration::from_secs(1));
    assert_eq!(core(pid), 0, "a core of the daemon was written");
}

#[test]
fn without_locked_memory_it_refuses_or_says_degraded() {
    const TEST: &str = "without_locked_memory_it_refuses_or_says_degraded";
    if !can_become_user(TEST, &["prlimit"]) {
        return;
    }
    let home = UserHome::new();
    for limit in ["--memlock=0:0", "--memlock=65536:65536", "--memlock=1048576:1048576"] {
        let finished = home.home.must_refuse(&mut home.command(&["prlimit", limit]), 78, "MEMORY_NOT_LOCKED");
        assert!(finished.stderr.contains("RLIMIT_MEMLOCK"), "{}", finished.stderr);
    }
    let mut command = home.command(&["prlimit", "--memlock=0:0"]);
    command.arg("--allow-unlocked-memory");
    let daemon = Daemon::spawn(command, &home.home.socket());
    wait_for(&home.home.socket(), &daemon);
    assert!(daemon.stderr().contains("DEGRADED"), "{}", daemon.stderr());
    assert_eq!(home.status("degraded"), "memory is not locked");
    assert_eq!(home.status("memory"), "unlocked");
}

#[test]
fn the_usual_limit_of_an_ordinary_user_is_enough() {
    const TEST: &str = "the_usual_limit_of_an_ordinary_user_is_enough";
    if !can_become_user(TEST, &["prlimit"]) {
        return;
    }
    let home = UserHome::new();
    let daemon = home.start(&["prlimit", USUAL_MEMLOCK]);
    assert_eq!(home.status("degraded"), "");
    let memory = home.status("memory");
    assert!(memory == "memfd_secret" || memory == "mlock", "{memory}");
    let announced: usize = home.status("memory_bytes").parse().unwrap();
    let locked = status_line(daemon.pid(), "VmLck");
    let locked: usize = locked.trim_end_matches(" kB").parse::<usize>().unwrap() * 1024;
    assert!(locked <= 8 << 20 && announced <= 8 << 20, "{locked} locked, {announced} announced");
}
