//! A file of weights written anew, one tensor in memory at a time.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context, Error, Result, ensure};
use safetensors::{Dtype, SafeTensors, View};
use tch::{Kind, Tensor};

use super::{Archive, bytes, dtype, is_torch, kind_of, map, put, strided, tensor, unreadable};

/// Writes the safetensors file `to` with the tensors of a file of weights, each of which `change` may give other values. Names, shapes and
/// element types stay; the mark by which transformers knows PyTorch's layout is added.
pub(in crate::model) fn rewrite(
    from: &Path,
    to: &Path,
    change: &dyn Fn(&str, Tensor) -> Result<Tensor>,
) -> Result<()> {
    let mapped = map(from)?;
    let file = match is_torch(from) {
        true => {
            Opened::Torch(RefCell::new(Archive::open(&mapped).with_context(|| from.display().to_string())?))
        }
        false => Opened::Safe(SafeTensors::deserialize(&mapped).with_context(|| unreadable(from))?),
    };
    let entries = file.entries().with_context(|| from.display().to_string())?;
    let failed: RefCell<Option<Error>> = RefCell::new(None);
    let read = |place: usize| -> Result<Vec<u8>> {
        let Entry { name, kind, shape } = &entries[place];
        let changed = file.read(place, name).and_then(|tensor| change(name, tensor));
        let changed = changed.with_context(|| format!("tensor `{name}`"))?;
        let size: Vec<usize> = changed.size().into_iter().map(|size| size as usize).collect();
        ensure!(changed.kind() == *kind && size == *shape, "tensor `{name}` would become another one");
        bytes(&changed.f_contiguous()?)
    };
    let late = entries.iter().enumerate().map(|(place, entry)| {
        let view = Late { place, dtype: dtype(entry.kind)?, entry, read: &read, failed: &failed };
        Ok((&entry.name, view))
    });
    put(to, late.collect::<Result<Vec<_>>>()?, Some([("format".to_owned(), "pt".to_owned())].into()), || {
        failed.take().map_or(Ok(()), Err)
    })
}

/// Name, element type and shape of a tensor that is still on the disk.
struct Entry {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
}

enum Opened<'b> {
    Safe(SafeTensors<'b>),
    Torch(RefCell<Archive<'b>>),
}

impl Opened<'_> {
    fn entries(&self) -> Result<Vec<Entry>> {
        match self {
            Opened::Safe(file) => file
                .iter()
                .map(|(name, view)| {
                    let kind = super::kind(view.dtype()).with_context(|| format!("tensor `{name}`"))?;
                    Ok(Entry { name: name.to_owned(), kind, shape: view.shape().to_vec() })
                })
                .collect(),
            Opened::Torch(file) => {
                let file = file.borrow();
                let entries = file.shapes().zip(file.elements()).map(|((name, shape), element)| Entry {
                    name: name.to_owned(),
                    kind: kind_of(element),
                    shape: shape.to_vec(),
                });
                Ok(entries.collect())
            }
        }
    }

    fn read(&self, place: usize, name: &str) -> Result<Tensor> {
        match self {
            Opened::Safe(file) => tensor(&file.tensor(name)?),
            Opened::Torch(file) => strided(&file.borrow_mut().read(place)?),
        }
    }
}

/// A tensor that is read when its turn comes to be written.
struct Late<'a> {
    place: usize,
    dtype: Dtype,
    entry: &'a Entry,
    read: &'a dyn Fn(usize) -> Result<Vec<u8>>,
    /// The first error, since a view cannot give one.
    failed: &'a RefCell<Option<Error>>,
}

impl View for Late<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let nothing = || Cow::Owned(vec![0; self.data_len()]);
        if self.failed.borrow().is_some() {
            return nothing();
        }
        match (self.read)(self.place) {
            Ok(bytes) => Cow::Owned(bytes),
            Err(error) => {
                self.failed.replace(Some(error));
                nothing()
            }
        }
    }

    fn data_len(&self) -> usize {
        self.entry.shape.iter().product::<usize>() * self.entry.kind.elt_size_in_bytes()
    }
}
