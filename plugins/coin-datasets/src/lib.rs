//! The eight tasks of CoIN (Chen et al. 2024, arXiv 2403.08350), read from its own files. Each task has a file that says where its
//! records are and what is particular about them; the others read what they have in common.

mod dataset;
mod file;
mod index;
mod item;
mod record;
mod split;
mod task;
mod text;
mod verify;

mod gqa;
mod grounding;
mod imagenet;
mod ocrvqa;
mod scienceqa;
mod textvqa;
mod vizwiz;
mod vqav2;

#[cfg(test)]
mod fixture;

use coin_plugin_api::export_plugin;

export_plugin! {
    name: "coin-datasets",
    datasets: {
        "scienceqa" => scienceqa::open,
        "textvqa" => textvqa::open,
        "imagenet" => imagenet::open,
        "gqa" => gqa::open,
        "vizwiz" => vizwiz::open,
        "grounding" => grounding::open,
        "vqav2" => vqav2::open,
        "ocrvqa" => ocrvqa::open,
    },
}
