//! The values of results, for the operations that are simple. Everything is computed in double precision.

use super::operand::{Entry, Operands};
use super::shape::dim;

/// The values of what an operation returns, where they are known; `shapes` are those of the results.
pub(crate) fn evaluate(call: &Operands<'_>, shapes: &[Vec<i64>]) -> Option<Vec<Vec<f64>>> {
    if call.all_tensors().iter().any(|entry| entry.values.is_none()) {
        return None;
    }
    if let Some(function) = unary(call) {
        return Some(vec![known(call.tensor(0)).iter().map(|x| function(*x)).collect()]);
    }
    if let Some(function) = elementwise(call) {
        let tensors = call.all_tensors();
        return Some(vec![each(&shapes[0], |index| {
            function(&tensors.iter().map(|entry| at(entry, index)).collect::<Vec<_>>())
        })]);
    }
    let first = |values: Vec<f64>| Some(vec![values]);
    match call.name {
        "linear" | "linear_bias" => first(linear(call)),
        "matmul" | "bmm" => first(matmul(call, &shapes[0])?),
        "sum_all" | "mean_all" | "sum" | "mean" | "amax" | "amin" | "dot" | "mse_loss" => {
            first(reduce(call, &shapes[0])?)
        }
        "softmax" | "log_softmax" => first(softmax(call)?),
        "cat" => first(cat(call, &shapes[0])?),
        "stack" => first(stack(call, &shapes[0])?),
        "chunk" | "split" => Some(pieces(call, shapes)?),
        "zeros" | "zeros_like" => first(filled(&shapes[0], 0.0)),
        "ones" | "ones_like" => first(filled(&shapes[0], 1.0)),
        "full" => first(filled(&shapes[0], call.float(1))),
        "eye" => first(each(&shapes[0], |index| f64::from(u8::from(index[0] == index[1])))),
        "arange" => first((0..shapes[0][0]).map(|n| call.float(0) + n as f64 * call.float(2)).collect()),
        _ => first(moved(call, &shapes[0])?),
    }
}

fn unary(call: &Operands<'_>) -> Option<Box<dyn Fn(f64) -> f64>> {
    let name = call.name;
    let value = |place| call.float(place);
    let truth = |holds: bool| f64::from(u8::from(holds));
    Some(match name {
        "add_scalar" => {
            let v = value(1);
            Box::new(move |x| x + v)
        }
        "mul_scalar" => {
            let v = value(1);
            Box::new(move |x| x * v)
        }
        "pow_scalar" => {
            let v = value(1);
            Box::new(move |x: f64| x.powf(v))
        }
        "clamp" => {
            let (low, high) = (value(1), value(2));
            Box::new(move |x: f64| x.max(low).min(high))
        }
        "clamp_min" => {
            let v = value(1);
            Box::new(move |x: f64| x.max(v))
        }
        "clamp_max" => {
            let v = value(1);
            Box::new(move |x: f64| x.min(v))
        }
        "eq_scalar" => {
            let v = value(1);
            Box::new(move |x| truth(x == v))
        }
        "lt_scalar" => {
            let v = value(1);
            Box::new(move |x| truth(x < v))
        }
        "gt_scalar" => {
            let v = value(1);
            Box::new(move |x| truth(x > v))
        }
        "neg" => Box::new(|x| -x),
        "abs" => Box::new(f64::abs),
        "exp" => Box::new(f64::exp),
        "log" => Box::new(f64::ln),
        "log1p" => Box::new(f64::ln_1p),
        "sqrt" => Box::new(f64::sqrt),
        "rsqrt" => Box::new(|x: f64| 1.0 / x.sqrt()),
        "square" => Box::new(|x| x * x),
        "reciprocal" => Box::new(|x| 1.0 / x),
        "sin" => Box::new(f64::sin),
        "cos" => Box::new(f64::cos),
        "tanh" => Box::new(f64::tanh),
        "sigmoid" => Box::new(|x: f64| 1.0 / (1.0 + (-x).exp())),
        "relu" => Box::new(|x: f64| x.max(0.0)),
        "silu" => Box::new(|x: f64| x / (1.0 + (-x).exp())),
        "softplus" => Box::new(|x: f64| x.exp().ln_1p()),
        "sign" => Box::new(|x: f64| if x == 0.0 { 0.0 } else { x.signum() }),
        "floor" => Box::new(f64::floor),
        "round" => Box::new(f64::round_ties_even),
        "is_finite" => Box::new(move |x: f64| truth(x.is_finite())),
        "logical_not" => Box::new(move |x| truth(x == 0.0)),
        "contiguous" | "copy" | "detach" | "to_dtype" | "to_like" => Box::new(|x| x),
        _ => return None,
    })
}

/// From the elements of the arguments at one place to that of the result.
type Elementwise = Box<dyn Fn(&[f64]) -> f64>;

