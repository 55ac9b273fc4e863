//! Unit tests on a recording host: names instead of memory, every operation in a trace, no libtorch.

use coin_plugin_api::PassPhase;
use coin_plugin_api::testing::{Recording, adapter};

use super::*;

#[test]
fn the_update_is_two_products() {
    let recording = Recording::start();
    let site = recording.add_site("layers.0.q_proj", 6, 5);
    let config = Config { r: 4, ..Config::default() };
    let method = build(config, &recording.registry()).expect("a good configuration");
    let parameters = recording.site_parameters(&site).expect("registered");
    let (x, y) = (recording.tensor("x", &[2, 3, 6]), recording.tensor("y", &[2, 3, 5]));
    let step = recording.step(PassPhase::Train);
    let output = adapter(&method).adapt(site.index, &x, &y, &parameters, &step).expect("shapes fit");
    assert_eq!(output.shape().expect("known"), [2, 3, 5]);
    assert!(recording.trace().starts_with("%0[2, 3, 4] = linear(x[2, 3, 6], lora_A.weight[4, 6])"));
}

#[test]
fn wrong_values_are_refused() {
    let recording = Recording::start();
    recording.add_site("layers.0.q_proj", 6, 5);
    let error = build(Config { r: 0, ..Config::default() }, &recording.registry()).err().expect("refused");
    assert!(error.to_string().starts_with("r = 0"), "{error}");
}
