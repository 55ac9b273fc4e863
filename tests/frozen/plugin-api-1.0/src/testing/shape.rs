//! The shapes of results, by PyTorch's rules.

use super::operand::Operands;
use crate::error::Result;

/// The shapes of what an operation returns.
pub(crate) fn infer(call: &Operands<'_>) -> Result<Vec<Vec<i64>>> {
    let one = |shape: Vec<i64>| Ok(vec![shape]);
    match call.name {
        "add" | "sub" | "mul" | "div" | "add_scaled" | "pow" | "maximum" | "minimum" | "addcmul"
        | "addcdiv" | "lerp" | "select_where" | "masked_fill" | "eq" | "ne" | "lt" | "le" | "gt" | "ge"
        | "logical_and" | "logical_or" => one(broadcast_all(call)?),
        "sum_all"
        | "mean_all"
        | "product_all"
        | "any"
        | "all"
        | "dot"
        | "cross_entropy"
        | "nll_loss"
        | "kl_divergence"
        | "mse_loss"
        | "binary_cross_entropy" => one(Vec::new()),
        "matmul" | "bmm" => one(matmul(call)?),
        "linear" | "linear_bias" => one(linear(call)?),
        "addmm" => one(vec![size(call, 1, 0)?, size(call, 2, 1)?]),
        "outer" => one(vec![size(call, 0, 0)?, size(call, 1, 0)?]),
        "solve" => one(call.shape(1).to_vec()),
        "pinverse" => one(vec![size(call, 0, 1)?, size(call, 0, 0)?]),
        "svd" => {
            let (m, n) = (size(call, 0, 0)?, size(call, 0, 1)?);
            Ok(vec![vec![m, m.min(n)], vec![m.min(n)], vec![m.min(n), n]])
        }
        "qr" => {
            let (m, n) = (size(call, 0, 0)?, size(call, 0, 1)?);
            Ok(vec![vec![m, m.min(n)], vec![m.min(n), n]])
        }
        "eigh" => Ok(vec![vec![size(call, 0, 0)?], call.shape(0).to_vec()]),
        "sum" | "mean" | "amax" | "amin" | "logsumexp" => one(reduced(call, call.ints(1), call.flag(2))?),
        "variance" => one(reduced(call, call.ints(1), call.flag(3))?),
        "norm" => one(reduced(call, call.ints(2), call.flag(3))?),
        "argmax" | "argmin" => one(reduced(call, &[call.int(1)], call.flag(2))?),
        "cosine_similarity" => {
            let shape = broadcast(call, call.shape(0), call.shape(1))?;
            let place = dim(call, shape.len(), call.int(2))?;
            one(without(&shape, place))
        }
        "gather" => one(call.shape(2).to_vec()),
        "index_select" => one(replaced(call, call.int(1), |_| call.shape(2).iter().product())?),
        "topk" => {
            let shape = replaced(call, call.int(2), |_| call.int(1))?;
            Ok(vec![shape.clone(), shape])
        }
        "sort" => Ok(vec![call.shape(0).to_vec(); 2]),
        "one_hot" => one([call.shape(0), &[call.int(1)]].concat()),
        "zeros" | "ones" | "full" => one(call.ints(0).to_vec()),
        "eye" => one(vec![call.int(0); 2]),
        "arange" => one(vec![((call.float(1) - call.float(0)) / call.float(2)).ceil().max(0.0) as i64]),
        "masked_select" | "nonzero" => {
            Err(call
                .error("the shape of the result depends on values, which the recording host does not follow"))
        }
        "cat" | "stack" => one(joined(call)?),
        "chunk" => {
            let (parts, length) = (call.int(1).max(1), along(call, call.int(2))?);
            pieces(call, (length + parts - 1) / parts, call.int(2))
        }
        "split" => pieces(call, call.int(1), call.int(2)),
        "reshape" | "transpose" | "permute" | "squeeze" | "unsqueeze" | "expand" | "repeat"
        | "repeat_interleave" | "narrow" | "select" | "pad" | "flatten" | "diag" => one(moved(call)?),
        // Everything else works element by element, or along a dimension that it keeps.
        _ => one(call.shape(0).to_vec()),
    }
}

