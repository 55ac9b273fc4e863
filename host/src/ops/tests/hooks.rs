//! Hooks: contexts, services, gradients through an adapter, and handles that come back.

use std::cell::{Cell, RefCell};
use std::sync::Mutex;

use abi_stable::std_types::{RResult, RStr};
use anyhow::Result;
use coin_plugin_api::abi::{Context, RawMethod, RawParameterSpec, RawSite, RawTensor};
use coin_plugin_api::{
    Adapter, ErrorCode, Init, Level, Method, NoConfig, NoGrad, Registration, Registry, Step, Tensor, nn,
};

use super::attach;
use crate::ops::{Services, Unavailable, enter, lend, live_handles, set_log_sink, take, with};

/// Services of a training step on one site.
#[derive(Default)]
struct Training {
    answering: bool,
    draws: Cell<u64>,
    registered: RefCell<Vec<RawParameterSpec>>,
}

impl Services for Training {
    fn hook(&self) -> String {
        "probe.adapt".into()
    }

    fn sites(&self) -> Result<Vec<RawSite>> {
        let (path, module) = ("model.layers.0.q_proj".into(), "q_proj".into());
        Ok(vec![RawSite { index: 0, path, module, part: 0, in_features: 256, out_features: 256 }])
    }

    fn register(&self, spec: RawParameterSpec) -> Result<u64> {
        anyhow::ensure!(spec.shape.iter().all(|size| *size > 0), "{:?} is not a shape", spec.shape);
        self.registered.borrow_mut().push(spec);
        Ok(self.registered.borrow().len() as u64 - 1)
    }

    fn seed(&self, stream: &str) -> Result<u64> {
        let call = self.draws.replace(self.draws.get() + 1);
        Ok(crate::stream::random::seed(7, stream, &[call]))
    }

    fn training(&self) -> bool {
        !self.answering
    }

    fn task_index(&self) -> Result<u64> {
        Err(Unavailable("the task is not granted while answering".into()).into())
    }
}

type Adapt = fn(&Tensor, &Tensor, &[Tensor], &Step) -> coin_plugin_api::Result<Tensor>;

/// An adapter that is one function.
struct Probe(Adapt);

impl Adapter for Probe {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> coin_plugin_api::Result<Tensor> {
        self.0(input, output, parameters, step)
    }
}

fn build(
    services: &dyn Services,
    build: fn(NoConfig, &Registry) -> coin_plugin_api::Result<Method>,
) -> coin_plugin_api::Result<RawMethod> {
    attach();
    let method = enter(services, |context| coin_plugin_api::build_method(build, RStr::from(""), context));
    Ok(method.into_result()?)
}

/// Calls the adapter of a method as the host does.
fn adapt(
    method: &RawMethod,
    services: &dyn Services,
    input: &tch::Tensor,
    output: &tch::Tensor,
    parameters: &[tch::Tensor],
) -> coin_plugin_api::Result<tch::Tensor> {
    let parameters: Vec<RawTensor> = parameters.iter().map(lend).collect();
    let adapter = method.adapter.as_ref().unwrap();
    let raw = enter(services, |context| {
        adapter.adapt(0, lend(input), lend(output), parameters.as_slice().into(), context)
    });
    Ok(take(raw.into_result()?).unwrap())
}

fn parameter(sizes: [i64; 2], seed: u64) -> tch::Tensor {
    let mut draws = crate::stream::random::Draws::from_seed(seed);
    let values: Vec<f32> = (0..sizes[0] * sizes[1]).map(|_| draws.normal() as f32 * 0.1).collect();
    tch::Tensor::from_slice(&values).view(sizes).set_requires_grad(true)
}

