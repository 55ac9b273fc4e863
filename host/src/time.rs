//! Times as people read them.

use std::time::Duration;

/// `42 s`, `3 min 05 s`, `2 h 10 min`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let text = |seconds| short(Duration::from_secs(seconds));
        assert_eq!(
            [text(0), text(59), text(60), text(3599), text(3600), text(90_000)].join(" | "),
            "0 s | 59 s | 1 min 00 s | 59 min 59 s | 1 h 00 min | 25 h 00 min"
        );
    }
}
