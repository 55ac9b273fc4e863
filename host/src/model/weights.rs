//! Weights on disk: safetensors files, or those of `torch.save`, one or many with an index, read through a memory map.

mod rewrite;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;
use super::layout::{canonical, of_tower};
use super::parameter::{is_unused, parameters};
use super::torch_file::Element;
use super::torch_file::archive::{Archive, Strided};
use crate::files;
pub(super) use rewrite::rewrite;

/// Why the tensors of a checkpoint are not those of the configuration.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct Mismatch {
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
    /// Name, shape found, shape expected.
    pub misshapen: Vec<(String, Vec<i64>, Vec<i64>)>,
}

impl Mismatch {
    fn message(&self) -> String {
        let mut text = "the checkpoint's tensors do not fit its config.json".to_owned();
        for name in &self.missing {
            text += &format!("\n  missing: {name}");
        }
        for name in &self.unexpected {
            text += &format!("\n  not expected: {name}");
        }
        for (name, found, expected) in &self.misshapen {
            text += &format!("\n  {name}: shape {found:?}, expected {expected:?}");
        }
        text + "\nhint: config.json and the weights must come from the same checkpoint, in the Hugging Face layout"
    }
}

/// Reads all tensors that `config` needs from `model.safetensors`, or from the files that
/// `model.safetensors.index.json` names, converted to `kind` on `device`. Names may be those of any layout that [`canonical`] knows.
pub fn load_folder(
    folder: &Path,
    config: &ModelConfig,
    device: Device,
    kind: Kind,
) -> Result<BTreeMap<String, Tensor>> {
    load_files(&files(folder)?, &[], config, device, kind)
}

/// The same from files, and the tensors of the vision tower that they have not from those of a tower's own checkpoint.
pub(super) fn load_files(
    files: &[PathBuf],
    tower: &[PathBuf],
    config: &ModelConfig,
    device: Device,
    kind: Kind,
) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut checker = Checker::new(config);
    for (path, is_tower) in
        files.iter().map(|path| (path, false)).chain(tower.iter().map(|path| (path, true)))
    {
        each(path, &mut |written, shape, read| {
            let name = if is_tower { of_tower(written) } else { Some(canonical(written)) };
            let Some(name) = name.filter(|name| !is_tower || !tensors.contains_key(name)) else {
                return Ok(());
            };
            if checker.admit(&name, written, shape) {
                let tensor = read().with_context(|| format!("tensor `{written}`"))?;
                tensors.insert(name, tensor.f_to_device(device)?.f_to_kind(kind)?);
            }
            Ok(())
        })?;
    }
    let folder =
        || files.first().and_then(|file| file.parent()).unwrap_or(Path::new(".")).display().to_string();
    checker.finish().with_context(folder)?;
    Ok(tensors)
}

/// Takes name, shape and, when called, contents of a tensor.
type Visit<'v> = dyn FnMut(&str, &[i64], &mut dyn FnMut() -> Result<Tensor>) -> Result<()> + 'v;

/// Calls `body` with name, shape and contents, if it wants them, of every tensor of a safetensors file, or of one that `torch.save`
/// wrote.
fn each(path: &Path, body: &mut Visit) -> Result<()> {
    let bytes = map(path)?;
    if !is_torch(path) {
        let file = SafeTensors::deserialize(&bytes).with_context(|| unreadable(path))?;
        for (name, view) in file.iter() {
            let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
            body(name, &shape, &mut || tensor(&view)).with_context(|| unreadable(path))?;
        }
        return Ok(());
    }
    let mut file = Archive::open(&bytes).with_context(|| path.display().to_string())?;
    let shapes: Vec<(String, Vec<i64>)> = file
        .shapes()
        .map(|(name, shape)| (name.to_owned(), shape.iter().map(|&size| size as i64).collect()))
        .collect();
    for (place, (name, shape)) in shapes.iter().enumerate() {
        body(name, shape, &mut || strided(&file.read(place)?)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Whether `torch.save` wrote a file, by its name.
fn is_torch(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "bin")
}

fn kind_of(element: Element) -> Kind {
    match element {
        Element::Double => Kind::Double,
        Element::Float => Kind::Float,
        Element::Half => Kind::Half,
        Element::BFloat16 => Kind::BFloat16,
        Element::Long => Kind::Int64,
    }
}

fn strided(stored: &Strided) -> Result<Tensor> {
    let kind = kind_of(stored.element);
    let sizes = |sizes: &[usize]| sizes.iter().map(|&size| size as i64).collect::<Vec<i64>>();
    let elements = (stored.bytes.len() / stored.element.size()) as i64;
    let storage = Tensor::f_from_data_size(&stored.bytes, &[elements], kind)?;
    let view =
        storage.f_as_strided(&sizes(&stored.shape)[..], &sizes(&stored.strides)[..], stored.offset as i64)?;
    // A copy: the storage may be larger.
    Ok(view.f_contiguous()?.f_clone(&view)?)
}

/// The same from the bytes of one safetensors file.
pub fn load_bytes(
    bytes: &[u8],
    config: &ModelConfig,
    device: Device,
    kind: Kind,
) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    let mut checker = Checker::new(config);
    read(bytes, &mut checker, &mut tensors, device, kind)?;
    checker.finish()?;
    Ok(tensors)
}

/// Every tensor of a file of weights as it is, on the CPU, without a configuration to check against.
pub fn load_all(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    each(path, &mut |name, _, read| {
        tensors.insert(name.to_owned(), read()?);
        Ok(())
    })?;
    Ok(tensors)
}

/// Whether every number of a tensor is one.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1)
}

