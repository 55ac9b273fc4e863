//! Weights that PyTorch since 1.6 saves (`pytorch_model.bin`): a zip archive with the pickle of the table of tensors, and a file of
//! bytes for each storage. Nothing of it is executed, as with the older form.

use std::io::{Cursor, Read as _};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::pickle::{Element, Machine, TensorReference, Value};

const HINT: &str =
    "hint: the file is damaged or was not copied whole, or PyTorch's torch.save did not write it";
/// Bytes of a table of tensors; that of a model of 7 billion numbers has 0.1 MB.
const MOST_FOR_A_TABLE: u64 = 64 << 20;
const TABLE: &str = "data.pkl";

/// A file of named tensors, of which each is read when it is asked for.
pub struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// What the names of all members begin with.
    root: String,
    tensors: Vec<(Rc<str>, Rc<TensorReference>)>,
}

/// A tensor as it is stored: a view of a storage, strides and offset in elements.
pub struct Strided {
    pub element: Element,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub offset: usize,
    /// The whole storage, little-endian.
    pub bytes: Vec<u8>,
}

impl Archive<'_> {
    /// Reads the table of tensors.
    ///
    /// # Errors
    /// Another format; an operation or a class that a state dictionary has no use for.
    pub fn open(bytes: &[u8]) -> Result<Archive<'_>> {
        let mut zip = ZipArchive::new(Cursor::new(bytes))
            .with_context(|| format!("not an archive of PyTorch's\n{HINT}"))?;
        let names: Vec<String> = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        let table = names.iter().find(|name| name.rsplit('/').next() == Some(TABLE));
        let table = table.with_context(|| format!("the archive has no {TABLE}\n{HINT}"))?;
        let root = table.strip_suffix(TABLE).unwrap_or_default().to_owned();
        if names.contains(&format!("{root}byteorder")) {
            let order = member(&mut zip, &format!("{root}byteorder"), 16)?;
            ensure!(order == b"little", "the archive is not little-endian, which alone is supported");
        }
        let pickle = member(&mut zip, table, MOST_FOR_A_TABLE)?;
        let (value, _) = Machine::run(&pickle).with_context(|| format!("the table of tensors\n{HINT}"))?;
        let Value::Dictionary(entries) = value else {
            bail!("the archive holds no dictionary of tensors\n{HINT}")
        };
        let mut tensors = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            match (name, value) {
                (Value::Text(name), Value::Tensor(tensor)) => tensors.push((name, tensor)),
                _ => bail!("the dictionary holds something that is not a named tensor\n{HINT}"),
            }
        }
        Ok(Archive { zip, root, tensors })
    }

    /// Name and shape of every tensor, in the file's order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (&**name, &tensor.shape[..]))
    }

    /// The element type of every tensor, in the same order.
    pub fn elements(&self) -> impl Iterator<Item = Element> {
        self.tensors.iter().map(|(_, tensor)| tensor.storage.element)
    }

    /// The tensor at this place of [`Archive::shapes`].
    ///
    /// # Errors
    /// One outside its storage; a storage that is not in the archive, or of another size or checksum.
    pub fn read(&mut self, place: usize) -> Result<Strided> {
        let (name, tensor) = self.tensors.get(place).context("no such tensor")?;
        let named = || format!("tensor `{name}`\n{HINT}");
        tensor.check().with_context(named)?;
        let storage = &tensor.storage;
        let size = (storage.elements as u64).checked_mul(storage.element.size() as u64);
        let size = size.with_context(named)?;
        let path = format!("{}data/{}", self.root, storage.key);
        let bytes = member(&mut self.zip, &path, size).with_context(named)?;
        ensure!(
            bytes.len() as u64 == size,
            "tensor `{name}`: its storage has {} bytes, not {size}\n{HINT}",
            bytes.len()
        );
        let TensorReference { shape, strides, offset, .. } = &**tensor;
        Ok(Strided {
            element: storage.element,
            shape: shape.clone(),
            strides: strides.clone(),
            offset: *offset,
            bytes,
        })
    }
}