/// The shape of views and copies.
fn moved(call: &Operands<'_>) -> Result<Vec<i64>> {
    let shape = call.shape(0);
    Ok(match call.name {
        "reshape" => reshaped(call)?,
        "transpose" => {
            let (first, second) =
                (dim(call, shape.len(), call.int(1))?, dim(call, shape.len(), call.int(2))?);
            let mut shape = shape.to_vec();
            shape.swap(first, second);
            shape
        }
        "permute" => {
            let places = call
                .ints(1)
                .iter()
                .map(|place| dim(call, shape.len(), *place))
                .collect::<Result<Vec<_>>>()?;
            places.into_iter().map(|place| shape[place]).collect()
        }
        "squeeze" => {
            let place = dim(call, shape.len(), call.int(1))?;
            if shape[place] == 1 { without(shape, place) } else { shape.to_vec() }
        }
        "unsqueeze" => {
            let mut shape = shape.to_vec();
            shape.insert(dim(call, shape.len() + 1, call.int(1))?, 1);
            shape
        }
        "expand" => {
            let sizes = call.ints(1);
            let lead = sizes
                .len()
                .checked_sub(shape.len())
                .ok_or_else(|| call.error("fewer sizes than dimensions"))?;
            let kept = |place: usize| if place < lead { 1 } else { shape[place - lead] };
            sizes
                .iter()
                .enumerate()
                .map(|(place, size)| if *size == -1 { kept(place) } else { *size })
                .collect()
        }
        "repeat" => {
            let times = call.ints(1);
            let lead = times
                .len()
                .checked_sub(shape.len())
                .ok_or_else(|| call.error("fewer repeats than dimensions"))?;
            times
                .iter()
                .enumerate()
                .map(|(place, n)| n * if place < lead { 1 } else { shape[place - lead] })
                .collect()
        }
        "repeat_interleave" => replaced(call, call.int(2), |size| size * call.int(1))?,
        "narrow" => {
            let size = along(call, call.int(1))?;
            if call.int(2) < 0 || call.int(3) < 0 || call.int(2) + call.int(3) > size {
                return Err(call.error(&format!("outside of a dimension of {size}")));
            }
            replaced(call, call.int(1), |_| call.int(3))?
        }
        "select" => without(shape, dim(call, shape.len(), call.int(1))?),
        "pad" => {
            let mut shape = shape.to_vec();
            for (place, sides) in shape.iter_mut().rev().zip(call.ints(1).chunks(2)) {
                *place += sides.iter().sum::<i64>();
            }
            shape
        }
        "flatten" => {
            let (start, end) = (dim(call, shape.len(), call.int(1))?, dim(call, shape.len(), call.int(2))?);
            let middle = shape[start..=end].iter().product();
            [&shape[..start], &[middle], &shape[end + 1..]].concat()
        }
        _ => match *shape {
            [size] => vec![size + call.int(1).abs(); 2],
            [rows, columns] if call.int(1) >= 0 => vec![rows.min(columns - call.int(1))],
            [rows, columns] => vec![columns.min(rows + call.int(1))],
            _ => return Err(call.error("a vector or a matrix is needed")),
        },
    })
}

/// The place of a dimension that may count from the end.
pub(crate) fn dim(call: &Operands<'_>, dimensions: usize, place: i64) -> Result<usize> {
    let counted = if place < 0 { place + dimensions as i64 } else { place };
    usize::try_from(counted)
        .ok()
        .filter(|place| *place < dimensions)
        .ok_or_else(|| call.error(&format!("there is no dimension {place}")))
}

fn along(call: &Operands<'_>, place: i64) -> Result<i64> {
    Ok(call.shape(0)[dim(call, call.shape(0).len(), place)?])
}

fn size(call: &Operands<'_>, tensor: usize, place: usize) -> Result<i64> {
    call.shape(tensor).get(place).copied().ok_or_else(|| call.error("too few dimensions"))
}

fn without(shape: &[i64], place: usize) -> Vec<i64> {
    [&shape[..place], &shape[place + 1..]].concat()
}

fn replaced(call: &Operands<'_>, place: i64, size: impl Fn(i64) -> i64) -> Result<Vec<i64>> {
    let mut shape = call.shape(0).to_vec();
    let place = dim(call, shape.len(), place)?;
    shape[place] = size(shape[place]);
    Ok(shape)
}

