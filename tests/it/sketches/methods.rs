//! Methods that change the model: the formulas of their papers, an expert, a stage or a row at a time.

use coin_host::model::{Part as ModelPart, Prefix, Site};
use tch::{Kind, Tensor};

use super::formula::{Buffer, Logits, Model, Part, Rows, Training, part};
use super::native::compare;
use super::strategies::Ewc;

/// The stack of a method, and the same with EWC behind it.
fn alone_and_with_ewc(stack: &str, model: &dyn Model, training: impl Fn() -> Vec<Box<dyn Training>>) {
    compare(stack, &[model], training());
    let mut with_ewc = training();
    with_ewc.push(Box::new(Ewc::default()));
    compare(&format!("{stack}, {}", Ewc::STACK), &[model], with_ewc);
}

/// `scaling B A x`.
fn low_rank(input: &Tensor, a: &Tensor, b: &Tensor, scaling: f64) -> Tensor {
    input.matmul(&a.tr()).matmul(&b.tr()) * scaling
}

fn is_target(site: &Site) -> bool {
    site.part == ModelPart::Language
}

pub(super) struct Lora;

impl Lora {
    pub(super) const STACK: &str = "{ plugin = \"lora\", r = 4, lora_alpha = 8.0 }";
}

impl Model for Lora {
    fn site(&self, rows: &Rows, site: &Site, input: &Tensor, output: Tensor) -> Tensor {
        if !is_target(site) {
            return output;
        }
        let [a, b] = ["A", "B"].map(|kind| rows.value(&format!("lora.{}.lora_{kind}.weight", site.path)));
        output + low_rank(input, a, b, 8.0 / 4.0)
    }
}

#[test]
fn lora() {
    alone_and_with_ewc(Lora::STACK, &Lora, Vec::new);
}

struct MoeLora;

impl Model for MoeLora {
    fn site(&self, rows: &Rows, site: &Site, input: &Tensor, output: Tensor) -> Tensor {
        if !is_target(site) {
            return output;
        }
        let [a, b, router] =
            ["A", "B", "router"].map(|kind| rows.value(&format!("moelora.{}.lora_{kind}.weight", site.path)));
        let gate = input.matmul(&router.tr()).softmax(-1, Kind::Float);
        (0..2).fold(output, |sum, expert| {
            let update = low_rank(input, &a.narrow(0, 2 * expert, 2), &b.narrow(1, 2 * expert, 2), 8.0 / 4.0);
            sum + update * gate.narrow(-1, expert, 1)
        })
    }
}

#[test]
fn moelora() {
    let stack = "{ plugin = \"moelora\", r = 4, lora_alpha = 8.0, expert_num = 2 }";
    alone_and_with_ewc(stack, &MoeLora, Vec::new);
}

struct SmoLora;

impl SmoLora {
    /// The update of one group for one row `[T, in]`, by its one expert.
    fn group(rows: &Rows, site: &Site, group: &str, features: &Tensor, input: &Tensor) -> (Tensor, Tensor) {
        let value = |kind: &str| rows.value(&format!("smolora.{}.{group}.{kind}", site.path));
        let gate = value("router").mv(features).softmax(-1, Kind::Float);
        let expert = gate.argmax(-1, false).int64_value(&[]);
        let [a, b] = [value("A").narrow(0, 2 * expert, 2), value("B").narrow(1, 2 * expert, 2)];
        let update = low_rank(input, &a, &b, 12.0 / 6.0) * gate.get(expert);
        let weight = update.matmul(&value("fusion").tr());
        (update, weight)
    }
}

impl Model for SmoLora {
    fn site(&self, rows: &Rows, site: &Site, input: &Tensor, output: Tensor) -> Tensor {
        if !is_target(site) {
            return output;
        }
        let row = |row: i64| {
            let (visual, v) = SmoLora::group(rows, site, "visual", &rows.image.get(row), &input.get(row));
            let (instruction, i) =
                SmoLora::group(rows, site, "instruction", &rows.text.get(row), &input.get(row));
            let (v, i) = (v.exp(), i.exp());
            (visual * &v + instruction * &i) / (v + i)
        };
        output + Tensor::stack(&(0..input.size()[0]).map(row).collect::<Vec<_>>(), 0)
    }
}

#[test]
fn smolora() {
    let stack = "{ plugin = \"smolora\", r = 6, lora_alpha = 12.0, expert_num = 3 }";
    alone_and_with_ewc(stack, &SmoLora, Vec::new);
}

/// With its training, for which it is also the formula.
#[derive(Clone, Copy)]
struct OLora;

impl Model for OLora {
    fn site(&self, rows: &Rows, site: &Site, input: &Tensor, output: Tensor) -> Tensor {
        if !is_target(site) {
            return output;
        }
        (0..=rows.stage).fold(output, |sum, stage| {
            let [a, b] = ["A", "B"]
                .map(|kind| rows.value(&format!("o-lora.{}.lora_{kind}.{stage}.weight", site.path)));
            sum + low_rank(input, a, b, 8.0 / 4.0)
        })
    }
}