fn bits(tensor: &tch::Tensor) -> Vec<u32> {
    let values = Vec::<f32>::try_from(tensor.contiguous().view(-1)).unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_lora_layer_has_the_same_gradients_to_the_bit_as_native_calls() {
    let services = Training::default();
    let lora = build(&services, |_, registry| {
        for site in registry.sites()? {
            nn::register_low_rank(registry, &site, 8)?;
        }
        Ok(Method::adapter(Probe(|input, output, parameters, _| {
            output.add(&nn::low_rank(input, &parameters[0], &parameters[1], 2.0)?)
        })))
    })
    .unwrap();
    assert_eq!(services.registered.borrow()[1].shape.as_slice(), [256, 8]);

    let input = parameter([64, 256], 1).detach();
    let weight = parameter([256, 256], 2).detach();
    let output = input.linear(&weight, None::<tch::Tensor>);
    let gradients = |through_border: bool| {
        let parameters = [parameter([8, 256], 3), parameter([256, 8], 4)];
        let adapted = if through_border {
            adapt(&lora, &services, &input, &output, &parameters).unwrap()
        } else {
            let none = None::<tch::Tensor>;
            let middle = input.linear(&parameters[0], none).g_mul_scalar(2.0);
            &output + middle.linear(&parameters[1], None::<tch::Tensor>)
        };
        adapted.square().mean(None).backward();
        parameters.map(|parameter| bits(&parameter.grad()))
    };
    let (border, native) = (gradients(true), gradients(false));
    assert!(border[0].iter().any(|bits| *bits != 0));
    assert_eq!(border, native);
}

#[test]
fn gradients_name_what_cannot_be_differentiated() {
    let services = Training::default();
    let probe = build(&services, |_, _| {
        Ok(Method::adapter(Probe(|_, output, parameters, _| {
            let (a, b) = (&parameters[0], &parameters[1]);
            let loss = a.square()?.sum_all()?;
            let gradients = loss.gradients(&[a], true, true)?;
            let second = gradients[0].sum_all()?.gradients(&[a], true, false)?;
            assert!(second[0].to_floats()?.iter().all(|value| *value == 2.0));
            for (result, text) in [
                (loss.gradients(&[a, b], true, false), "input 1 takes no part in the graph"),
                (loss.gradients(&[output], true, false), "input 0 does not require gradients"),
                (a.square()?.gradients(&[a], true, false), "only a tensor with one element"),
                (loss.detach()?.gradients(&[a], true, false), "has no graph"),
            ] {
                let message = result.unwrap_err().message().to_owned();
                assert!(message.starts_with("gradients: ") && message.contains(text), "{message}");
            }
            let _outside = NoGrad::new();
            assert!(!a.square()?.requires_grad());
            Ok(output.clone())
        })))
    })
    .unwrap();
    let output = parameter([1, 2], 1).detach();
    let _ =
        adapt(&probe, &services, &output, &output, &[parameter([2, 2], 2), parameter([2, 2], 3)]).unwrap();
}

#[test]
fn a_hook_that_leaves_the_gradient_mode_changed_changes_it_for_itself_alone() {
    let services = Training::default();
    let probe = build(&services, |_, _| {
        Ok(Method::adapter(Probe(|_, output, _, _| {
            std::mem::forget(NoGrad::new());
            Ok(output.clone())
        })))
    })
    .unwrap();
    let output = parameter([1, 1], 1);
    let _ = adapt(&probe, &services, &output, &output, &[]).unwrap();
    assert!(output.square().requires_grad());
}

#[test]
fn services_refuse_with_the_name_of_the_hook() {
    let services = Training::default();
    let refused = |adapt: fn(NoConfig, &Registry) -> coin_plugin_api::Result<Method>| {
        let error = build(&services, adapt).err().unwrap();
        (error.code(), error.message().to_owned())
    };
    let (code, message) = refused(|_, registry| {
        registry.model()?;
        Ok(Method::default())
    });
    assert_eq!((code, message.as_str()), (ErrorCode::UNAVAILABLE, "`model` is not available in probe.adapt"));
    let (code, message) = refused(|_, registry| {
        registry.register(Registration::parameter("w", &[0], Init::ZEROS))?;
        Ok(Method::default())
    });
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::OPERATION, "register in probe.adapt: [0] is not a shape")
    );
    let probe = build(&services, |_, _| {
        Ok(Method::adapter(Probe(|_, output, _, step| step.task_index().map(|_| output.clone()))))
    });
    let output = parameter([1, 1], 1);
    let error = adapt(&probe.unwrap(), &services, &output, &output, &[]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UNAVAILABLE);
    assert_eq!(error.message(), "task_index in probe.adapt: the task is not granted while answering");
}

#[test]
fn a_context_ends_with_its_hook_and_stays_on_its_thread() {
    let services = Training::default();
    let message = |context: Context| with(context, |services| services.sites()).unwrap_err().to_string();
    let kept = enter(&services, |outer| {
        assert!(with(outer, |services| services.sites()).is_ok());
        let inner = enter(&Training { answering: true, ..Training::default() }, |inner| {
            assert!(with(outer, |services| Ok(services.training())).unwrap());
            assert!(!with(inner, |services| Ok(services.training())).unwrap());
            inner
        });
        assert_ne!(inner, outer);
        assert!(message(inner).starts_with("the hook has returned"));
        let elsewhere = std::thread::spawn(move || {
            with(outer, |services| services.sites().map(drop)).unwrap_err().to_string()
        });
        assert!(elsewhere.join().unwrap().starts_with("it was called from another thread"));
        outer
    });
    assert!(message(kept).starts_with("the hook has returned"));

    let unwound = Mutex::new(None);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        enter(&services, |context| {
            *unwound.lock().unwrap() = Some(context);
            std::panic::resume_unwind(Box::new(()));
        });
    }));
    assert!(caught.is_err());
    let context = unwound.lock().unwrap().unwrap();
    assert!(message(context).starts_with("the hook has returned"));

    attach();
    let stale = (crate::ops::host().stage().samples())(kept);
    let RResult::RErr(error) = stale else { panic!("a stale context was accepted") };
    assert_eq!(error.code, ErrorCode::UNAVAILABLE);
    assert!(error.message.starts_with("samples: the hook has returned"), "{}", error.message);
}