fn elementwise(call: &Operands<'_>) -> Option<Elementwise> {
    let truth = |holds: bool| f64::from(u8::from(holds));
    Some(match call.name {
        "add" => Box::new(|x| x[0] + x[1]),
        "sub" => Box::new(|x| x[0] - x[1]),
        "mul" => Box::new(|x| x[0] * x[1]),
        "div" => Box::new(|x| x[0] / x[1]),
        "pow" => Box::new(|x| x[0].powf(x[1])),
        "maximum" => Box::new(|x| x[0].max(x[1])),
        "minimum" => Box::new(|x| x[0].min(x[1])),
        "add_scaled" => {
            let alpha = call.float(2);
            Box::new(move |x| x[0] + alpha * x[1])
        }
        "addcmul" => {
            let value = call.float(3);
            Box::new(move |x| x[0] + value * x[1] * x[2])
        }
        "addcdiv" => {
            let value = call.float(3);
            Box::new(move |x| x[0] + value * x[1] / x[2])
        }
        "lerp" => {
            let weight = call.float(2);
            Box::new(move |x| x[0] + weight * (x[1] - x[0]))
        }
        "select_where" => Box::new(|x| if x[0] == 0.0 { x[2] } else { x[1] }),
        "masked_fill" => {
            let value = call.float(2);
            Box::new(move |x| if x[1] == 0.0 { x[0] } else { value })
        }
        "eq" => Box::new(move |x| truth(x[0] == x[1])),
        "ne" => Box::new(move |x| truth(x[0] != x[1])),
        "lt" => Box::new(move |x| truth(x[0] < x[1])),
        "le" => Box::new(move |x| truth(x[0] <= x[1])),
        "gt" => Box::new(move |x| truth(x[0] > x[1])),
        "ge" => Box::new(move |x| truth(x[0] >= x[1])),
        "logical_and" => Box::new(move |x| truth(x[0] != 0.0 && x[1] != 0.0)),
        "logical_or" => Box::new(move |x| truth(x[0] != 0.0 || x[1] != 0.0)),
        _ => return None,
    })
}

fn linear(call: &Operands<'_>) -> Vec<f64> {
    let (input, weight) = (known(call.tensor(0)), known(call.tensor(1)));
    let features = call.shape(1)[1] as usize;
    if features == 0 || input.is_empty() {
        return Vec::new();
    }
    let mut values: Vec<f64> = Vec::new();
    for row in input.chunks(features) {
        values.extend(weight.chunks(features).map(|column| product(row, column)));
    }
    if call.name == "linear_bias" {
        let bias = known(call.tensor(2));
        for row in values.chunks_mut(bias.len().max(1)) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    }
    values
}

/// Matrices and batches of them; products with vectors are left unknown.
fn matmul(call: &Operands<'_>, shape: &[i64]) -> Option<Vec<f64>> {
    let (a, b) = (call.tensor(0), call.tensor(1));
    let (dimensions, inner) = (shape.len(), *a.shape.last()?);
    if a.shape.len() < 2 || b.shape.len() < 2 {
        return None;
    }
    Some(each(shape, |index| {
        let (mut left, mut right) = (index.to_vec(), index.to_vec());
        (0..inner as usize)
            .map(|k| {
                left[dimensions - 1] = k;
                right[dimensions - 2] = k;
                at(a, &left) * at(b, &right)
            })
            .sum()
    }))
}

fn reduce(call: &Operands<'_>, shape: &[i64]) -> Option<Vec<f64>> {
    let (a, values) = (call.tensor(0), known(call.tensor(0)));
    match call.name {
        "sum_all" => return Some(vec![values.iter().sum()]),
        "mean_all" => return Some(vec![values.iter().sum::<f64>() / values.len() as f64]),
        "dot" => return Some(vec![product(values, known(call.tensor(1)))]),
        "mse_loss" => {
            let pairs = values.iter().zip(known(call.tensor(1)));
            return Some(vec![pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f64>() / values.len() as f64]);
        }
        _ => {}
    }
    let dimensions = a.shape.len();
    let dims: Vec<usize> =
        call.ints(1).iter().map(|place| dim(call, dimensions, *place).ok()).collect::<Option<_>>()?;
    let gone = |place: usize| dims.is_empty() || dims.contains(&place);
    let mut parts: Vec<Vec<f64>> = vec![Vec::new(); count(shape)];
    for (number, value) in values.iter().enumerate() {
        let index = unravel(&a.shape, number);
        let place = index
            .iter()
            .enumerate()
            .filter(|(place, _)| !gone(*place))
            .fold(0, |place, (dimension, index)| place * a.shape[dimension] as usize + index);
        parts[place].push(*value);
    }
    let of = |part: &Vec<f64>| match call.name {
        "sum" => part.iter().sum(),
        "mean" => part.iter().sum::<f64>() / part.len() as f64,
        "amax" => part.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        _ => part.iter().copied().fold(f64::INFINITY, f64::min),
    };
    Some(parts.iter().map(of).collect())
}