/// Name and shape of every tensor of a file of weights.
pub(super) fn shapes(path: &Path) -> Result<Vec<(String, Vec<i64>)>> {
    let mut shapes = Vec::new();
    each(path, &mut |name, shape, _| {
        shapes.push((name.to_owned(), shape.to_vec()));
        Ok(())
    })?;
    Ok(shapes)
}

/// Whether tensors of these shapes, by the names that files give them, are those of `config`; those of the vision tower may be
/// elsewhere where `has_own_tower` does not hold.
pub(super) fn check_shapes(
    config: &ModelConfig,
    shapes: &[(String, Vec<i64>)],
    has_own_tower: bool,
) -> Result<(), Mismatch> {
    let mut checker = Checker::new(config);
    for (written, shape) in shapes {
        checker.admit(&canonical(written), written, shape);
    }
    checker.open.retain(|name, _| has_own_tower || !name.starts_with("vision_tower."));
    checker.finish()
}

/// Whether these tensors are exactly those of `config`.
pub fn check(config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<(), Mismatch> {
    let mut checker = Checker::new(config);
    for (name, tensor) in tensors {
        checker.admit(name, name, &tensor.size());
    }
    checker.finish()
}

fn unreadable(path: &Path) -> String {
    format!(
        "{} cannot be read as safetensors\nhint: the file is damaged or was not copied whole",
        path.display()
    )
}

/// Writes tensors in the order of their names, converted to `kind` if one is given, to a temporary file beside
/// `path` that then takes its name: a reader never sees half a file.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>, kind: Option<Kind>) -> Result<()> {
    let mut stored: Vec<(&String, Stored)> = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        stored.push((name, Stored::of(&tensor.f_to_kind(kind.unwrap_or(tensor.kind()))?)?));
    }
    put(path, stored, None, || Ok(()))
}

/// Writes views to a temporary file that takes the name `path` if `check` then finds nothing wrong.
fn put<V: View>(
    path: &Path,
    views: Vec<(&String, V)>,
    metadata: Option<HashMap<String, String>>,
    check: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file =
        files::temporary(folder).with_context(|| format!("no file can be made in {}", folder.display()))?;
    safetensors::serialize_to_file(views, metadata, file.path()).with_context(failed)?;
    check()?;
    keep_for_others(file.path(), file.as_file()).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// Tensors as they are, as the bytes of a safetensors file.
pub(crate) fn serialized(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let stored = tensors.iter().map(|(name, tensor)| Ok((name, Stored::of(tensor)?)));
    Ok(safetensors::serialize(stored.collect::<Result<Vec<_>>>()?, None)?)
}

/// The tensors of the bytes of a safetensors file, on the CPU.
pub(crate) fn deserialized(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes)?;
    file.iter().map(|(name, view)| Ok((name.to_owned(), tensor(&view)?))).collect()
}

/// What safetensors writes is another file of that name, which nobody else may read, and not on the disk yet.
fn keep_for_others(written: &Path, made: &File) -> std::io::Result<()> {
    let file = File::open(written)?;
    file.set_permissions(made.metadata()?.permissions())?;
    file.sync_all()
}