#[test]
fn draws_repeat_for_the_same_call_and_differ_between_calls() {
    let probe = build(&Training::default(), |_, _| {
        Ok(Method::adapter(Probe(|input, _, _, step| {
            let parts =
                [step.uniform("u", &[3, 5])?, step.normal("n", &[3, 5])?, step.uniform("u", &[3, 5])?];
            let dropped = step.dropout(input, 0.25)?;
            Tensor::cat(&[&parts[0], &parts[1], &parts[2], &dropped], 0)
        })))
    })
    .unwrap();
    let input = tch::Tensor::ones([3, 5], (tch::Kind::Float, tch::Device::Cpu));
    let run = |answering| {
        let services = Training { answering, ..Training::default() };
        adapt(&probe, &services, &input, &input, &[]).unwrap()
    };
    let (first, again) = (run(false), run(false));
    assert_eq!(bits(&first), bits(&again));
    let parts: Vec<_> = first.chunk(4, 0).iter().map(bits).collect();
    assert_ne!(parts[0], parts[2]);
    let scale = 1f32 / 0.75;
    assert!(parts[3].iter().all(|bits| *bits == 0 || (f32::from_bits(*bits) - scale).abs() < 1e-6));
    assert_eq!(bits(&run(true).narrow(0, 9, 3)), bits(&input));
}

#[test]
fn a_panic_in_a_service_becomes_an_error() {
    struct Broken;
    impl Services for Broken {
        fn hook(&self) -> String {
            "probe.before_stage".into()
        }
        fn sites(&self) -> Result<Vec<RawSite>> {
            std::panic::resume_unwind(Box::new("out of luck"))
        }
    }
    let error = build(&Broken, |_, registry| registry.sites().map(|_| Method::default())).err().unwrap();
    assert_eq!((error.code(), error.message()), (ErrorCode::HOST, "sites: the host panicked: out of luck"));
}

#[test]
fn messages_reach_the_sink_with_the_hook_they_come_from() {
    static SEEN: Mutex<Vec<(u32, String, String)>> = Mutex::new(Vec::new());
    attach();
    set_log_sink(|level, from, text| SEEN.lock().unwrap().push((level, from.to_owned(), text.to_owned())));
    coin_plugin_api::log(Level::Warning, "outside");
    enter(&Training::default(), |_| coin_plugin_api::log(Level::Detail, "inside"));
    let seen = SEEN.lock().unwrap();
    assert!(seen.contains(&(1, "plugin".into(), "outside".into())), "{seen:?}");
    assert!(seen.contains(&(3, "probe.adapt".into(), "inside".into())), "{seen:?}");
}

/// The count is the process's, so this runs once more in a process of its own.
#[test]
fn handles_are_counted_until_they_come_back() {
    const ALONE: &str = "COIN_HOST_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "ops::tests::hooks::handles_are_counted_until_they_come_back";
        let test = std::env::current_exe().unwrap();
        let output =
            std::process::Command::new(test).args(["--exact", name]).env(ALONE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let services = Training::default();
    let probe = build(&services, |_, _| {
        Ok(Method::adapter(Probe(|input, output, parameters, step| {
            let kept = input.add(output)?.chunk(2, 0)?;
            assert_eq!(live_handles(), 2 + parameters.len() as i64);
            let _failed = kept[0].matmul(&parameters[0]).unwrap_err();
            let second = kept[1].clone();
            drop(kept);
            assert_eq!(live_handles(), 1 + parameters.len() as i64);
            step.dropout(&second, 0.5)
        })))
    })
    .unwrap();
    let input = parameter([4, 3], 1).detach();
    let result = adapt(&probe, &services, &input, &input, &[parameter([2, 2], 2)]).unwrap();
    assert_eq!(live_handles(), 0);
    assert_eq!(result.size(), [2, 3]);
    let kept = Tensor::from_floats(&[1.0], &[1]).unwrap();
    assert_eq!(live_handles(), 1);
    drop(kept);
    assert_eq!(live_handles(), 0);
}
