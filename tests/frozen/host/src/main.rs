//! A host of version 1.0 that loads a plugin of any later time: checks its layout, builds its method over the recording host, and calls every
//! hook once. Takes the path of a library and a configuration of its method, and prints a line for each thing it did.

use std::io::Write;
use std::path::Path;

use abi_stable::library::lib_header_from_path;
use coin_plugin_api::abi::{API_VERSION, ApiResult, Context, DType, Ints, RawTensor, load};
use coin_plugin_api::testing::{Recording, recording_host};
use coin_plugin_api::{Error, SampleRef};

const HERE: Context = Context(0);
/// Samples of the stage.
const SAMPLES: [u64; 6] = [0, 1, 2, 3, 4, 5];
/// Fresh samples of a batch.
const FRESH: [u64; 4] = [3, 1, 2, 0];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the path of a library is missing")?;
    let config = arguments.next().unwrap_or_default();
    let (module, age) = load::check(lib_header_from_path(Path::new(&path))?)?;
    let mut report = format!("host {API_VERSION}, plugin {}: {age:?}\n", module.api_version());
    report.push_str(module.describe()().into_result().map_err(Error::from)?.as_str());

    let recording = Recording::start();
    recording.add_site("language_model.model.layers.0.self_attn.q_proj", 3, 4);
    recording.stage(0, FRESH.len(), &SAMPLES)?;
    recording.supply("logits", &recording.tensor("logits", &[5, 7]));
    module.attach()(recording_host()).into_result().map_err(Error::from)?;
    if !module.describe()().into_result().map_err(Error::from)?.contains("method = true") {
        std::io::stdout().write_all(report.as_bytes())?;
        return Ok(());
    }
    let method = module.build_method()(config.as_str().into(), HERE).into_result().map_err(Error::from)?;
    report.push_str(&format!("{} tensors registered\n", recording.parameters().all()?.len()));

    // A batch of one sample has gradients, and the buffer has room.
    for parameter in recording.parameters().trainable()? {
        let gradient = recording.tensor("gradient", &parameter.shape);
        for sample in SAMPLES {
            recording.set_gradient(SampleRef(sample), parameter.id, &gradient);
        }
    }
    recording.set_replay_capacity(FRESH.len());

    let mut note = |what: &str, outcome: Result<String, Error>| {
        let outcome = outcome.unwrap_or_else(|error| format!("error: {error}"));
        report.push_str(&format!("{what}: {outcome}\n"));
    };
    fn told<T>(outcome: ApiResult<T>, tell: impl Fn(T) -> String) -> Result<String, Error> {
        outcome.into_result().map(tell).map_err(Error::from)
    }
    let host = recording_host();
    if let Some(adapter) = method.adapter.into_option() {
        let value = |id: u64| (host.registry().value())(HERE, id).into_result().map_err(Error::from);
        let tensors: Vec<RawTensor> = vec![value(0)?, value(1)?];
        let zeros = |sizes: &[i64]| {
            (host.create().zeros())(Ints::borrow(sizes), DType::FLOAT).into_result().map_err(Error::from)
        };
        let (input, output) = (zeros(&[2, 3])?, zeros(&[2, 4])?);
        recording.trace();
        let adapted = adapter.adapt(0, input, output, tensors.as_slice().into(), HERE);
        note("adapt", told(adapted, |_| String::from("well")));
        note("operations", Ok(recording.trace().lines().count().to_string()));
        note(
            "merged_delta",
            told(adapter.merged_delta(0, tensors.as_slice().into()), |_| String::from("well")),
        );
        note("token_local", Ok(adapter.token_local().to_string()));
    }
    if let Some(mut strategy) = method.strategy.into_option() {
        note("before_stage", told(strategy.before_stage(HERE), |phases| format!("{} phases", phases.len())));
        let composed = strategy.compose_batch(FRESH.as_slice().into(), HERE);
        note("compose_batch", told(composed, |rows| format!("{} rows", rows.len())));
        note("loss", told(strategy.loss(HERE), |terms| format!("{} terms", terms.len())));
        note("after_backward", told(strategy.after_backward(HERE), |()| String::from("well")));
        note("after_update", told(strategy.after_update(HERE), |()| String::from("well")));
        note("after_stage", told(strategy.after_stage(HERE), |()| String::from("well")));
        note("before_eval", told(strategy.before_eval(HERE), |()| String::from("well")));
        note("after_eval", told(strategy.after_eval(HERE), |()| String::from("well")));
        let saved = strategy.save().into_result().map_err(Error::from)?;
        note("load", told(strategy.load(saved.as_slice().into()), |()| String::from("well")));
    }
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}
