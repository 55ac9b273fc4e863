//! The eight tasks of CoIN (Chen et al. 2024, arXiv 2403.08350), read from its own files, and any other task in LLaVA's layout. Each task
//! has a file that says where its records are and what is particular about them; the others read what they have in common.

mod coin;
mod dataset;
mod file;
mod index;
mod instructions;
mod json;
mod record;
mod side;
mod split;
mod task;
mod text;

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

use crate::coin::open;

export_plugin! {
    name: "coin-datasets",
    datasets: {
        "scienceqa" => |root, config| open(&scienceqa::TASK, root, config),
        "textvqa" => |root, config| open(&textvqa::TASK, root, config),
        "imagenet" => |root, config| open(&imagenet::TASK, root, config),
        "gqa" => |root, config| open(&gqa::TASK, root, config),
        "vizwiz" => |root, config| open(&vizwiz::TASK, root, config),
        "grounding" => |root, config| open(&grounding::TASK, root, config),
        "vqav2" => |root, config| open(&vqav2::TASK, root, config),
        "ocrvqa" => |root, config| open(&ocrvqa::TASK, root, config),
        "instructions" => instructions::open,
    },
}
