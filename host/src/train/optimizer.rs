//! AdamW (Loshchilov and Hutter 2019) over flat buffers: values, gradients and moments of a group are one tensor each, of which
//! its parameters and their gradients are views, so that a step is a handful of large operations however many parameters there are.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor, no_grad};

use crate::ops::all_finite;

/// Parameters that share their hyper-parameters.
pub struct Group {
    /// Float32 leaves under unique names.
    pub parameters: Vec<(String, Tensor)>,
    pub learning_rate: f64,
    pub weight_decay: f64,
}

/// The optimizer and its state.
pub struct AdamW {
    groups: Vec<GroupState>,
    betas: (f64, f64),
    epsilon: f64,
    steps: u64,
}

struct GroupState {
    group: Group,
    /// Where each parameter begins in the buffers, and its numbers.
    places: Vec<(i64, i64)>,
    values: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
}

/// Numbers that a place in a buffer is a multiple of: 64 bytes, as libtorch places a tensor of its own, since the last bits of a product
/// may depend on it. What lies between two places stays zero.
const ALIGNMENT: i64 = 16;

/// The gradients of one step, one flat tensor for each group: those that stand at the parameters, not copies.
pub struct Gradients(Vec<Tensor>);

impl AdamW {
    /// Fresh state: moments and step count are zero. The parameters' values move into a buffer, under the handles that there are. Groups
    /// without parameters are dropped.
    pub fn new(groups: Vec<Group>, betas: (f64, f64), epsilon: f64) -> Result<AdamW> {
        let mut states = Vec::new();
        for mut group in groups.into_iter().filter(|group| !group.parameters.is_empty()) {
            let options = (Kind::Float, group.parameters[0].1.device());
            let mut total = 0;
            let mut places = Vec::with_capacity(group.parameters.len());
            for (_, parameter) in &group.parameters {
                let size = parameter.numel() as i64;
                places.push((total, size));
                total += size + (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT;
            }
            let values = no_grad(|| {
                let values = Tensor::f_zeros([total], options)?;
                for ((_, parameter), &place) in group.parameters.iter_mut().zip(&places) {
                    let mut place = at(&values, place)?.f_view(&parameter.size()[..])?;
                    place.f_copy_(parameter)?;
                    parameter.f_set_data(&place)?;
                }
                Ok::<_, anyhow::Error>(values)
            })?;
            states.push(GroupState {
                group,
                places,
                values,
                gradient: Tensor::f_zeros([total], options)?,
                first_moment: Tensor::f_zeros([total], options)?,
                second_moment: Tensor::f_zeros([total], options)?,
            });
        }
        Ok(AdamW { groups: states, betas, epsilon, steps: 0 })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The gradients that stand at the parameters; a parameter without one has gradient zero.
    pub fn gradients(&self) -> Result<Gradients> {
        no_grad(|| {
            for state in &self.groups {
                for ((_, parameter), &place) in state.group.parameters.iter().zip(&state.places) {
                    let mut place = at(&state.gradient, place)?;
                    let mut gradient = parameter.f_grad()?;
                    if !gradient.defined() {
                        let _ = place.f_zero_()?;
                    } else if gradient.data_ptr() != place.data_ptr() {
                        // What libtorch has just made moves into the buffer, and is added to there from now on.
                        let mut place = place.f_view(&parameter.size()[..])?;
                        place.f_copy_(&gradient)?;
                        gradient.f_set_data(&place)?;
                    }
                }
            }
            Ok(Gradients(self.groups.iter().map(|state| state.gradient.shallow_clone()).collect()))
        })
    }

    /// One update, with every group's learning rate times `factor` (the schedule's).
    pub fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()> {
        ensure!(gradients.0.len() == self.groups.len(), "gradients of another optimizer");
        self.steps += 1;
        let (beta_1, beta_2) = self.betas;
        let correction_1 = 1.0 - beta_1.powf(self.steps as f64);
        let correction_2 = 1.0 - beta_2.powf(self.steps as f64);
        no_grad(|| {
            for (state, gradient) in self.groups.iter_mut().zip(&gradients.0) {
                let rate = state.group.learning_rate * factor;
                let _ = state.first_moment.f_lerp_(gradient, 1.0 - beta_1)?;
                let _ = state.second_moment.f_mul_scalar_(beta_2)?;
                let _ = state.second_moment.f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - beta_2)?)?;
                let mut denominator = state.second_moment.f_sqrt()?;
                let _ = denominator.f_div_scalar_(correction_2.sqrt())?.f_add_scalar_(self.epsilon)?;
                let update = state.first_moment.f_div(&denominator)?.f_mul_scalar_(-rate / correction_1)?;
                let decay = 1.0 - rate * state.group.weight_decay;
                if decay != 1.0 {
                    let _ = state.values.f_mul_scalar_(decay)?;
                }
                let _ = state.values.f_add_(&update)?;
            }
            Ok(())
        })
    }

    /// Sets all gradients to zero.
    pub fn zero_gradients(&self) -> Result<()> {
        self.gradients()?.0.iter_mut().try_for_each(|flat| flat.f_zero_().map(drop)).map_err(Into::into)
    }