impl Training for OLora {
    fn parts(&self, rows: &Rows, _logits: &Tensor, _buffer: &Buffer, _teacher: &Logits) -> Vec<Part> {
        let mut sum = Tensor::zeros([0; 0], (Kind::Float, rows.text.device()));
        for site in rows.world.backbone.sites().iter().filter(|site| is_target(site)) {
            let a = |stage: i64| rows.value(&format!("o-lora.{}.lora_A.{stage}.weight", site.path));
            for earlier in 0..rows.stage {
                // The inner product of each of its directions with each of the new ones.
                for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                    sum += a(earlier).get(i).dot(&a(rows.stage).get(j)).square();
                }
            }
        }
        if rows.stage == 0 { Vec::new() } else { vec![part("orthogonality", sum * 0.25)] }
    }
}

#[test]
fn o_lora() {
    let stack = "{ plugin = \"o-lora\", r = 4, lora_alpha = 8.0, lambda = 0.25 }";
    alone_and_with_ewc(stack, &OLora, || vec![Box::new(OLora)]);
}

fn cosine(a: &Tensor, b: &Tensor) -> Tensor {
    a.dot(b) / (a.dot(a).sqrt() * b.dot(b).sqrt())
}

#[derive(Clone, Copy)]
struct L2p;

impl L2p {
    /// For each row, the prompts it is given and the cosines of their keys, the nearest first.
    fn chosen(rows: &Rows) -> Vec<Vec<(i64, Tensor)>> {
        let keys = rows.value("l2p.keys");
        let row = |row: i64| {
            let unit = |features: Tensor| &features / features.norm().clamp_min(1e-12);
            let query = Tensor::cat(&[unit(rows.image.get(row)), unit(rows.text.get(row))], 0);
            let mut near: Vec<_> = (0..4).map(|key| (key, cosine(&query, &keys.get(key)))).collect();
            near.sort_by(|(_, a), (_, b)| b.double_value(&[]).total_cmp(&a.double_value(&[])));
            near.truncate(2);
            near
        };
        (0..rows.text.size()[0]).map(row).collect()
    }
}

impl Model for L2p {
    fn prefix(&self, rows: &Rows) -> Option<Prefix> {
        let prompts = rows.value("l2p.prompts");
        let row = |row: Vec<(i64, Tensor)>| {
            Tensor::cat(&row.iter().map(|(prompt, _)| prompts.get(*prompt)).collect::<Vec<_>>(), 0)
        };
        let tokens: Vec<Tensor> = L2p::chosen(rows).into_iter().map(row).collect();
        Some(Prefix { tokens: Tensor::stack(&tokens, 0), after_image: false })
    }
}

impl Training for L2p {
    fn parts(&self, rows: &Rows, _logits: &Tensor, _buffer: &Buffer, _teacher: &Logits) -> Vec<Part> {
        let chosen = L2p::chosen(rows);
        let count = chosen.len() as f64;
        let distances: Vec<Tensor> = chosen.into_iter().flatten().map(|(_, cosine)| 1.0 - cosine).collect();
        vec![part("keys", Tensor::stack(&distances, 0).sum(Kind::Float) / count * 0.5)]
    }
}

#[test]
fn l2p() {
    let stack = "{ plugin = \"l2p\", pool = 4, length = 2, selection = 2 }";
    alone_and_with_ewc(stack, &L2p, || vec![Box::new(L2p)]);
}

#[derive(Clone, Copy)]
pub(super) struct EProj;

impl EProj {
    pub(super) const STACK: &str = "{ plugin = \"eproj\", key_steps = 1 }";
}

impl Model for EProj {
    fn site(&self, rows: &Rows, site: &Site, input: &Tensor, output: Tensor) -> Tensor {
        if site.part != ModelPart::Projector {
            return output;
        }
        let picture = |(place, row): (usize, &i64)| {
            let stage = rows.stages[*row as usize];
            let [delta, bias] =
                ["delta", "bias"].map(|kind| rows.value(&format!("eproj.{}.{kind}.{stage}", site.path)));
            output.get(place as i64) + input.get(place as i64).matmul(&delta.tr()) + bias
        };
        Tensor::stack(&rows.pictures.iter().enumerate().map(picture).collect::<Vec<_>>(), 0)
    }
}

impl Training for EProj {
    fn first_phase(&self) -> Option<(usize, &'static str)> {
        Some((1, "_key."))
    }

    fn parts(&self, rows: &Rows, _logits: &Tensor, _buffer: &Buffer, _teacher: &Logits) -> Vec<Part> {
        let mut distances = Vec::new();
        for site in rows.world.backbone.sites().iter().filter(|site| site.part == ModelPart::Projector) {
            for row in &rows.pictures {
                let key = |kind: &str| {
                    rows.value(&format!("eproj.{}.{kind}_key.{}", site.path, rows.stages[*row as usize]))
                };
                let near =
                    [cosine(&rows.image.get(*row), key("image")), cosine(&rows.text.get(*row), key("text"))];
                distances.extend(near.map(|cosine| 1.0 - cosine));
            }
        }
        if distances.is_empty() {
            return Vec::new();
        }
        let mean = Tensor::stack(&distances, 0).sum(Kind::Float) / rows.pictures.len() as f64;
        vec![part("keys", mean * 0.1)]
    }
}

#[test]
fn eproj() {
    alone_and_with_ewc(EProj::STACK, &EProj, || vec![Box::new(EProj)]);
}
