//! Reads what the kernel says about a mapping of this process (`/proc/self/smaps`); for tests only.

/// Permissions (`rw-p`) and flags (`lo dd wf …`) of the mapping that contains `address`.
pub(crate) fn of(address: usize) -> (String, Vec<String>) {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut permissions = None;
    for line in text.lines() {
        if let Some((range, rest)) = line.split_once(' ')
            && let Some((from, to)) = range.split_once('-')
            && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        {
            permissions = (from..to).contains(&address).then(|| rest[..4].to_owned());
        } else if let Some(flags) = line.strip_prefix("VmFlags: ")
            && let Some(permissions) = permissions.take()
        {
            return (permissions, flags.split_whitespace().map(str::to_owned).collect());
        }
    }
    panic!("no mapping contains {address:x}")
}

/// Bytes of the mapping that contains `address` for which there is memory.
pub(crate) fn resident(address: usize) -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{address:x}-");
    let lines = text.lines().skip_while(|line| !line.starts_with(&start));
    let kibibytes = lines.into_iter().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    kibibytes.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Whether the mapping has all of these two-letter flags.
pub(crate) fn has(address: usize, wanted: &[&str]) -> bool {
    let (_, flags) = of(address);
    wanted.iter().all(|flag| flags.iter().any(|found| found == flag))
}
