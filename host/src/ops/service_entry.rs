//! Entry points of the services, each over the [`Services`](super::Services) of the hook that a context stands for.

use abi_stable::prefix_type::PrefixTypeTrait as _;
use abi_stable::std_types::RVec;
use coin_plugin_api::abi::{
    self, ApiResult, Context, Ints, RawGradient, RawModel, RawParameterInfo, RawParameterSpec, RawRow,
    RawSite, RawStage, RawStep, RawTensor, Text,
};

use super::entry::{Incoming, guard, service};
use super::{log as sink, random as draw};

/// Makes the entry points of a group of services: opens the arguments and calls the expression with the services of the context.
macro_rules! service_group {
    (
        $group:ident -> $Group:ident, $Ref:ident;
        $( fn $name:ident ( $($argument:ident : $Type:ty),* ) -> $Return:ty = |$services:ident| $body:expr; )*
        $( plain $plain:ident; )*
    ) => {
        /// The names of the group.
        mod $group {
            pub(super) const NAMES: &[&str] = &[$( stringify!($name), )* $( stringify!($plain), )*];
        }

        pub(super) fn $group() -> abi::$Ref {
            $(
                extern "C" fn $name(context: Context $(, $argument: $Type)*) -> ApiResult<$Return> {
                    service(context, stringify!($name), |$services| {
                        $( let $argument = $argument.open()?; )*
                        $body
                    })
                }
            )*
            abi::$Group { $($plain,)* $($name),* }.leak_into_prefix()
        }
    };
}

/// Every service of the table, by group.
pub(super) const NAMES: [(&str, &[&str]); 7] = [
    ("registry", registry::NAMES),
    ("stage", stage::NAMES),
    ("step", step::NAMES),
    ("replay", replay::NAMES),
    ("random", random::NAMES),
    ("log", log::NAMES),
    ("draft", draft::NAMES),
];

service_group! {
    registry -> RegistryServices, RegistryServicesRef;
    fn model() -> RawModel = |services| services.model();
    fn sites() -> RVec<RawSite> = |services| services.sites();
    fn site_weight(site: u64) -> RawTensor = |services| services.site_weight(site);
    fn site_bias(site: u64) -> RawTensor = |services| services.site_bias(site);
    fn register(spec: RawParameterSpec) -> u64 = |services| services.register(spec);
    fn parameters() -> RVec<RawParameterInfo> = |services| services.parameters();
    fn value(id: u64) -> RawTensor = |services| services.value(id);
    fn set_value(id: u64, value: RawTensor) -> () = |services| services.set_value(id, &value);
    fn grad(id: u64) -> RawTensor = |services| services.grad(id);
    fn set_grad(id: u64, gradient: RawTensor) -> () = |services| services.set_grad(id, &gradient);
    fn set_trainable(id: u64, trainable: bool) -> () = |services| services.set_trainable(id, trainable);
    fn snapshot(name: Text) -> () = |services| services.snapshot(name);
    fn drop_snapshot(name: Text) -> () = |services| services.drop_snapshot(name);
    fn snapshot_value(name: Text, id: u64) -> RawTensor = |services| services.snapshot_value(name, id);
}

service_group! {
    stage -> StageServices, StageServicesRef;
    fn stage() -> RawStage = |services| services.stage();
    fn samples() -> RVec<u64> = |services| services.samples();
    fn batch(samples: RVec<u64>) -> u64 = |services| services.batch(samples);
    fn batch_loss(batch: u64) -> RawTensor = |services| services.batch_loss(batch);
    fn batch_gradients(batch: u64) -> RVec<RawGradient> = |services| services.batch_gradients(batch);
    fn batch_logits(batch: u64) -> RawTensor = |services| services.batch_logits(batch);
    fn drop_batch(batch: u64) -> () = |services| services.drop_batch(batch);
    fn teacher_logits(snapshot: Text) -> RawTensor = |services| services.teacher_logits(snapshot);
}

service_group! {
    step -> StepServices, StepServicesRef;
    fn step() -> RawStep = |services| services.step();
    fn attention_mask() -> RawTensor = |services| services.attention_mask();
    fn label_mask() -> RawTensor = |services| services.label_mask();
    fn rows() -> RVec<RawRow> = |services| services.rows();
    fn logits() -> RawTensor = |services| services.logits();
    fn targets() -> RawTensor = |services| services.targets();
    fn target_rows() -> RawTensor = |services| services.target_rows();
    fn task_loss() -> RawTensor = |services| services.task_loss();
    fn image_features() -> RawTensor = |services| services.image_features();
    fn text_features() -> RawTensor = |services| services.text_features();
    fn image_rows() -> RawTensor = |services| services.image_rows();
    fn row_stages() -> RawTensor = |services| services.row_stages();
    fn task_index() -> u64 = |services| services.task_index();
    fn add_term(name: Text, value: RawTensor) -> () = |services| services.add_term(name, &value);
    fn count(buffer: u64, delta: RawTensor) -> () = |services| services.count(buffer, &delta);
    fn sequence(key: Text) -> RawTensor = |services| services.sequence(key);
    fn set_sequence(key: Text, value: RawTensor) -> () = |services| services.set_sequence(key, &value);
}

service_group! {
    replay -> ReplayServices, ReplayServicesRef;
    fn capacity() -> u64 = |services| services.replay_capacity();
    fn slots() -> RVec<RawRow> = |services| services.replay_slots();
    fn add(sample: u64) -> u64 = |services| services.replay_add(sample);
    fn remove(slot: u64) -> () = |services| services.replay_remove(slot);
    fn store(slot: u64, name: Text, value: RawTensor) -> () = |services| services.replay_store(slot, name, &value);
    fn stored(slot: u64, name: Text) -> RawTensor = |services| services.replay_stored(slot, name);
}

service_group! {
    random -> RandomServices, RandomServicesRef;
    fn uniform(stream: Text, sizes: Ints) -> RawTensor = |services| draw::uniform(services.seed(stream)?, sizes);
    fn normal(stream: Text, sizes: Ints) -> RawTensor = |services| draw::normal(services.seed(stream)?, sizes);
    fn dropout(stream: Text, input: RawTensor, probability: f64) -> RawTensor = |services| {
        if services.training() && probability != 0.0 {
            draw::dropout(services.seed(stream)?, &input, probability)
        } else {
            Ok(input.shallow_clone())
        }
    };
    fn sample(stream: Text, size: u64, count: u64) -> RVec<u64> =
        |services| draw::sample(services.seed(stream)?, size, count);
}

service_group! {
    log -> LogServices, LogServicesRef;
    fn metric(name: Text, value: f64) -> () = |services| services.metric(name, value);
    plain message;
}

extern "C" fn message(level: u32, text: Text) {
    let _sent = guard("message", || {
        sink::message(level, text.open().unwrap_or("a message that is not UTF-8"));
        Ok(())
    });
}

service_group! {
    draft -> DraftServices, DraftServicesRef;
    fn prompt_embeddings() -> RawTensor = |services| services.prompt_embeddings();
    fn parameter_gradients(scalar: RawTensor, ids: RVec<u64>) -> RVec<RawGradient> =
        |services| services.parameter_gradients(&scalar, ids);
}