/// A member of the archive, whole, its checksum compared.
fn member(zip: &mut ZipArchive<Cursor<&[u8]>>, name: &str, most: u64) -> Result<Vec<u8>> {
    let mut member =
        zip.by_name(name).with_context(|| format!("the archive has no sound `{name}`\n{HINT}"))?;
    ensure!(member.size() <= most, "`{name}` in the archive has {} bytes, more than {most}", member.size());
    let mut bytes = Vec::new();
    // One more than there may be, for an archive that lies about it.
    let mut limited = member.by_ref().take(most + 1);
    limited.read_to_end(&mut bytes).with_context(|| format!("`{name}` in the archive\n{HINT}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// The table of one tensor `t` of 2 x 3 half-precision numbers, stored column by column.
    fn table(storage: &str, sizes: &[u8]) -> Vec<u8> {
        let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        [
            b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec(),
            text("t"),
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            format!("ctorch\n{storage}\n").into_bytes(),
            text("0"),
            text("cpu"),
            b"K\x06tQK\x00".to_vec(),
            sizes.to_vec(),
            b"K\x01K\x02\x86\x89ccollections\nOrderedDict\n)RtRu.".to_vec(),
        ]
        .concat()
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in members {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    const SIZES: &[u8] = b"K\x02K\x03\x86";

    #[test]
    fn a_tensor_comes_with_its_strides() {
        let (pickle, data) = (table("HalfStorage", SIZES), [7u8; 12]);
        let bytes = archive(&[("a/data.pkl", &pickle), ("a/byteorder", b"little"), ("a/data/0", &data)]);
        let mut archive = Archive::open(&bytes).unwrap();
        assert_eq!(archive.shapes().collect::<Vec<_>>(), [("t", &[2, 3][..])]);
        let tensor = archive.read(0).unwrap();
        assert_eq!((tensor.element, tensor.strides, tensor.offset), (Element::Half, vec![1, 2], 0));
        assert_eq!(tensor.bytes, data);
    }

    #[test]
    fn what_is_not_sound_is_refused() {
        let pickle = table("HalfStorage", SIZES);
        let whole = archive(&[("a/data.pkl", &pickle), ("a/data/0", &[7; 12])]);
        let mut changed = whole.clone();
        let at = changed.windows(12).position(|window| window == [7; 12]).unwrap();
        changed[at] = 8;
        let large = table("HalfStorage", b"K\x02K\x09\x86");
        let other = table("ComplexFloatStorage", SIZES);
        for (bytes, said) in [
            (whole[..whole.len() - 9].to_vec(), "not an archive"),
            (b"text".to_vec(), "not an archive"),
            (archive(&[("a/other", b"")]), "no data.pkl"),
            (archive(&[("data.pkl", &other)]), "ComplexFloatStorage"),
            (archive(&[("data.pkl", b"\x80\x02]."), ("byteorder", b"little")]), "no dictionary"),
            (archive(&[("data.pkl", &pickle), ("byteorder", b"big")]), "little-endian"),
            (archive(&[("data.pkl", &pickle)]), "no sound `data/0`"),
            (archive(&[("data.pkl", &pickle), ("data/0", &[7; 10])]), "10 bytes, not 12"),
            (archive(&[("data.pkl", &pickle), ("data/0", &[7; 14])]), "14 bytes, more than 12"),
            (archive(&[("data.pkl", &large), ("data/0", &[7; 12])]), "larger than its storage"),
            (changed, "hint:"),
        ] {
            let read = Archive::open(&bytes).and_then(|mut archive| archive.read(0));
            let message = format!("{:#}", read.err().expect("refused"));
            assert!(message.contains(said), "{said}: {message}");
        }
        assert!(Archive::open(&whole).unwrap().read(0).is_ok());
    }
}
