//! What the plugin border costs: a LoRA step (rows 64, width 256, r = 8; forward, backward, update) by native calls and through the
//! border, in turn, so that whatever else the machine does meets both alike. Prints the median time of each and their ratio.
//!
//! `cargo run --release -p coin-host --example border_cost`

use std::io::Write as _;
use std::time::Instant;

use abi_stable::std_types::RStr;
use anyhow::{Context as _, Result, anyhow};
use coin_host::ops::{self, Services, enter, lend, take};
use coin_host::stream::random::Draws;
use coin_plugin_api::abi::RawMethod;
use coin_plugin_api::{Adapter, Method, NoConfig, NoGrad, ParameterId, Registry, Step, Tensor as Handle, nn};
use tch::Tensor;

const ROWS: i64 = 64;
const WIDTH: i64 = 256;
const R: i64 = 8;
const SCALING: f64 = 2.0;
const LEARNING_RATE: f64 = 0.01;
const ROUNDS: usize = 9;
const STEPS: usize = 300;

const IDS: [ParameterId; 2] = [ParameterId(0), ParameterId(1)];

struct Hook<'a>(&'a [Tensor]);

impl Services for Hook<'_> {
    fn hook(&self) -> String {
        "lora.adapt".into()
    }

    fn set_value(&self, id: u64, value: &Tensor) -> Result<()> {
        update(&self.0[id as usize], value)
    }
}

fn update(parameter: &Tensor, value: &Tensor) -> Result<()> {
    parameter.f_detach()?.f_copy_(value)?;
    Ok(())
}

/// A whole step inside the adapter: far more calls than a method makes, which is what is to be measured.
struct Lora;

impl Adapter for Lora {
    fn adapt(
        &self,
        _site: usize,
        input: &Handle,
        weight: &Handle,
        parameters: &[Handle],
        step: &Step,
    ) -> coin_plugin_api::Result<Handle> {
        let (a, b) = (&parameters[0], &parameters[1]);
        let output = input.linear(weight)?.add(&nn::low_rank(input, a, b, SCALING)?)?;
        let loss = output.square()?.mean_all()?;
        let gradients = loss.gradients(&[a, b], false, false)?;
        let _outside = NoGrad::new();
        for ((id, parameter), gradient) in IDS.into_iter().zip(parameters).zip(&gradients) {
            step.parameters().set_value(id, &parameter.add_scaled(gradient, -LEARNING_RATE)?)?;
        }
        loss.detach()
    }
}

fn build(_: NoConfig, _: &Registry) -> coin_plugin_api::Result<Method> {
    Ok(Method::adapter(Lora))
}

fn through_border(
    method: &RawMethod,
    input: &Tensor,
    weight: &Tensor,
    parameters: &[Tensor; 2],
) -> Result<Tensor> {
    let adapter = method.adapter.as_ref().into_option().context("no adapter")?;
    let raws = [lend(&parameters[0]), lend(&parameters[1])];
    let raw = enter(&Hook(parameters), |context| {
        adapter.adapt(0, lend(input), lend(weight), raws.as_slice().into(), context)
    });
    take(raw.into_result().map_err(|error| anyhow!("{}", error.message))?)
}

fn natively(input: &Tensor, weight: &Tensor, parameters: &[Tensor; 2]) -> Result<Tensor> {
    let [a, b] = parameters;
    let middle = input.f_linear::<&Tensor>(a, None)?.f_mul_scalar(SCALING)?;
    let output = input.f_linear::<&Tensor>(weight, None)?.f_add(&middle.f_linear::<&Tensor>(b, None)?)?;
    let loss = output.f_square()?.f_mean(None)?;
    let gradients = Tensor::f_run_backward(&[&loss], parameters, false, false)?;
    tch::no_grad(|| -> Result<()> {
        for (parameter, gradient) in parameters.iter().zip(&gradients) {
            let updated = parameter.f_add(&gradient.f_mul_scalar(-LEARNING_RATE)?)?;
            update(parameter, &updated)?;
        }
        Ok(())
    })?;
    Ok(loss.f_detach()?)
}

fn random(sizes: [i64; 2], seed: u64) -> Result<Tensor> {
    let mut draws = Draws::from_seed(seed);
    let values: Vec<f32> = (0..sizes[0] * sizes[1]).map(|_| draws.normal() as f32 * 0.1).collect();
    Ok(Tensor::f_from_slice(&values)?.f_reshape(sizes)?)
}

fn parameters() -> Result<[Tensor; 2]> {
    Ok([random([R, WIDTH], 3)?.f_set_requires_grad(true)?, random([WIDTH, R], 4)?.f_set_requires_grad(true)?])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    tch::set_num_threads(1);
    coin_plugin_api::attach(ops::host()).into_result().map_err(|error| anyhow!("{}", error.message))?;
    let method = enter(&Hook(&[]), |context| coin_plugin_api::build_method(build, RStr::from(""), context));
    let method = method.into_result().map_err(|error| anyhow!("{}", error.message))?;
    let (input, weight) = (random([ROWS, WIDTH], 1)?, random([WIDTH, WIDTH], 2)?);
    let (border, native) = (parameters()?, parameters()?);

    let mut out = std::io::stdout().lock();
    let mut ratios = Vec::new();
    for round in 0..=ROUNDS {
        let mut times = [Vec::new(), Vec::new()];
        for step in 0..2 * STEPS {
            let start = Instant::now();
            let loss = match step % 2 {
                0 => natively(&input, &weight, &native)?,
                _ => through_border(&method, &input, &weight, &border)?,
            };
            times[step % 2].push(start.elapsed().as_secs_f64() * 1e6);
            drop(loss);
        }
        let [native, border] = times.map(median);
        // The first round warms up.
        if round > 0 {
            ratios.push(border / native);
            writeln!(out, "native {native:8.1} us   border {border:8.1} us   ratio {:.4}", border / native)?;
        }
    }
    let same = native.iter().zip(&border).all(|(a, b)| a.equal(b));
    writeln!(out, "median ratio {:.4}, same parameters to the bit: {same}", median(ratios))?;
    Ok(())
}
