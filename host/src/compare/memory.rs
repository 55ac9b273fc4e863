//! Memory of a process: its peak per cell, and what it has now.

/// Begins a new peak, so that a cell is not charged for one before it. Where the system cannot, the peak is the process's.
pub fn reset_peak() {
    let _unsupported = std::fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident size since the last reset, in bytes; 0 where the system does not tell.
pub fn peak() -> u64 {
    of_status("self", "VmHWM:")
}

/// Resident size of a process now, by its id or `self`, in bytes; 0 where the system does not tell.
pub fn resident(process: &str) -> u64 {
    of_status(process, "VmRSS:")
}

fn of_status(process: &str, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes =
        line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
