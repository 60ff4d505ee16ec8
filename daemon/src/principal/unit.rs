//! From the text of `/proc/PID/cgroup` to the name of a systemd system unit.
//!
//! Pure. Only the part of the tree that the system manager makes itself is believed: slices, which nobody else may
//! fill, and the first group below them. What a unit, a container or a user's manager has made further down says
//! nothing, whatever it is called.

/// Longest name of a unit, in bytes.
const MAX_UNIT_BYTES: usize = 255;
/// The kinds of units that processes run in.
const KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// The unit in the line of control groups of version 2, if its path leads to one.
pub(super) fn of_cgroups(text: &[u8]) -> Option<&str> {
    // No name of a group holds a line break: the kernel refuses it.
    let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    of_path(path)
}

/// The unit of a path such as `system.slice/system-inst.slice/inst@x.service/below`.
fn of_path(path: &[u8]) -> Option<&str> {
    let mut components = path.split(|byte| *byte == b'/').map(unescape);
    let first = components.find(|component| !is_unit(component, &[".slice"]))?;
    is_unit(first, &KINDS).then(|| std::str::from_utf8(first).ok()).flatten()
}

/// Systemd puts one `_` before a name that means something to the kernel (`cpu.service`) or begins with `_`.
fn unescape(component: &[u8]) -> &[u8] {
    component.strip_prefix(b"_").unwrap_or(component)
}

/// Whether this is the whole name of a unit of one of these kinds, in systemd's own characters.
fn is_unit(name: &[u8], kinds: &[&str]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(byte);
    let prefix = kinds.iter().find_map(|kind| name.strip_suffix(kind.as_bytes()));
    prefix.is_some_and(|prefix| !prefix.is_empty() && prefix.first() != Some(&b'@'))
        && name.len() <= MAX_UNIT_BYTES
        && name.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, unit: Option<&str>) {
        let text = format!("12:pids:/other.service\n1:name=systemd:/named.service\n0::{path}\n");
        assert_eq!(of_cgroups(text.as_bytes()), unit, "{path:?}");
    }

    #[test]
    fn the_first_group_below_the_slices_is_the_unit() {
        check("/system.slice/nginx.service", Some("nginx.service"));
        check("/system.slice/system-inst.slice/inst@a-b\\x2dc.service", Some("inst@a-b\\x2dc.service"));
        check("/init.scope", Some("init.scope"));
        check("/system.slice/x.service/payload/y.service", Some("x.service"));
        check("/system.slice/agent.socket", Some("agent.socket"));
        check("/machine.slice/machine-a.scope/system.slice/x.service", Some("machine-a.scope"));
        check("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope"));
        check("/system.slice/_cpu.service", Some("cpu.service"));
        check("/system.slice/__own.service", Some("_own.service"));
    }

    #[test]
    fn units_of_a_users_manager_are_that_manager() {
        let below = "/user.slice/user-1000.slice/user@1000.service";
        check(below, Some("user@1000.service"));
        check(&format!("{below}/app.slice/nginx.service"), Some("user@1000.service"));
        check(&format!("{below}/system.slice/nginx.service"), Some("user@1000.service"));
    }

    #[test]
    fn what_systemd_did_not_make_is_no_unit() {
        for path in [
            "/",
            "",
            "/system.slice",
            "/system.slice/",
            "/docker/abc/system.slice/x.service",
            "/system.slice/plain/x.service",
            "/../system.slice/x.service",
            "/system.slice/../x.service",
            "/system.slice//x.service",
            "/system.slice/x.service (deleted)",
            "/system.slice/x.service\u{e9}",
            "/system.slice/x.timer",
            "/.service",
            "/@.service",
            "/x.SERVICE",
        ] {
            check(path, None);
        }
        check(&format!("/{}.service", "x".repeat(247)), Some(&format!("{}.service", "x".repeat(247))));
        check(&format!("/{}.service", "x".repeat(248)), None);
        assert_eq!(of_cgroups(b""), None);
        assert_eq!(of_cgroups(b"1:name=systemd:/x.service\n"), None, "version 1 alone");
        assert_eq!(of_cgroups(b"0:/x.service"), None);
        assert_eq!(of_cgroups(b"0::/\xff.service"), None);
    }
}