struct Checker<'a> {
    config: &'a ModelConfig,
    open: BTreeMap<String, Vec<i64>>,
    mismatch: Mismatch,
}

impl Checker<'_> {
    fn new(config: &ModelConfig) -> Checker<'_> {
        let open = parameters(config).into_iter().map(|p| (p.name, p.shape)).collect();
        Checker { config, open, mismatch: Mismatch::default() }
    }

    /// Whether the tensor `name`, which the file calls `written`, is to be kept.
    fn admit(&mut self, name: &str, written: &str, found: &[i64]) -> bool {
        match self.open.remove(name) {
            Some(expected) if expected == found => true,
            Some(expected) => {
                self.mismatch.misshapen.push((written.to_owned(), found.to_vec(), expected));
                false
            }
            None => {
                if !is_unused(self.config, name) {
                    self.mismatch.unexpected.push(written.to_owned());
                }
                false
            }
        }
    }

    fn finish(mut self) -> Result<(), Mismatch> {
        self.mismatch.missing = self.open.into_keys().collect();
        self.mismatch.unexpected.sort();
        self.mismatch.misshapen.sort();
        if self.mismatch == Mismatch::default() { Ok(()) } else { Err(self.mismatch) }
    }
}

fn read(
    bytes: &[u8],
    checker: &mut Checker,
    tensors: &mut BTreeMap<String, Tensor>,
    device: Device,
    kind: Kind,
) -> Result<()> {
    let file = SafeTensors::deserialize(bytes)?;
    for (written, view) in file.iter() {
        let found: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        let name = canonical(written);
        if checker.admit(&name, written, &found) {
            let tensor = tensor(&view).with_context(|| format!("tensor `{written}`"))?;
            tensors.insert(name, tensor.f_to_device(device)?.f_to_kind(kind)?);
        }
    }
    Ok(())
}

/// The files of weights of a checkpoint, in the order of their names: safetensors, else what `torch.save` wrote.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut index = folder.join("model.safetensors.index.json");
    for single in ["model.safetensors", "pytorch_model.bin"] {
        let many = folder.join(format!("{single}.index.json"));
        if folder.join(single).is_file() {
            return Ok(vec![folder.join(single)]);
        }
        if many.is_file() {
            index = many;
            break;
        }
    }
    let text = std::fs::read_to_string(&index).with_context(|| {
        format!("{} holds neither model.safetensors nor model.safetensors.index.json\nhint: it must hold the weights: safetensors, or pytorch_model.bin and its index", folder.display())
    })?;
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let parsed: Index = serde_json::from_str(&text).with_context(|| index.display().to_string())?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        ensure!(
            Path::new(name).components().count() == 1 && folder.join(name).is_file(),
            "{} names the file `{name}`, which is not beside it\nhint: copy all shards of the checkpoint into one folder",
            index.display()
        );
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[expect(unsafe_code, reason = "a memory map is only as constant as its file")]
fn map(path: &Path) -> Result<memmap2::Mmap> {
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    // SAFETY: the map is read-only and dropped before this module returns; a file that another process truncates
    // meanwhile ends this one, as documented for checkpoints, and cannot make it read other memory.
    unsafe { memmap2::Mmap::map(&file) }.with_context(|| format!("{} cannot be mapped", path.display()))
}

fn kind(dtype: Dtype) -> Result<Kind> {
    Ok(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        other => bail!(
            "element type {other:?} is not supported\nhint: store the checkpoint as float16, bfloat16 or float32"
        ),
    })
}

fn tensor(view: &TensorView) -> Result<Tensor> {
    let kind = kind(view.dtype())?;
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}

fn dtype(kind: Kind) -> Result<Dtype> {
    Ok(match kind {
        Kind::Double => Dtype::F64,
        Kind::Float => Dtype::F32,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Int64 => Dtype::I64,
        Kind::Int => Dtype::I32,
        Kind::Uint8 => Dtype::U8,
        Kind::Bool => Dtype::BOOL,
        other => bail!("tensors of kind {other:?} cannot be saved as safetensors"),
    })
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|size| size as usize).collect()
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let count = tensor.numel();
    let mut bytes = vec![0; count * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, count)?;
    Ok(bytes)
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn of(tensor: &Tensor) -> Result<Stored> {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        Ok(Stored { dtype: dtype(tensor.kind())?, shape: shape(&tensor), bytes: bytes(&tensor)? })
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
