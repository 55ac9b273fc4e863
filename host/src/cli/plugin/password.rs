//! Passwords of secret keys: from the environment, else from the terminal.

use anyhow::{Context as _, Result, bail, ensure};

/// The variable with the password, for programs.
const VARIABLE: &str = "COIN_HOST_KEY_PASSWORD";

fn given() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|password| !password.is_empty())
}

fn ask(prompt: &str) -> Result<String> {
    rpassword::prompt_password(prompt)
        .with_context(|| format!("no password can be asked for here\nhint: set {VARIABLE}, or make a key with `keygen --no-password`"))
}

/// The password of a key that is there.
pub(super) fn known() -> Result<String> {
    given().map_or_else(|| ask("Password of the key: "), Ok)
}

/// A password for a new key, typed twice.
pub(super) fn new() -> Result<String> {
    if let Some(password) = given() {
        return Ok(password);
    }
    let password = ask("Password for the new key: ")?;
    ensure!(!password.is_empty(), "the password is empty\nhint: `--no-password` makes a key without one");
    if ask("The same again: ")? != password {
        bail!("the two passwords differ\nhint: give the command again");
    }
    Ok(password)
}
