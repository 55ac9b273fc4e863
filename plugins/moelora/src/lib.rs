//! MoELoRA as CoIN defines it (Chen et al. 2024, arXiv 2403.08350): a dense mixture of low-rank experts beside each frozen linear,
//! with a router at each site and for each token.

mod config;
mod method;

use coin_plugin_api::export_plugin;

export_plugin! { name: "moelora", method: method::build, needs: [] }
