//! Files made by hand, sound and otherwise.

use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn numbers(values: &[i32]) -> Vec<u8> {
    let each = values.iter().flat_map(|value| [&b"J"[..], &value.to_le_bytes()].concat());
    [b"(".to_vec(), each.collect(), b"t".to_vec()].concat()
}

/// A tensor of a state dictionary: name, shape, strides, the elements of its storage.
pub(crate) type Part<'a> = (&'a str, Vec<i32>, Vec<i32>, Vec<f32>);

fn head() -> Vec<u8> {
    let magic = [&b"\x80\x02\x8a\x0a"[..], &MAGIC.to_le_bytes()[..10], b"."].concat();
    let system = [b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat();
    [magic, b"\x80\x02M\xe9\x03.".to_vec(), system].concat()
}

/// A file with these tensors.
pub(crate) fn file(parts: &[Part]) -> Vec<u8> {
    let mut table = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    let (mut order, mut data) = (b"\x80\x02](".to_vec(), Vec::new());
    for (index, (name, shape, strides, storage)) in parts.iter().enumerate() {
        let key = text(&index.to_string());
        table.extend(text(name));
        table.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        table.extend([&text("storage")[..], b"ctorch\nFloatStorage\n", &key, &text("cpu"), b"J"].concat());
        table.extend((storage.len() as i32).to_le_bytes());
        table.extend([&b"NtQK\x00"[..], &numbers(shape), &numbers(strides), b"\x89)tR"].concat());
        order.extend(key);
        data.extend((storage.len() as u64).to_le_bytes());
        data.extend(storage.iter().flat_map(|value| value.to_le_bytes()));
    }
    [head(), table, b"u.".to_vec(), order, b"e.".to_vec(), data].concat()
}

/// A file with these tensors as PyTorch writes them since 1.6.
pub(crate) fn archive(parts: &[Part]) -> Vec<u8> {
    let mut table = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    let mut members = Vec::new();
    for (index, (name, shape, strides, storage)) in parts.iter().enumerate() {
        let key = text(&index.to_string());
        table.extend(text(name));
        table.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        table.extend([&text("storage")[..], b"ctorch\nFloatStorage\n", &key, &text("cpu"), b"J"].concat());
        table.extend((storage.len() as i32).to_le_bytes());
        table.extend([&b"tQK\x00"[..], &numbers(shape), &numbers(strides), b"\x89)tR"].concat());
        let data = storage.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        members.push((format!("a/data/{index}"), data));
    }
    table.extend(b"u.");
    members.push((String::from("a/data.pkl"), table));
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in members {
        zip.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut zip, &bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Stored column by column, as the published convolutions are.
fn small() -> Vec<u8> {
    let storage = vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0];
    file(&[("a", vec![2, 3], vec![1, 2], storage), ("b", vec![], vec![], vec![7.0])])
}

#[test]
fn strides_are_followed() {
    let read = read(&small()).unwrap();
    assert_eq!(read["a"], Stored { shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] });
    assert_eq!(read["b"], Stored { shape: vec![], values: vec![7.0] });
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = small();
    for length in 0..bytes.len() {
        let message = format!("{:#}", read(&bytes[..length]).unwrap_err());
        assert!(message.contains("hint:"), "{length}: {message}");
    }
}

#[test]
fn nothing_is_executed_and_what_is_absurd_is_named() {
    let table = |pickle: &[u8]| [&head()[..], b"\x80\x02", pickle].concat();
    let one = |shape: &[i32], strides: &[i32]| file(&[("t", shape.to_vec(), strides.to_vec(), vec![0.0; 4])]);
    let call = [b"cos\nsystem\n(", &text("true")[..], b"tR."].concat();
    let deep = [&b")"[..], &b"\x85".repeat(100_000), b"."].concat();
    for (bytes, said) in [
        (b"PK\x03\x04".to_vec(), "0x50"),
        (b"\x80\x02K\x01.".to_vec(), "not a file of PyTorch's old form"),
        (table(&call), "`os.system`"),
        (table(b"cbuiltins\neval\n."), "`builtins.eval`"),
        (table(b"\x82\x01."), "0x82"),
        (table(b"}b."), "attributes are set"),
        (table(b"b."), "not there"),
        (table(b"K\x01K\x01R."), "called that cannot be"),
        (table(b"ctorch._utils\n_rebuild_tensor_v2\n)R."), "arguments"),
        (table(b"h\x05."), "not remembered"),
        (table(&deep), "values within values"),
        (table(b"\x8a\xff"), "ends too early"),
        (table(b"X\xff\xff\xff\xff"), "ends too early"),
        (table(b"]."), "no dictionary"),
        (table(b"}K\x01K\x02s."), "not a named tensor"),
        (one(&[5], &[1]), "larger than its storage"),
        (one(&[2], &[4]), "beyond its storage"),
        (one(&[-1], &[1]), "below zero"),
        (one(&[2, 2], &[1]), "strides"),
        (one(&[i32::MAX; 4], &[0; 4]), "larger than its storage"),
    ] {
        let message = format!("{:#}", read(&bytes).unwrap_err());
        assert!(message.contains(said), "{said}: {message}");
    }
}

proptest! {
    #[test]
    fn no_change_of_bytes_stops_the_program(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = small();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = read(&bytes);
    }
}
