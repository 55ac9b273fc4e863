//! LoRA (Hu et al. 2021, arXiv 2106.09685): a trained low-rank update beside each frozen linear.

mod config;
mod method;

use coin_plugin_api::export_plugin;

export_plugin! { name: "lora", method: method::build, needs: [] }
