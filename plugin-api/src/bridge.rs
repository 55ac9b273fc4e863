//! From the author's traits to the objects of the border. Every call runs under the guard.

use std::path::PathBuf;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RErr, ROption, RSlice, RStr, RString, RVec};

use crate::abi::{
    AdapterBox, ApiResult, Context, DatasetBox, RawAdapter, RawAdapter_TO, RawDataset, RawDataset_TO,
    RawDatasetDescription, RawPhase, RawPrefix, RawRecord, RawStrategy, RawStrategy_TO, RawTensor, RawTerm,
    StrategyBox,
};
use crate::adapter::{Adapter, PrefixPlace};
use crate::dataset::{Dataset, Record, Split};
use crate::error::{Error, Result};
use crate::guard::guard;
use crate::services::{Level, Parameters, SampleRef, Stage, log};
use crate::step::Step;
use crate::strategy::Strategy;
use crate::tensor::Tensor;

/// What an author made. Its end runs under the guard too: a panic in a `Drop` must not leave the library.
struct Own<T: ?Sized>(Option<Box<T>>);

impl<T: ?Sized> Own<T> {
    fn new(object: Box<T>) -> Self {
        Own(Some(object))
    }

    fn get(&self) -> Result<&T> {
        self.0.as_deref().ok_or_else(ended)
    }

    fn get_mut(&mut self) -> Result<&mut T> {
        self.0.as_deref_mut().ok_or_else(ended)
    }
}

fn ended() -> Error {
    Error::new("the object has ended")
}

impl<T: ?Sized> Drop for Own<T> {
    fn drop(&mut self) {
        let object = self.0.take();
        let end = guard(|| {
            drop(object);
            Ok(())
        });
        if let RErr(error) = end {
            log(Level::Error, error.message.as_str());
        }
    }
}

struct AdapterBridge(Own<dyn Adapter>);

impl RawAdapter for AdapterBridge {
    fn adapt(
        &self,
        site: u64,
        input: RawTensor,
        output: RawTensor,
        parameters: RSlice<'_, RawTensor>,
        context: Context,
    ) -> ApiResult<RawTensor> {
        guard(|| {
            let parameters = shared(parameters);
            let (input, output) = (Tensor::borrowed(input), Tensor::borrowed(output));
            self.0
                .get()?
                .adapt(site as usize, &input, &output, &parameters, &Step::new(context))
                .map(Tensor::into_raw)
        })
    }

    fn prefix(&self, parameters: RSlice<'_, RawTensor>, context: Context) -> ApiResult<ROption<RawPrefix>> {
        guard(|| {
            let parameters = shared(parameters);
            let prefix = self.0.get()?.prefix(&parameters, &Step::new(context))?;
            Ok(prefix
                .map(|prefix| RawPrefix {
                    tokens: prefix.tokens.into_raw(),
                    place: u32::from(prefix.place == PrefixPlace::AfterImage),
                })
                .into())
        })
    }

    fn merged_delta(&self, site: u64, parameters: RSlice<'_, RawTensor>) -> ApiResult<RawTensor> {
        guard(|| {
            let parameters = shared(parameters);
            Ok(self
                .0
                .get()?
                .merged_delta(site as usize, &parameters)?
                .map_or(RawTensor::NONE, Tensor::into_raw))
        })
    }

    fn token_local(&self) -> bool {
        guard(|| Ok(self.0.get()?.token_local())).unwrap_or(false)
    }
}

/// Handles of their own, so that an author may keep slices of them without reaching into the host's.
fn shared(parameters: RSlice<'_, RawTensor>) -> Vec<Tensor> {
    parameters.iter().map(|raw| Tensor::shared(*raw)).collect()
}

struct StrategyBridge(Own<dyn Strategy>);

impl RawStrategy for StrategyBridge {
    fn before_stage(&mut self, context: Context) -> ApiResult<RVec<RawPhase>> {
        guard(|| {
            let phases = self.0.get_mut()?.before_stage(&Stage::new(context)?)?;
            Ok(phases
                .into_iter()
                .map(|phase| RawPhase {
                    steps: phase.steps as u64,
                    trainable: phase.trainable.into_iter().map(|id| id.0).collect(),
                    data: phase.data.into_iter().map(|sample| sample.0).collect(),
                })
                .collect())
        })
    }

    fn after_stage(&mut self, context: Context) -> ApiResult<()> {
        guard(|| self.0.get_mut()?.after_stage(&Stage::new(context)?))
    }

    fn compose_batch(&mut self, fresh: RSlice<'_, u64>, context: Context) -> ApiResult<RVec<u64>> {
        guard(|| {
            let fresh: Vec<SampleRef> = fresh.iter().map(|sample| SampleRef(*sample)).collect();
            Ok(self
                .0
                .get_mut()?
                .compose_batch(&fresh, &Stage::new(context)?)?
                .into_iter()
                .map(|sample| sample.0)
                .collect())
        })
    }

