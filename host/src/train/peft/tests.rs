//! Adapters on disk, sound and otherwise.

use tch::Device;

use super::*;
use crate::model::torch_file;

fn entry(plugin: &str) -> StackEntry {
    toml::from_str(&format!("plugin = {plugin:?}\nr = 2\nlora_alpha = 6")).unwrap()
}

fn parameters() -> Vec<(String, Tensor)> {
    let site = "language_model.model.layers.0.self_attn.q_proj";
    let rand = |size: [i64; 2]| Tensor::rand(size, (Kind::Float, Device::Cpu));
    vec![
        (format!("lora.{site}.lora_A.weight"), rand([2, 6])),
        (format!("lora.{site}.lora_B.weight"), rand([5, 2])),
        (String::from("host.multi_modal_projector.linear_1.weight"), rand([4, 3])),
    ]
}

#[test]
fn an_adapter_survives_the_disk_under_pefts_names() {
    let parameters = parameters();
    let named = || parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let lora = entry("lora");
    let adapter = PeftAdapter::of_parameters(named(), &[&entry("replay"), &lora]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    adapter.write(folder.path()).unwrap();
    let written = weights::load_all(&folder.path().join(WEIGHTS)).unwrap();
    let names: Vec<&str> = written.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_B.weight",
            "base_model.model.model.multi_modal_projector.linear_1.weight",
        ]
    );
    let read = PeftAdapter::read(folder.path()).unwrap();
    assert_eq!((read.r, read.lora_alpha, read.tensors), (2, 6.0, adapter.tensors));
    let refused = PeftAdapter::of_parameters(named(), &[&entry("moelora")]).err().unwrap().to_string();
    assert!(refused.contains("moelora") && refused.contains("hint:"), "{refused}");
}

#[test]
fn a_pair_is_folded_with_its_scale() {
    let parameters = parameters();
    let lora = entry("lora");
    let named = || parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let adapter = PeftAdapter::of_parameters(named(), &[&lora]).unwrap();
    let changes = adapter.changes().unwrap();
    let [(weight, Change::LowRank { a, b, scale }), (projector, Change::Replace(_))] =
        changes.iter().collect::<Vec<_>>()[..]
    else {
        panic!("{changes:?}")
    };
    assert_eq!(weight, "language_model.model.layers.0.self_attn.q_proj.weight");
    assert_eq!(projector, "multi_modal_projector.linear_1.weight");
    let expected = 3.0 * parameters[1].1.matmul(&parameters[0].1);
    let difference: Tensor = *scale * b.matmul(a) - expected;
    assert!(difference.abs().max().double_value(&[]) < 1e-6);
    let half = PeftAdapter::of_parameters(named().take(1), &[&lora]).unwrap();
    let error = half.changes().unwrap_err().to_string();
    assert!(error.contains("lora_B.weight") && error.contains("hint:"), "{error}");
}

#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let site = "language_model.model.layers.0.self_attn.q_proj";
    let zeros = |size: [i64; 2]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
    let of = |tensors: &[(&str, &str, [i64; 2])]| PeftAdapter {
        r: 2,
        lora_alpha: 2.0,
        lora_dropout: 0.0,
        exceptions: BTreeMap::new(),
        tensors: tensors
            .iter()
            .map(|(site, part, size)| (((*site).to_owned(), (*part).to_owned()), zeros(*size)))
            .collect(),
    };
    let method = [
        (site, "lora_A.weight", [2, 6]),
        (site, "lora_B.weight", [5, 2]),
        ("multi_modal_projector.linear_1", "weight", [4, 3]),
    ];
    assert!(of(&method).expect(&of(&method[..2])).is_ok(), "a projector may stay as it is");
    let other = "language_model.model.layers.1.mlp.up_proj";
    let error = of(&method).expect(&of(&[(site, "lora_A.weight", [2, 7]), (other, "lora_A.weight", [2, 6])]));
    let error = error.unwrap_err().to_string();
    for said in [
        format!("{site}.lora_A.weight: shape [2, 7], expected [2, 6]"),
        format!("missing: {site}.lora_B.weight"),
        format!("not expected: {other}.lora_A.weight"),
        String::from("hint:"),
    ] {
        assert!(error.contains(&said), "{said}: {error}");
    }
}

