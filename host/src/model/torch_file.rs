//! Weights that PyTorch before 1.6 saved: three pickles for the format, one for the table of tensors, one for the order of the
//! storages, then the storages. The pickles are read as data, by a machine that knows a state dictionary and nothing else.

pub mod archive;
mod pickle;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

pub use pickle::Element;
use pickle::{Machine, Storage, TensorReference, Value};

const MAGIC: i128 = 119_547_037_146_038_801_333_356;
const PROTOCOL: i128 = 1001;
const HINT: &str = "hint: the file is damaged, or not of the form that PyTorch wrote before version 1.6";

/// A float32 tensor in the order of its indices, whatever strides it was stored with.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The float32 tensors of a saved state dictionary; those of whole numbers, which are counters, are left out.
///
/// # Errors
/// Another format; an operation or a class that a state dictionary has no use for; a tensor outside its storage.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Stored>> {
    let mut position = 0;
    let mut next = |what: &str| -> Result<Value> {
        let left = bytes.get(position..).unwrap_or_default();
        let (value, used) = Machine::run(left).with_context(|| format!("{what}\n{HINT}"))?;
        position += used;
        Ok(value)
    };
    let is = |found: &Value, wanted: i128| matches!(found, &Value::Integer(value) if value == wanted);
    ensure!(is(&next("the start of the file")?, MAGIC), "not a file of PyTorch's old form\n{HINT}");
    ensure!(is(&next("the protocol")?, PROTOCOL), "not PyTorch's protocol {PROTOCOL}\n{HINT}");
    let system = next("what the file says of the machine it was made on")?;
    ensure!(
        matches!(system.get("little_endian"), Some(Value::Bool(true))),
        "the file does not say that it is little-endian, which alone is supported\n{HINT}"
    );
    let Value::Dictionary(entries) = next("the table of tensors")? else {
        bail!("the file holds no dictionary of tensors\n{HINT}")
    };
    let mut tensors = Vec::new();
    for (name, value) in entries {
        match (name, value) {
            (Value::Text(name), Value::Tensor(tensor)) => tensors.push((name, tensor)),
            _ => bail!("the dictionary holds something that is not a named tensor\n{HINT}"),
        }
    }
    let order = next("the order of the storages")?;
    let data = bytes.get(position..).unwrap_or_default();
    let storages = storages(&tensors, &order, data).with_context(|| format!("the storages\n{HINT}"))?;
    let mut read = BTreeMap::new();
    for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.storage.element != Element::Long) {
        ensure!(
            tensor.storage.element == Element::Float,
            "tensor `{name}` is {:?}, and only float32 is read from PyTorch's old form",
            tensor.storage.element
        );
        let storage = storages.get(&*tensor.storage.key).context("a storage that is not in the file")?;
        let values = gather(tensor, storage).with_context(|| format!("tensor `{name}`\n{HINT}"))?;
        read.insert(name.to_string(), Stored { shape: tensor.shape.clone(), values });
    }
    Ok(read)
}

/// The bytes of each storage. A storage is a count of elements and then so many.
fn storages<'a>(
    tensors: &[(std::rc::Rc<str>, std::rc::Rc<TensorReference>)],
    order: &Value,
    mut data: &'a [u8],
) -> Result<BTreeMap<String, &'a [u8]>> {
    let known: BTreeMap<&str, &Storage> =
        tensors.iter().map(|(_, tensor)| (&*tensor.storage.key, &*tensor.storage)).collect();
    let Value::List(keys) = order else { bail!("no list of storages") };
    let mut storages = BTreeMap::new();
    for key in keys {
        let Value::Text(key) = key else { bail!("a storage whose name is no text") };
        let storage = known.get(&**key).with_context(|| format!("storage `{key}` belongs to no tensor"))?;
        let (count, rest) = data.split_first_chunk::<8>().context("the file ends too early")?;
        let count = u64::from_le_bytes(*count);
        ensure!(
            count == storage.elements as u64,
            "storage `{key}` has {count} elements, and its tensors say {}",
            storage.elements
        );
        let size = storage.elements.checked_mul(storage.element.size());
        let (bytes, rest) =
            size.and_then(|size| rest.split_at_checked(size)).context("the file ends too early")?;
        storages.insert(key.to_string(), bytes);
        data = rest;
    }
    Ok(storages)
}

/// The elements of a tensor in the order of its indices.
fn gather(tensor: &TensorReference, storage: &[u8]) -> Result<Vec<f32>> {
    let TensorReference { shape, strides, offset, .. } = tensor;
    let count = tensor.check()?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0usize; shape.len()];
    let mut place = *offset;
    for _ in 0..count {
        let bytes = storage.get(4 * place..4 * place + 4).context("it reaches beyond its storage")?;
        values.push(f32::from_le_bytes(bytes.try_into()?));
        // The next index, as an odometer counts.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            place -= strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
    Ok(values)
}

#[cfg(test)]
pub(crate) mod tests;