fn reduced(call: &Operands<'_>, dims: &[i64], keep: bool) -> Result<Vec<i64>> {
    let shape = call.shape(0);
    let dims = dims.iter().map(|place| dim(call, shape.len(), *place)).collect::<Result<Vec<_>>>()?;
    let gone = |place: usize| dims.is_empty() || dims.contains(&place);
    let sizes = shape.iter().enumerate().filter(|(place, _)| keep || !gone(*place));
    Ok(sizes.map(|(place, size)| if gone(place) { 1 } else { *size }).collect())
}

fn broadcast(call: &Operands<'_>, a: &[i64], b: &[i64]) -> Result<Vec<i64>> {
    let length = a.len().max(b.len());
    let at = |shape: &[i64], place: usize| {
        (place + shape.len()).checked_sub(length).map_or(1, |place| shape[place])
    };
    (0..length)
        .map(|place| match (at(a, place), at(b, place)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            (x, y) => Err(call.error(&format!("sizes {x} and {y} of dimension {place} do not fit together"))),
        })
        .collect()
}

fn broadcast_all(call: &Operands<'_>) -> Result<Vec<i64>> {
    call.all_tensors().into_iter().try_fold(Vec::new(), |shape, entry| broadcast(call, &shape, &entry.shape))
}

fn linear(call: &Operands<'_>) -> Result<Vec<i64>> {
    let (input, weight) = (call.shape(0), call.shape(1));
    match (input, weight) {
        ([lead @ .., features], [out, wanted]) if features == wanted => Ok([lead, &[*out]].concat()),
        _ => Err(call.error("the input's last size must be the weight's last size")),
    }
}

fn matmul(call: &Operands<'_>) -> Result<Vec<i64>> {
    match (call.shape(0), call.shape(1)) {
        ([n], [m]) if n == m => Ok(Vec::new()),
        ([n], [lead @ .., m, p]) if n == m => Ok([lead, &[*p]].concat()),
        ([lead @ .., n, m], [p]) if m == p => Ok([lead, &[*n]].concat()),
        ([first @ .., n, m], [second @ .., p, q]) if m == p => {
            Ok([broadcast(call, first, second)?.as_slice(), &[*n, *q]].concat())
        }
        _ => Err(call.error("the inner sizes differ")),
    }
}

fn reshaped(call: &Operands<'_>) -> Result<Vec<i64>> {
    let count: i64 = call.shape(0).iter().product();
    let known: i64 = call.ints(1).iter().filter(|size| **size != -1).product();
    let free = if known == 0 { 0 } else { count / known };
    let shape: Vec<i64> = call.ints(1).iter().map(|size| if *size == -1 { free } else { *size }).collect();
    if shape.iter().product::<i64>() != count {
        return Err(call.error(&format!("{count} elements do not fit")));
    }
    Ok(shape)
}

fn joined(call: &Operands<'_>) -> Result<Vec<i64>> {
    let parts = call.tensors(0);
    let Some(first) = parts.first() else { return Err(call.error("no tensors")) };
    let mut shape = first.shape.clone();
    if call.name == "stack" {
        if parts.iter().any(|part| part.shape != shape) {
            return Err(call.error("shapes differ"));
        }
        shape.insert(dim(call, shape.len() + 1, call.int(1))?, parts.len() as i64);
        return Ok(shape);
    }
    let place = dim(call, shape.len(), call.int(1))?;
    if parts
        .iter()
        .any(|part| part.shape.len() != shape.len() || without(&part.shape, place) != without(&shape, place))
    {
        return Err(call.error("shapes differ beside the joined dimension"));
    }
    shape[place] = parts.iter().map(|part| part.shape[place]).sum();
    Ok(shape)
}

fn pieces(call: &Operands<'_>, size: i64, place: i64) -> Result<Vec<Vec<i64>>> {
    let length = along(call, place)?;
    if size <= 0 {
        return Err(call.error("parts need a positive size"));
    }
    (0..length)
        .step_by(size as usize)
        .map(|start| replaced(call, place, |_| size.min(length - start)))
        .collect()
}
