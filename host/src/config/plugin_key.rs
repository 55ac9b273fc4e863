//! A key of a plugin's own that the plugin does not know: where it was written, and what was meant.

use crate::config::{Origin, Origins, RunConfig, nearest};

/// Adds to a plugin's message about an unknown key its place and the nearest known key; leaves any other message as it is.
pub fn located(message: &str, method: &str, config: &RunConfig, origins: &Origins) -> String {
    let Some((_, rest)) = message.split_once("unknown field `") else { return message.to_string() };
    let Some((field, rest)) = rest.split_once('`') else { return message.to_string() };
    // As serde lists them: "expected one of `r`, `lora_alpha`".
    let known: Vec<&str> = rest.lines().next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
    let stack = config.method(method).map_or(&[][..], |method| &method.stack);
    let of_plugin = |plugin: &str| {
        message.contains(&format!("plugin `{plugin}`")) || message.contains(&format!("plugin {plugin}"))
    };
    let entry = stack.iter().position(|entry| entry.config.contains_key(field) && of_plugin(&entry.plugin));
    let Some(entry) = entry else { return message.to_string() };
    let key = format!("methods.{method}.stack.{entry}.{field}");
    let place = match origins.of(&key) {
        Origin::Default => String::new(),
        origin => format!("{origin}: "),
    };
    let reason = message.replacen(", expected", "; expected", 1);
    match nearest::nearest(field, known.iter().copied()) {
        Some(near) => format!("{place}`{key}`: {reason}\nhint: did you mean `{near}`?"),
        None => format!("{place}`{key}`: {reason}"),
    }
}