    fn loss(&mut self, context: Context) -> ApiResult<RVec<RawTerm>> {
        guard(|| {
            let terms = self.0.get_mut()?.loss(&Step::new(context))?;
            Ok(terms
                .into_iter()
                .map(|term| RawTerm {
                    name: term.name.into(),
                    value: term.value.into_raw(),
                    replaces_task_loss: term.replaces_task_loss,
                })
                .collect())
        })
    }

    fn after_backward(&mut self, context: Context) -> ApiResult<()> {
        guard(|| self.0.get_mut()?.after_backward(&Stage::new(context)?))
    }

    fn after_update(&mut self, context: Context) -> ApiResult<()> {
        guard(|| self.0.get_mut()?.after_update(&Stage::new(context)?))
    }

    fn before_eval(&mut self, context: Context) -> ApiResult<()> {
        guard(|| self.0.get_mut()?.before_eval(&Parameters::new(context)))
    }

    fn after_eval(&mut self, context: Context) -> ApiResult<()> {
        guard(|| self.0.get_mut()?.after_eval(&Parameters::new(context)))
    }

    fn save(&self) -> ApiResult<RVec<u8>> {
        guard(|| Ok(self.0.get()?.save()?.into()))
    }

    fn load(&mut self, state: RSlice<'_, u8>) -> ApiResult<()> {
        guard(|| self.0.get_mut()?.load(state.as_slice()))
    }

    #[cfg(feature = "growth")]
    fn growth_rest(&mut self) -> ApiResult<u64> {
        guard(|| self.0.get_mut()?.growth_rest())
    }
}

struct DatasetBridge(Own<dyn Dataset>);

impl RawDataset for DatasetBridge {
    fn describe(&self) -> ApiResult<RawDatasetDescription> {
        guard(|| {
            let description = self.0.get()?.describe();
            Ok(RawDatasetDescription {
                task_type: description.task_type.into(),
                metric: description.metric.into(),
                answer_form: description.answer_form.into(),
            })
        })
    }

    fn len(&self, split: u32) -> ApiResult<u64> {
        guard(|| Ok(self.0.get()?.len(split_of(split)?)? as u64))
    }

    fn records(&self, split: u32, start: u64, end: u64) -> ApiResult<RVec<RawRecord>> {
        guard(|| {
            let records = self.0.get()?.records(split_of(split)?, start as usize, end as usize)?;
            Ok(records.into_iter().map(RawRecord::from).collect())
        })
    }

    fn files(&self) -> ApiResult<RVec<RString>> {
        guard(|| {
            let text = |path: PathBuf| match path.into_os_string().into_string() {
                Ok(path) => Ok(path.into()),
                Err(path) => Err(Error::new(format!("the path {} is no text", path.display()))),
            };
            self.0.get()?.files()?.into_iter().map(text).collect()
        })
    }

    fn verify(&self) -> ApiResult<RVec<RString>> {
        guard(|| Ok(self.0.get()?.verify()?.into_iter().map(Into::into).collect()))
    }

    fn score(&self, prediction: RStr<'_>, record: RawRecord) -> ApiResult<ROption<f64>> {
        guard(|| Ok(self.0.get()?.score(prediction.as_str(), &Record::from(record))?.into()))
    }
}

fn split_of(number: u32) -> Result<Split> {
    match number {
        0 => Ok(Split::Train),
        1 => Ok(Split::Val),
        2 => Ok(Split::Test),
        other => Err(Error::new(format!("split {other} is not known to this plugin"))),
    }
}

impl From<Record> for RawRecord {
    fn from(record: Record) -> Self {
        RawRecord {
            id: record.id.into(),
            image: record.image.map(Into::into).into(),
            question: record.question.into(),
            instruction: record.instruction.map(Into::into).into(),
            options: record.options.into_iter().map(Into::into).collect(),
            answers: record.answers.into_iter().map(Into::into).collect(),
            target: record.target.map(Into::into).into(),
            bbox: record.bbox.map(|bbox| bbox.to_vec()).unwrap_or_default().into(),
            size: record.size.map(|size| size.to_vec()).unwrap_or_default().into(),
        }
    }
}

impl From<RawRecord> for Record {
    fn from(raw: RawRecord) -> Self {
        Record {
            id: raw.id.into_string(),
            image: raw.image.into_option().map(Into::into),
            question: raw.question.into_string(),
            instruction: raw.instruction.into_option().map(Into::into),
            options: raw.options.into_iter().map(Into::into).collect(),
            answers: raw.answers.into_iter().map(Into::into).collect(),
            target: raw.target.into_option().map(Into::into),
            bbox: raw.bbox.as_slice().try_into().ok(),
            size: raw.size.as_slice().try_into().ok(),
        }
    }
}

pub(crate) fn adapter(adapter: Box<dyn Adapter>) -> AdapterBox {
    RawAdapter_TO::from_value(AdapterBridge(Own::new(adapter)), TD_Opaque)
}

pub(crate) fn strategy(strategy: Box<dyn Strategy>) -> StrategyBox {
    RawStrategy_TO::from_value(StrategyBridge(Own::new(strategy)), TD_Opaque)
}

pub(crate) fn dataset(dataset: Box<dyn Dataset>) -> DatasetBox {
    RawDataset_TO::from_value(DatasetBridge(Own::new(dataset)), TD_Opaque)
}
