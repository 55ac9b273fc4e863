//! A method and a dataset that misbehave on purpose, for tests of what the host makes of it. Without a fault the method is a small LoRA
//! with a strategy that does nothing.

mod config;
mod dataset;
mod fault;
mod hoard;
mod method;
mod phases;
mod reach;
mod services;

use coin_plugin_api::export_plugin;

// The form that the two public ones expand to: no other plugin has both kinds.
export_plugin! {
    @export "stress", true, [coin_plugin_api::Need::StageData, coin_plugin_api::Need::Teacher], ["questions"],
    || coin_plugin_api::defaults(method::build),
    |config, context| coin_plugin_api::build_method(method::build, config, context),
    |name, root, config| {
        let datasets: &[(&str, coin_plugin_api::OpenDataset)] = &[("questions", dataset::open)];
        coin_plugin_api::open_dataset(datasets, name, root, config)
    }
}
