//! An error as a user reads it: what, where and why in one line, then the hints.

/// The messages of an error and of its causes, one after another; the hints of all of them come last.
pub fn message(error: &anyhow::Error) -> String {
    let (mut reasons, mut hints) = (Vec::new(), String::new());
    for cause in error.chain().map(ToString::to_string) {
        match cause.find("\nhint: ") {
            Some(end) => {
                reasons.push(cause[..end].to_string());
                hints.push_str(&cause[end..]);
            }
            None => reasons.push(cause),
        }
    }
    reasons.join(": ") + &hints
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::message;

    #[test]
    fn a_cause_does_not_end_up_in_a_hint() {
        let error =
            anyhow!("no such file").context("model/config.json cannot be read\nhint: name a checkpoint");
        assert_eq!(
            message(&error.context("task a")),
            "task a: model/config.json cannot be read: no such file\nhint: name a checkpoint"
        );
        assert_eq!(message(&anyhow!("a\nb")), "a\nb");
    }
}