    /// Names of the parameters whose gradient holds an infinity or NaN, at most `limit` of them.
    pub fn non_finite(&self, limit: usize) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, parameter) in self.groups.iter().flat_map(|state| &state.group.parameters) {
            let gradient = parameter.f_grad()?;
            if names.len() < limit && gradient.defined() && !all_finite(&gradient)? {
                names.push(name.clone());
            }
        }
        Ok(names)
    }

    /// The state as named float32 tensors on the CPU, `NAME.first_moment` and `NAME.second_moment`, to be kept with
    /// [`AdamW::steps`].
    pub fn export(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for state in &self.groups {
            for (moment, flat) in
                [("first_moment", &state.first_moment), ("second_moment", &state.second_moment)]
            {
                for ((name, parameter), &place) in state.group.parameters.iter().zip(&state.places) {
                    let mut copy = Tensor::f_empty(&parameter.size()[..], (Kind::Float, Device::Cpu))?;
                    copy.f_copy_(&at(flat, place)?.f_view(&parameter.size()[..])?)?;
                    tensors.insert(format!("{name}.{moment}"), copy);
                }
            }
        }
        Ok(tensors)
    }

    /// Takes over exported state; every tensor must be there, with its parameter's shape, and no other.
    pub fn import(&mut self, tensors: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        let expected: usize = self.groups.iter().map(|state| 2 * state.places.len()).sum();
        ensure!(
            tensors.len() == expected,
            "the optimizer's state has {} tensors, {expected} are needed\nhint: it belongs to another set of parameters",
            tensors.len()
        );
        for state in &mut self.groups {
            let moments =
                [("first_moment", &mut state.first_moment), ("second_moment", &mut state.second_moment)];
            for (moment, flat) in moments {
                for ((name, parameter), &place) in state.group.parameters.iter().zip(&state.places) {
                    let key = format!("{name}.{moment}");
                    let part =
                        tensors.get(&key).with_context(|| format!("the optimizer's state lacks `{key}`"))?;
                    ensure!(
                        part.size() == parameter.size() && part.kind() == Kind::Float,
                        "the optimizer's state `{key}` is {:?} {:?}, expected float32 {:?}",
                        part.kind(),
                        part.size(),
                        parameter.size()
                    );
                    at(flat, place)?.f_copy_(&part.f_reshape([-1])?)?;
                }
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// A parameter's part of a buffer.
fn at(buffer: &Tensor, (start, size): (i64, i64)) -> Result<Tensor> {
    Ok(buffer.f_narrow(0, start, size)?)
}

impl Gradients {
    /// The Euclidean norm of all gradients together; NaN or infinite if any of them is.
    pub fn norm(&self) -> Result<f64> {
        let mut squares = 0.0;
        for flat in &self.0 {
            squares += flat.f_norm()?.f_double_value(&[])?.powi(2);
        }
        Ok(squares.sqrt())
    }

    /// Scales the gradients down to `limit` if their norm is larger, and returns the norm from before. A norm that is
    /// not finite is returned as it is, with the gradients untouched: the caller reports it and does not step.
    pub fn clip(&mut self, limit: f64) -> Result<f64> {
        let norm = self.norm()?;
        if norm.is_finite() && norm > limit {
            for flat in &mut self.0 {
                let _ = flat.f_mul_scalar_(limit / (norm + 1e-6))?;
            }
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::<f32>::try_from(&tensor.detach().reshape([-1])).expect("float32")
    }

    /// One step of the published algorithm for one number, in double precision.
    fn reference((p, m, v): &mut (f64, f64, f64), g: f64, t: i32, rate: f64, decay: f64) {
        *p -= rate * decay * *p;
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        *p -= rate * (*m / (1.0 - 0.9f64.powi(t))) / ((*v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8);
    }

    fn loss(a: &Tensor, b: &Tensor) -> Tensor {
        (a * a * Tensor::from_slice(&[1f32, 2., 3.])).sum(Kind::Float) + (b * 3.0 + b * b).sum(Kind::Float)
    }

    fn optimizer(a: &Tensor, b: &Tensor) -> AdamW {
        let group = |name: &str, tensor: &Tensor, learning_rate, weight_decay| Group {
            parameters: vec![(name.to_owned(), tensor.shallow_clone())],
            learning_rate,
            weight_decay,
        };
        AdamW::new(vec![group("a", a, 0.1, 0.01), group("b", b, 0.05, 0.0)], (0.9, 0.999), 1e-8)
            .expect("an optimizer")
    }

    #[test]
    fn steps_follow_the_published_algorithm() {
        let (a, b) = (leaf(&[1.0, -2.0, 0.5]), leaf(&[0.3, -0.7]));
        let mut optimizer = optimizer(&a, &b);
        let mut expected: Vec<(f64, f64, f64)> =
            [1.0, -2.0, 0.5, 0.3, -0.7].iter().map(|&p: &f32| (f64::from(p), 0.0, 0.0)).collect();
        for t in 1..=20 {
            loss(&a, &b).backward();
            let gradients = optimizer.gradients().expect("gradients");
            optimizer.step(&gradients, 0.5).expect("a step");
            optimizer.zero_gradients().expect("zeroed");
            for (index, number) in expected.iter_mut().enumerate() {
                let p = number.0;
                let g = if index < 3 { 2.0 * (index + 1) as f64 * p } else { 3.0 + 2.0 * p };
                let (rate, decay) = if index < 3 { (0.05, 0.01) } else { (0.025, 0.0) };
                reference(number, g, t, rate, decay);
            }
        }
        for (found, (p, _, _)) in values(&a).into_iter().chain(values(&b)).zip(expected) {
            assert!((f64::from(found) - p).abs() < 1e-5, "{found} {p}");
        }
    }

    #[test]
    fn values_and_gradients_are_in_one_buffer_under_the_handles_that_there_were() {
        let (a, b) = (leaf(&[1.0, -2.0, 0.5]), leaf(&[0.3, -0.7]));
        let named = [("a", &a), ("b", &b)].map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()));
        let group = Group { parameters: named.into(), learning_rate: 0.1, weight_decay: 0.0 };
        let mut optimizer = AdamW::new(vec![group], (0.9, 0.999), 1e-8).expect("an optimizer");
        assert_eq!((values(&a), values(&b)), (vec![1.0, -2.0, 0.5], vec![0.3, -0.7]));
        let follows = |one: &Tensor, other: &Tensor| one.data_ptr().wrapping_byte_add(64) == other.data_ptr();
        assert!(follows(&a, &b) && a.requires_grad() && b.is_leaf());
        for step in 0..3 {
            // The second one has no gradient at first; the sum of two passes is that of their gradients.
            (&a * 2.0).sum(Kind::Float).backward();
            (&a * 1.0).sum(Kind::Float).backward();
            if step > 0 {
                (&b * 5.0).sum(Kind::Float).backward();
            }
            let gradients = optimizer.gradients().expect("gradients");
            let second = if step > 0 { 5.0 } else { 0.0 };
            let whole = values(&gradients.0[0]);
            assert_eq!((&whole[..3], &whole[16..18]), (&[3.0f32; 3][..], &[second; 2][..]));
            assert!(whole[3..16].iter().chain(&whole[18..]).all(|gap| *gap == 0.0) && whole.len() == 32);
            assert!(a.grad().data_ptr() == gradients.0[0].data_ptr());
            assert!(step == 0 || follows(&a.grad(), &b.grad()));
            let before = values(&a);
            optimizer.step(&gradients, 1.0).expect("a step");
            assert!(values(&a).iter().zip(before).all(|(now, before)| *now < before));
            optimizer.zero_gradients().expect("zeroed");
            assert_eq!(values(&a.grad()), [0.0; 3]);
        }
    }

    #[test]
    fn exported_state_continues_bit_exactly() {
        let (a, b) = (leaf(&[1.0, -2.0, 0.5]), leaf(&[0.3, -0.7]));
        let mut whole = optimizer(&a, &b);
        let advance = |optimizer: &mut AdamW, a: &Tensor, b: &Tensor| {
            loss(a, b).backward();
            let gradients = optimizer.gradients().expect("gradients");
            optimizer.step(&gradients, 1.0).expect("a step");
            optimizer.zero_gradients().expect("zeroed");
        };
        (0..5).for_each(|_| advance(&mut whole, &a, &b));
        let (c, d) = (leaf(&values(&a)), leaf(&values(&b)));
        let mut resumed = optimizer(&c, &d);
        resumed.import(&whole.export().expect("state"), whole.steps()).expect("fits");
        (0..5).for_each(|_| advance(&mut whole, &a, &b));
        (0..5).for_each(|_| advance(&mut resumed, &c, &d));
        assert_eq!((values(&a), values(&b)), (values(&c), values(&d)));
        let mut state = whole.export().expect("state");
        state.remove("a.first_moment");
        assert!(resumed.import(&state, 1).is_err());
    }

    #[test]
    fn clipping_goes_by_the_norm_over_all_groups() {
        let (a, b) = (leaf(&[3.0, 0.0, 0.0]), leaf(&[4.0, 0.0]));
        ((&a * &a).sum(Kind::Float) / 2.0 + (&b * &b).sum(Kind::Float) / 2.0).backward();
        let mut gradients = optimizer(&a, &b).gradients().expect("gradients");
        assert!((gradients.clip(1.0).expect("a norm") - 5.0).abs() < 1e-6);
        assert!((gradients.norm().expect("a norm") - 1.0).abs() < 1e-5);
        assert!((gradients.clip(2.0).expect("a norm") - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_reported_by_name() {
        let (a, b) = (leaf(&[1.0, 1.0, 1.0]), leaf(&[0.0, 1.0]));
        (a.sum(Kind::Float) + b.log().sum(Kind::Float)).backward();
        let optimizer = optimizer(&a, &b);
        assert!(!optimizer.gradients().expect("gradients").clip(1.0).expect("a norm").is_finite());
        assert_eq!(optimizer.non_finite(8).expect("names"), ["b"]);
    }
}
