//! Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796; online: Schwarz et al. 2018, arXiv 1805.06370): weights
//! that mattered to earlier stages are held near the values they had then.

mod config;
mod consolidation;
mod method;

use coin_plugin_api::export_plugin;

export_plugin! { name: "ewc", method: method::build, needs: [StageData] }
