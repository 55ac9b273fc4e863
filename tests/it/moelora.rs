//! The shipped MoELoRA against its definition, an expert at a time: outputs and gradients.

use std::cell::Cell;

use coin_host::config::{Plugins, Trust};
use coin_host::model::{Part, Site};
use coin_host::ops::Services;
use coin_host::plugin::Catalog;
use coin_host::plugin::discover::Surroundings;
use coin_plugin_api::abi::{RawParameterSpec, RawSite};
use tch::{Kind, Tensor};

use crate::built;

const EXPERTS: i64 = 4;
const RANK: i64 = 8;
const SCALING: f64 = 16.0 / RANK as f64;
const INPUT: i64 = 24;
const OUTPUT: i64 = 20;

/// A training step on one site.
struct OneSite {
    registered: Cell<u64>,
}

impl Services for OneSite {
    fn hook(&self) -> String {
        String::from("moelora.adapt")
    }

    fn sites(&self) -> anyhow::Result<Vec<RawSite>> {
        Ok(vec![RawSite {
            index: 0,
            path: "layers.0.q_proj".into(),
            module: "q_proj".into(),
            part: 0,
            in_features: INPUT as u64,
            out_features: OUTPUT as u64,
        }])
    }

    fn register(&self, _spec: RawParameterSpec) -> anyhow::Result<u64> {
        Ok(self.registered.replace(self.registered.get() + 1))
    }

    fn training(&self) -> bool {
        true
    }
}

/// Values in `[-0.5, 0.5)` that differ from place to place.
pub(crate) fn leaf(sizes: &[i64], start: u64) -> Tensor {
    let count = sizes.iter().product::<i64>() as u64;
    let value = |place: u64| {
        let bits = (start + place).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..count).map(value).collect();
    Tensor::from_slice(&values).f_reshape(sizes).expect("as many values").set_requires_grad(true)
}

/// `output + sum over experts of gate_i * scaling * (input A_i^T) B_i^T`.
fn definition(
    input: &Tensor,
    output: &Tensor,
    [a, b, router]: [&Tensor; 3],
) -> Result<Tensor, tch::TchError> {
    let gate = input.f_linear(router, None::<&Tensor>)?.f_softmax(-1, Kind::Float)?;
    let (a, b) = (a.f_chunk(EXPERTS, 0)?, b.f_chunk(EXPERTS, 1)?);
    let mut sum = output.shallow_clone();
    for expert in 0..EXPERTS {
        let at = expert as usize;
        let update = input.f_matmul(&a[at].f_tr()?)?.f_matmul(&b[at].f_tr()?)?.f_mul_scalar(SCALING)?;
        sum = sum.f_add(&update.f_mul(&gate.f_narrow(-1, expert, 1)?)?)?;
    }
    Ok(sum)
}

#[test]
fn the_fused_experts_have_the_outputs_and_gradients_of_the_loop() {
    let plugins = Plugins { dirs: Vec::new(), dev: vec![built::folder()], trust: Trust::Locked };
    let surroundings = Surroundings { program: Some(built::folder()), ..Surroundings::default() };
    let plugin = Catalog::open_in(&plugins, &surroundings).load("moelora").expect("the plugin was built");
    let config = format!("r = {RANK}\nlora_alpha = 16.0\nexpert_num = {EXPERTS}").parse().expect("TOML");
    let services = OneSite { registered: Cell::new(0) };
    let adapter =
        plugin.build(&config, &services).expect("a good configuration").adapter.expect("an adapter");
    assert_eq!(services.registered.get(), 3);

    let site = Site {
        index: 0,
        path: "layers.0.q_proj".into(),
        module: "q_proj".into(),
        in_features: INPUT,
        out_features: OUTPUT,
        part: Part::Language,
    };
    let leaves = || {
        let sizes: [&[i64]; 5] =
            [&[RANK, INPUT], &[OUTPUT, RANK], &[EXPERTS, INPUT], &[3, 5, INPUT], &[3, 5, OUTPUT]];
        let mut start = 0;
        sizes.map(|sizes| {
            start += 10_000;
            leaf(sizes, start)
        })
    };
    let weights = leaf(&[3, 5, OUTPUT], 1).detach();
    let gradients = |leaves: &[Tensor; 5], result: &Tensor| {
        result
            .f_mul(&weights)
            .and_then(|product| product.f_sum(Kind::Float))
            .and_then(|sum| sum.f_backward())
            .expect("a graph");
        leaves.each_ref().map(Tensor::grad)
    };

    let fused = leaves();
    let [a, b, router, input, output] = &fused;
    let parameters = [a, b, router].map(Tensor::shallow_clone);
    let fused_result = adapter.adapt(&site, input, output, &parameters, &services).expect("shapes fit");
    let fused_gradients = gradients(&fused, &fused_result);

    let looped = leaves();
    let [a, b, router, input, output] = &looped;
    let looped_result = definition(input, output, [a, b, router]).expect("shapes fit");
    let looped_gradients = gradients(&looped, &looped_result);

    let distance = |a: &Tensor, b: &Tensor| {
        let most = a
            .f_sub(b)
            .and_then(|difference| difference.f_abs())
            .and_then(|distance| distance.f_max())
            .expect("same shapes");
        f64::try_from(most).expect("a scalar")
    };
    assert!(distance(&fused_result, &looped_result) < 1e-5);
    for (name, (fused, looped)) in
        ["A", "B", "router", "input", "output"].into_iter().zip(fused_gradients.iter().zip(&looped_gradients))
    {
        assert!(f64::try_from(looped.abs().max()).expect("a scalar") > 1e-3, "{name} has a gradient");
        assert!(distance(fused, looped) < 1e-5, "{name}: {}", distance(fused, looped));
    }
}
