//! The adapter: `output + lora_alpha / r * B A dropout(input)`.

use coin_plugin_api::{Adapter, Error, Method, Registry, Result, Step, Tensor, nn};

use crate::config::Config;

struct Lora {
    scaling: f64,
    dropout: f64,
}

pub(crate) fn build(config: Config, registry: &Registry) -> Result<Method> {
    if config.r <= 0 {
        return Err(Error::config(format!(
            "r = {} is not a rank\nhint: a rank is a positive integer, for example 16",
            config.r
        )));
    }
    if !(0.0..1.0).contains(&config.lora_dropout) {
        return Err(Error::config(format!("lora_dropout = {} is not in [0, 1)", config.lora_dropout)));
    }
    for site in registry.target_sites(&config.target_modules)? {
        nn::register_low_rank(registry, &site, config.r)?;
    }
    Ok(Method::adapter(Lora { scaling: config.lora_alpha / config.r as f64, dropout: config.lora_dropout }))
}

impl Adapter for Lora {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        // A site that is not a target has no tensors.
        let [a, b] = parameters else { return Ok(output.clone()) };
        let update = nn::low_rank(&step.dropout(input, self.dropout)?, a, b, self.scaling)?;
        output.add(&update)
    }

    fn merged_delta(&self, _site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        let [a, b] = parameters else { return Ok(None) };
        Ok(Some(nn::low_rank_delta(a, b, self.scaling)?))
    }

    fn token_local(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use coin_plugin_api::PassPhase;
    use coin_plugin_api::testing::{Recording, adapter};

    use super::*;

    fn adapted(config: Config, phase: PassPhase) -> Recording {
        let recording = Recording::start();
        let site = recording.add_site("layers.0.q_proj", 6, 5);
        let method = build(config, &recording.registry()).expect("a good configuration");
        let parameters = recording.site_parameters(&site).expect("registered");
        let (x, y) = (recording.tensor("x", &[2, 3, 6]), recording.tensor("y", &[2, 3, 5]));
        adapter(&method).adapt(0, &x, &y, &parameters, &recording.step(phase)).expect("shapes fit");
        recording
    }

    #[test]
    fn the_update_is_two_products() {
        let config = Config { r: 4, ..Config::default() };
        insta::assert_snapshot!(adapted(config, PassPhase::Train).trace(), @r"
        %0[2, 3, 4] = linear(x[2, 3, 6], lora_A.weight[4, 6])
        %1[2, 3, 4] = mul_scalar(%0[2, 3, 4], 8)
        %2[2, 3, 5] = linear(%1[2, 3, 4], lora_B.weight[5, 4])
        %3[2, 3, 5] = add(y[2, 3, 5], %2[2, 3, 5])
        ");
    }

    #[test]
    fn dropout_is_for_training_only() {
        let config = || Config { r: 4, lora_dropout: 0.5, ..Config::default() };
        assert!(
            adapted(config(), PassPhase::Train).trace().starts_with("%0[2, 3, 6] = dropout(x[2, 3, 6], 0.5)")
        );
        assert!(!adapted(config(), PassPhase::Decode).trace().contains("dropout"));
    }

    #[test]
    fn the_merged_delta_does_what_the_adapter_does() {
        let recording = Recording::start();
        let site = recording.add_site("layers.0.q_proj", 6, 5);
        let method =
            build(Config { r: 4, ..Config::default() }, &recording.registry()).expect("a good configuration");
        let parameters = [recording.tensor("a", &[4, 6]), recording.tensor("b", &[5, 4])];
        let (x, y) = (recording.tensor("x", &[3, 6]), recording.tensor("y", &[3, 5]));
        let adapter = adapter(&method);
        let adapted = adapter.adapt(site.index, &x, &y, &parameters, &recording.step(PassPhase::Decode));
        let delta =
            adapter.merged_delta(site.index, &parameters).expect("shapes fit").expect("LoRA can be merged");
        let merged = y.add(&x.linear(&delta).expect("shapes fit")).expect("shapes fit");
        let pairs = adapted
            .expect("shapes fit")
            .to_floats()
            .expect("known")
            .into_iter()
            .zip(merged.to_floats().expect("known"));
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
        assert_eq!(adapter.merged_delta(site.index, &[]).expect("no tensors").map(|_| ()), None);
    }

    #[test]
    fn sites_that_are_no_target_keep_their_output() {
        let recording = Recording::start();
        let method = build(Config::default(), &recording.registry()).expect("a good configuration");
        let (x, y) = (recording.tensor("x", &[1, 6]), recording.tensor("y", &[1, 5]));
        let same =
            adapter(&method).adapt(0, &x, &y, &[], &recording.step(PassPhase::Train)).expect("nothing to do");
        assert_eq!(format!("{same:?}"), "y[1, 5]");
    }

    #[test]
    fn wrong_values_are_refused() {
        let recording = Recording::start();
        recording.add_site("layers.0.q_proj", 6, 5);
        let refused = |config| {
            build(config, &recording.registry()).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(Config { r: 0, ..Config::default() }).starts_with("r = 0"));
        assert!(refused(Config { lora_dropout: 1.0, ..Config::default() }).starts_with("lora_dropout = 1"));
        let module = Config { target_modules: vec![String::from("qproj")], ..Config::default() };
        assert!(refused(module).contains("hint: it has q_proj"));
    }
}