#[test]
fn modules_of_older_transformers_are_the_same_sites() {
    let part = String::from("lora_A.weight");
    let site = String::from("language_model.model.layers.3.mlp.up_proj");
    for module in [
        "language_model.model.layers.3.mlp.up_proj",
        "model.language_model.layers.3.mlp.up_proj",
        "model.layers.3.mlp.up_proj",
    ] {
        assert_eq!(split(&format!("{module}.lora_A.weight")), (site.clone(), part.clone()));
    }
}

#[test]
fn what_is_no_plain_lora_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = PeftAdapter::read(folder.path()).err().unwrap().to_string();
    assert!(missing.contains("adapter_config.json") && missing.contains("hint:"), "{missing}");
    let config = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": true}"#;
    std::fs::write(folder.path().join(CONFIG), config).unwrap();
    let dora = format!("{:#}", PeftAdapter::read(folder.path()).err().unwrap());
    assert!(dora.contains("use_dora") && dora.contains("adapter_config.json"), "{dora}");
    let config = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8}"#;
    std::fs::write(folder.path().join(CONFIG), config).unwrap();
    let alone = PeftAdapter::read(folder.path()).err().unwrap().to_string();
    assert!(alone.contains("neither adapter_model.safetensors nor") && alone.contains("hint:"), "{alone}");
}

const MODULE: &str = "base_model.model.model.layers.0.mlp.up_proj";

