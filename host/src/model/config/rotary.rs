//! Rotary positions as config.json describes them: `rope_scaling` of transformers 4, `rope_parameters` of transformers 5. Only the
//! unscaled ones of the Llama decoder are computed here, and whatever asks for others is refused by the name of its key.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::TextConfig;

const HINT: &str = "hint: use a checkpoint without scaled rotary positions";

impl TextConfig {
    /// Takes `rope_theta` from where transformers 5 writes it, and leaves neither description behind.
    ///
    /// # Errors
    /// Anything that asks for other positions than the usual ones.
    pub(in crate::model) fn settle_rotary(&mut self) -> Result<()> {
        let given = |value: &mut Option<Value>| value.take().filter(|value| !value.is_null());
        let (scaling, parameters) = (given(&mut self.rope_scaling), given(&mut self.rope_parameters));
        let (key, value) = match (scaling, parameters) {
            (None, None) => return Ok(()),
            (Some(value), None) => ("rope_scaling", value),
            (None, Some(value)) => ("rope_parameters", value),
            // transformers takes the first alone, and `rope_theta` of the second is lost with it.
            (Some(scaling), Some(parameters)) => {
                ensure!(
                    scaling == parameters,
                    "config.json: text_config has both rope_scaling and rope_parameters, and they differ\n{HINT}, or keep one of the two"
                );
                ("rope_parameters", parameters)
            }
        };
        if let Some(theta) = unscaled(&value).with_context(|| format!("config.json: text_config.{key}"))? {
            self.rope_theta = theta;
        }
        Ok(())
    }
}

/// The base of positions that are not scaled, if it is given.
fn unscaled(value: &Value) -> Result<Option<f64>> {
    let Value::Object(keys) = value else { bail!("it is {value}, and an object is expected\n{HINT}") };
    // First of all: what its other keys mean depends on it.
    for key in ["rope_type", "type"] {
        if let Some(value) = keys.get(key).filter(|value| !value.is_null() && *value != "default") {
            bail!("`{key}` is {value}, and scaled rotary positions are not supported\n{HINT}");
        }
    }
    let mut theta = None;
    for (key, value) in keys {
        match (key.as_str(), value) {
            (_, Value::Null) | ("rope_type" | "type", _) => {}
            ("rope_theta", Value::Number(number)) => theta = number.as_f64(),
            ("partial_rotary_factor", Value::Number(number)) if number.as_f64() == Some(1.0) => {}
            // One description for each kind of layer, or a key of a kind of positions that is not known here.
            _ => bail!("the key `{key}` ({value}) is not supported\n{HINT}"),
        }
    }
    Ok(theta)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(scaling: Value, parameters: Value) -> Result<f64> {
        let mut text = TextConfig {
            rope_scaling: Some(scaling),
            rope_parameters: Some(parameters),
            ..TextConfig::default()
        };
        text.settle_rotary().map(|()| text.rope_theta)
    }

    #[test]
    fn usual_positions_are_taken_however_they_are_written() {
        let theta = |value: Value| settled(Value::Null, value).expect("usual");
        assert_eq!(theta(json!({"rope_type": "default", "rope_theta": 5e5})), 5e5);
        assert_eq!(theta(json!({"type": "default", "factor": null, "partial_rotary_factor": 1.0})), 1e4);
        assert_eq!(settled(json!({"type": "default", "rope_theta": 3e4}), Value::Null).expect("usual"), 3e4);
        assert_eq!(settled(json!({}), Value::Null).expect("usual"), 1e4);
    }

    /// What is passed over here gives the logits of another model.
    #[test]
    fn everything_else_is_refused_by_the_name_of_its_key() {
        for (value, said) in [
            (json!({"factor": 4.0, "type": "linear", "rope_theta": 1e4}), "`type` is \"linear\""),
            (json!({"rope_type": "default", "factor": 4.0}), "`factor`"),
            (json!({"type": "linear"}), "`type` is \"linear\""),
            (json!({"rope_type": "default", "type": "dynamic"}), "`type` is \"dynamic\""),
            (json!({"rope_type": "llama3"}), "`rope_type` is \"llama3\""),
            (json!({"full_attention": {"rope_type": "linear", "factor": 2.0}}), "`full_attention`"),
            (json!({"partial_rotary_factor": 0.5}), "`partial_rotary_factor`"),
            (json!({"rope_type": "default", "mrope_section": [1]}), "`mrope_section`"),
            (json!({"rope_theta": "1e4"}), "`rope_theta`"),
            (json!("linear"), "an object is expected"),
        ] {
            for (scaling, parameters) in [(value.clone(), Value::Null), (Value::Null, value.clone())] {
                let error = format!("{:#}", settled(scaling, parameters).expect_err("refused"));
                assert!(error.contains(said) && error.contains("hint:"), "{said}: {error}");
            }
        }
        let error = settled(json!({"type": "default"}), json!({"rope_theta": 5e5})).expect_err("refused");
        assert!(error.to_string().contains("both"), "{error}");
    }
}
