//! No fault: an adapter and a strategy that ask the host for all that a pass offers, so that a host which computes passes in another way
//! has something to get wrong.

use coin_plugin_api::{
    Adapter, DType, Init, Method, ParameterId, Part, PassPhase, Phase, Prefix, PrefixPlace, Registration,
    Registry, Result, Site, Stage, Step, Strategy, Tensor, Term, ensure, nn,
};

const RANK: i64 = 2;
/// The weights as the stage began.
const BEGIN: &str = "stress.begin";
/// Draws are told apart by their place in a hook; these are as large as to be seen.
const NOISE: f64 = 1e-2;

struct Asking {
    /// By site: the buffer that counts its calls.
    counters: Vec<Option<ParameterId>>,
    language: Vec<bool>,
}

struct Measuring;

pub(crate) fn build(registry: &Registry) -> Result<Method> {
    let sites = registry.sites()?;
    let mut asking = Asking { counters: vec![None; sites.len()], language: vec![false; sites.len()] };
    for site in &sites {
        asking.counters[site.index] = register(registry, site)?;
        asking.language[site.index] = site.part == Part::Language;
    }
    let soft = [2, registry.model()?.hidden_size];
    registry.register(Registration::parameter("soft", &soft, Init::Normal { std: 0.1 }))?;
    Ok(Method::both(asking, Measuring))
}

/// A low-rank pair that begins with an effect, and a counter; not at every site.
fn register(registry: &Registry, site: &Site) -> Result<Option<ParameterId>> {
    if site.index % 3 == 1 {
        return Ok(None);
    }
    let (down, up) = ([RANK, site.in_features], [site.out_features, RANK]);
    let init = Init::kaiming_uniform(site.in_features);
    registry.register(Registration::parameter("a", &down, init).at(site))?;
    registry.register(Registration::parameter("b", &up, Init::Normal { std: 0.05 }).at(site))?;
    let counter = Registration::buffer("calls", &[1], Init::ZEROS).at(site);
    Ok(Some(registry.register(counter)?))
}

impl Adapter for Asking {
    fn adapt(
        &self,
        site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        let [a, b, calls] = parameters else { return Ok(output.clone()) };
        let dropped = step.dropout(input, 0.1)?;
        let mut delta = nn::low_rank(&dropped, a, b, 1.0)?;
        if step.phase()? == PassPhase::Train {
            let width = output.shape()?[output.shape()?.len() - 1];
            let noise = step.normal("noise", &[width])?.to_dtype(output.dtype()?)?;
            delta = delta.add(&noise.mul_scalar(NOISE)?)?;
            let counter = self.counters[site].unwrap_or(ParameterId(u64::MAX));
            step.count(counter, &Tensor::from_floats(&[0.01], &[1])?)?;
            ensure!(
                step.parameters().value(counter)?.to_dtype(calls.dtype()?)?.to_floats()?
                    == calls.to_floats()?,
                "a pass has seen its own counts"
            );
            step.add_term("stress.size", &delta.square()?.mean_all()?)?;
        }
        // What earlier passes counted takes part, and what was kept for the rows of this one.
        delta = delta.mul(&calls.add_scalar(1.0)?)?;
        if self.language[site] {
            let gate = match step.sequence("gate")? {
                Some(gate) => {
                    ensure!(step.phase()? == PassPhase::Decode, "a row was seen before its first pass");
                    gate
                }
                None => {
                    let gate = input.mean(&[1, 2], true)?.sigmoid()?;
                    step.set_sequence("gate", &gate)?;
                    gate
                }
            };
            delta = delta.mul(&gate)?;
            ensure!(step.attention_mask()?.shape()?[0] == input.shape()?[0], "a mask of other rows");
        }
        output.add(&delta)
    }

    fn prefix(&self, parameters: &[Tensor], step: &Step) -> Result<Option<Prefix>> {
        let [soft] = parameters else { return Ok(None) };
        let rows = step.attention_mask()?.shape()?[0];
        let soft = step.dropout(soft, 0.1)?;
        if step.phase()? == PassPhase::Train {
            step.add_term("stress.soft", &soft.square()?.mean_all()?)?;
        }
        let shape = soft.shape()?;
        let tokens = soft.unsqueeze(0)?.expand(&[rows, shape[0], shape[1]])?;
        Ok(Some(Prefix { tokens, place: PrefixPlace::AfterImage }))
    }
}

impl Strategy for Measuring {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        stage.snapshot(BEGIN)?;
        Ok(Vec::new())
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        let apart = step.logits()?.sub(&step.teacher_logits(BEGIN)?)?.to_dtype(DType::FLOAT)?;
        Ok(vec![Term::new("stress.teacher", apart.square()?.mean_all()?)])
    }

    /// The gradients of a batch's loss, in each way that there is.
    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        let samples = stage.draw("stress", 4)?;
        let batches = [stage.batch(&samples)?, stage.batch(&samples[..2])?];
        let ids: Vec<ParameterId> = stage.trainable()?.into_iter().map(|info| info.id).collect();
        let given: Vec<Tensor> = batches[0].gradients()?.into_iter().map(|(_, gradient)| gradient).collect();
        // Two passes in one graph, and a third that nobody differentiates.
        let (first, second) = (batches[0].logits()?, batches[1].logits()?);
        batches[1].logits()?;
        let scalar = first.square()?.mean_all()?.add(&second.mean_all()?)?.to_dtype(DType::FLOAT)?;
        let of_logits = stage.gradients_of(&scalar, &ids)?;
        stage.metric("size", size(of_logits.iter().map(|(_, gradient)| gradient))?)?;
        let values: Vec<Tensor> = ids.iter().map(|id| stage.value(*id)).collect::<Result<_>>()?;
        let loss = batches[0].loss()?;
        let values: Vec<&Tensor> = values.iter().collect();
        let found = loss.mul_scalar(2.0)?.gradients(&values, false, false)?;
        for (twice, once) in found.iter().zip(&given) {
            let apart = size([&twice.sub(&once.mul_scalar(2.0)?)?].into_iter())?;
            ensure!(apart <= 1e-5 * size([once].into_iter())?, "two gradients of a loss are {apart} apart");
        }
        stage.metric("loss", loss.to_f64()?)?;
        stage.metric("gradient", size(given.iter())?)
    }

    fn after_update(&mut self, parameters: &Stage) -> Result<()> {
        let buffers = parameters.all()?.into_iter().filter(|info| info.buffer);
        let counted: Vec<Tensor> = buffers.map(|info| parameters.value(info.id)).collect::<Result<_>>()?;
        parameters.metric("calls", size(counted.iter())?)
    }
}

/// The square root of the sum of all squares.
fn size<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for tensor in tensors {
        sum += tensor.to_dtype(DType::FLOAT)?.square()?.sum_all()?.to_f64()?;
    }
    Ok(sum.sqrt())
}