/// A folder with an adapter of rank 2 and `lora_alpha` 4, its tensors by their names.
fn saved(config: &str, tensors: &[(&str, Tensor)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(CONFIG),
        format!(r#"{{"peft_type": "LORA", "lora_alpha": 4, {config}}}"#),
    )
    .unwrap();
    let named = tensors.iter().map(|(name, tensor)| (format!("{MODULE}.{name}"), tensor.shallow_clone()));
    weights::save(&folder.path().join(WEIGHTS), &named.collect(), None).unwrap();
    folder
}

fn full(size: [i64; 2], value: f64) -> Tensor {
    Tensor::full(size, value, (Kind::Float, Device::Cpu))
}

#[test]
fn ranks_are_held_against_the_tensors() {
    let pair = [(A, full([2, 6], 1.0)), (B, full([5, 2], 1.0))];
    assert!(PeftAdapter::read(saved(r#""r": 2"#, &pair).path()).is_ok());
    for config in [r#""r": 4"#, r#""r": 2, "rank_pattern": {"up_proj": 1}"#] {
        let error = PeftAdapter::read(saved(config, &pair).path()).err().unwrap().to_string();
        assert!(error.contains("lora_A.weight: shape [2, 6], and its rank is"), "{error}");
        assert!(error.contains("lora_B.weight: shape [5, 2]") && error.contains("hint:"), "{error}");
    }
    let pattern =
        saved(r#""r": 8, "rank_pattern": {"up_proj": 2}, "alpha_pattern": {"0.mlp.up_proj": 6}"#, &pair);
    let changes = PeftAdapter::read(pattern.path()).unwrap().changes().unwrap();
    let scales: Vec<f64> = changes
        .values()
        .filter_map(|change| match change {
            Change::LowRank { scale, .. } => Some(*scale),
            Change::Replace(_) => None,
        })
        .collect();
    assert_eq!(scales, [3.0]);
}

#[test]
fn numbers_that_are_none_are_refused() {
    for value in [f64::NAN, f64::INFINITY] {
        let folder = saved(r#""r": 2"#, &[(A, full([2, 6], 1.0)), (B, full([5, 2], value))]);
        let error = PeftAdapter::read(folder.path()).err().unwrap().to_string();
        assert!(error.contains("lora_B.weight") && error.contains("not finite"), "{error}");
    }
}

#[test]
fn llavas_own_folders_keep_their_projector() {
    let folder = saved(r#""r": 2"#, &[]);
    std::fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    let names = [A, B].map(|part| format!("{MODULE}.{part}"));
    let ones =
        |shape: [i32; 2]| (shape.to_vec(), vec![shape[1], 1], vec![1.0; (shape[0] * shape[1]) as usize]);
    let part = |name: &'static str, (shape, strides, values)| (name, shape, strides, values);
    let of = |name: &'static str, shape| part(name, ones(shape));
    let [a, b] = names.map(|name| -> &'static str { name.leak() });
    let archive = torch_file::tests::archive(&[of(a, [2, 6]), of(b, [5, 2])]);
    std::fs::write(folder.path().join(TORCH_WEIGHTS), archive).unwrap();
    let alone = PeftAdapter::read(folder.path()).unwrap().changes().unwrap();
    assert_eq!(alone.len(), 1);
    let projector = "base_model.model.model.mm_projector.2.weight";
    let beside = torch_file::tests::archive(&[of(projector, [4, 4])]);
    std::fs::write(folder.path().join(BESIDE), beside).unwrap();
    let both = PeftAdapter::read(folder.path()).unwrap().changes().unwrap();
    let names: Vec<&str> = both.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["language_model.model.layers.0.mlp.up_proj.weight", "multi_modal_projector.linear_2.weight"]
    );
    assert_eq!(
        PeftAdapter::sha256(folder.path()).unwrap().into_keys().collect::<Vec<_>>(),
        [CONFIG, TORCH_WEIGHTS, BESIDE]
    );
    let other = torch_file::tests::archive(&[of("base_model.model.lm_head.weight", [4, 4])]);
    std::fs::write(folder.path().join(BESIDE), other).unwrap();
    let error = PeftAdapter::read(folder.path()).err().unwrap().to_string();
    assert!(error.contains("lm_head") && error.contains("hint:"), "{error}");
}

#[test]
fn two_entries_of_lora_keep_their_ranks_and_scales() {
    let site = |module: &str| format!("lora.language_model.model.layers.0.{module}");
    let of = |r: i64, alpha: i64, module: &str| -> StackEntry {
        let text =
            format!("plugin = \"lora\"\nr = {r}\nlora_alpha = {alpha}\ntarget_modules = [\"{module}\"]");
        toml::from_str(&text).unwrap()
    };
    let (first, second) = (of(4, 8, "q_proj"), of(2, 64, "up_proj"));
    let parameters = [
        (format!("{}.{A}", site("mlp.up_proj")), full([2, 6], 1.0)),
        (format!("{}.{B}", site("mlp.up_proj")), full([5, 2], 1.0)),
        (format!("{}.{A}", site("self_attn.q_proj")), full([4, 6], 1.0)),
        (format!("{}.{B}", site("self_attn.q_proj")), full([5, 4], 1.0)),
    ];
    let named = || parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let adapter = PeftAdapter::of_parameters(named(), &[&first, &second]).unwrap();
    let scales = |adapter: &PeftAdapter| -> Vec<(i64, f64)> {
        ["mlp.up_proj", "self_attn.q_proj"]
            .map(|module| adapter.scale(&format!("language_model.model.layers.0.{module}")))
            .to_vec()
    };
    assert_eq!(scales(&adapter), [(2, 64.0), (4, 8.0)]);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("adapter");
    adapter.write(&folder).unwrap();
    let read = PeftAdapter::read(&folder).unwrap();
    assert_eq!((scales(&read), read.tensors), (scales(&adapter), adapter.tensors));
    // What another adapter has learnt is not left out in silence.
    let router = full([1, 1], 0.0);
    let more = [("moelora.language_model.model.layers.0.mlp.gate_proj.lora_A.weight", &router)];
    let other = PeftAdapter::of_parameters(named().chain(more), &[&first, &second, &entry("moelora")]);
    let error = other.err().unwrap().to_string();
    assert!(error.contains("moelora.language_model") && error.contains("hint:"), "{error}");
}

#[test]
fn an_adapter_is_not_written_over() {
    let parameters = parameters();
    let named = parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let adapter = PeftAdapter::of_parameters(named, &[&entry("lora")]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("adapter");
    adapter.write(&folder).unwrap();
    let before = PeftAdapter::sha256(&folder).unwrap();
    let error = adapter.write(&folder).err().unwrap().to_string();
    assert!(error.contains("there already") && error.contains("hint:"), "{error}");
    assert_eq!(PeftAdapter::sha256(&folder).unwrap(), before);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}
