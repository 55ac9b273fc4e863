//! Experience replay (Chaudhry et al. 2019, arXiv 1902.10486): a few rows of each batch come from a buffer of earlier stages.

mod buffer;
mod config;
mod method;

use coin_plugin_api::export_plugin;

export_plugin! { name: "replay", method: method::build, needs: [Replay, StageData] }