fn softmax(call: &Operands<'_>) -> Option<Vec<f64>> {
    let a = call.tensor(0);
    let place = dim(call, a.shape.len(), call.int(1)).ok()?;
    Some(each(&a.shape, |index| {
        let mut other = index.to_vec();
        let line: Vec<f64> = (0..a.shape[place] as usize)
            .map(|k| {
                other[place] = k;
                at(a, &other)
            })
            .collect();
        let largest = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = line.iter().map(|x| (x - largest).exp()).sum();
        let logarithm = at(a, index) - largest - sum.ln();
        if call.name == "softmax" { logarithm.exp() } else { logarithm }
    }))
}

fn cat(call: &Operands<'_>, shape: &[i64]) -> Option<Vec<f64>> {
    let parts = call.tensors(0);
    let place = dim(call, shape.len(), call.int(1)).ok()?;
    Some(each(shape, |index| {
        let mut index = index.to_vec();
        for part in &parts {
            let size = part.shape[place] as usize;
            if index[place] < size {
                return at(part, &index);
            }
            index[place] -= size;
        }
        f64::NAN
    }))
}

fn stack(call: &Operands<'_>, shape: &[i64]) -> Option<Vec<f64>> {
    let parts = call.tensors(0);
    let place = dim(call, shape.len(), call.int(1)).ok()?;
    Some(each(shape, |index| {
        let mut index = index.to_vec();
        let part = index.remove(place);
        at(parts[part], &index)
    }))
}

fn pieces(call: &Operands<'_>, shapes: &[Vec<i64>]) -> Option<Vec<Vec<f64>>> {
    let a = call.tensor(0);
    let place = dim(call, a.shape.len(), call.int(2)).ok()?;
    let mut start = 0;
    Some(
        shapes
            .iter()
            .map(|shape| {
                let values = each(shape, |index| {
                    let mut index = index.to_vec();
                    index[place] += start;
                    at(a, &index)
                });
                start += shape[place] as usize;
                values
            })
            .collect(),
    )
}

/// Views and copies: each element of the result is one of the input.
fn moved(call: &Operands<'_>, shape: &[i64]) -> Option<Vec<f64>> {
    let a = call.tensor(0);
    let place = |item: usize| dim(call, a.shape.len(), call.int(item)).ok();
    let moved =
        |source: &dyn Fn(Vec<usize>) -> Vec<usize>| Some(each(shape, |index| at(a, &source(index.to_vec()))));
    match call.name {
        "reshape" | "flatten" | "squeeze" | "unsqueeze" => Some(known(a).clone()),
        "expand" => Some(each(shape, |index| at(a, index))),
        "transpose" => {
            let (first, second) = (place(1)?, place(2)?);
            moved(&|mut index| {
                index.swap(first, second);
                index
            })
        }
        "permute" => {
            let order = call
                .ints(1)
                .iter()
                .map(|item| dim(call, a.shape.len(), *item).ok())
                .collect::<Option<Vec<_>>>()?;
            moved(&|index| {
                (0..index.len())
                    .map(|to| index[order.iter().position(|from| *from == to).unwrap_or(to)])
                    .collect()
            })
        }
        "repeat_interleave" => {
            let (place, times) = (place(2)?, call.int(1) as usize);
            moved(&|mut index| {
                index[place] /= times;
                index
            })
        }
        "narrow" => {
            let (place, start) = (place(1)?, call.int(2) as usize);
            moved(&|mut index| {
                index[place] += start;
                index
            })
        }
        "select" => {
            let (place, picked) = (place(1)?, call.int(2));
            let picked = if picked < 0 { picked + a.shape[place] } else { picked } as usize;
            moved(&|mut index| {
                index.insert(place, picked);
                index
            })
        }
        _ => None,
    }
}

fn known(entry: &Entry) -> &Vec<f64> {
    entry.values.as_ref().expect("evaluation looks at known tensors only")
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn count(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

fn filled(shape: &[i64], value: f64) -> Vec<f64> {
    vec![value; count(shape)]
}

fn unravel(shape: &[i64], mut number: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (place, size) in shape.iter().enumerate().rev() {
        index[place] = number % *size as usize;
        number /= *size as usize;
    }
    index
}

fn each(shape: &[i64], of: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
    let mut of = of;
    (0..count(shape)).map(|number| of(&unravel(shape, number))).collect()
}

/// The element at an index of a shape that the tensor is broadcast to.
fn at(entry: &Entry, index: &[usize]) -> f64 {
    let lead = index.len() - entry.shape.len();
    let place = entry
        .shape
        .iter()
        .zip(&index[lead..])
        .fold(0, |place, (size, index)| place * *size as usize + if *size == 1 { 0 } else { *index });
    known(entry)[place]
}
