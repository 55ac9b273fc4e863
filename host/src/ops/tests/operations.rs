//! Every row of the operation table, against values worked out by hand.

use std::collections::BTreeSet;
use std::f32::consts::{E, LN_2};

use coin_plugin_api::{DType, Result, Tensor};

use super::attach;

/// Operation, its results, and the shape and values that each of them must have.
type Case = (&'static str, Result<Vec<Tensor>>, Vec<(&'static [i64], Vec<f32>)>);

fn floats(sizes: &[i64], values: &[f32]) -> Tensor {
    Tensor::from_floats(values, sizes).unwrap()
}

fn ints(sizes: &[i64], values: &[i64]) -> Tensor {
    Tensor::from_ints(values, sizes).unwrap()
}

fn one(name: &'static str, result: Result<Tensor>, sizes: &'static [i64], values: &[f32]) -> Case {
    (name, result.map(|tensor| vec![tensor]), vec![(sizes, values.to_vec())])
}

fn vector(name: &'static str, result: Result<Tensor>, values: &[f32]) -> Case {
    let sizes: &'static [i64] = match values.len() {
        1 => &[1],
        2 => &[2],
        3 => &[3],
        4 => &[4],
        _ => &[6],
    };
    one(name, result, sizes, values)
}

fn math() -> Vec<Case> {
    let (a, b) = (floats(&[2], &[1.0, 4.0]), floats(&[2], &[2.0, 0.5]));
    let signed = floats(&[3], &[-1.5, 0.0, 2.5]);
    let mask = signed.gt_scalar(0.0).unwrap();
    let third = floats(&[2], &[2.0, 4.0]);
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    vec![
        vector("add", a.add(&b), &[3.0, 4.5]),
        vector("sub", a.sub(&b), &[-1.0, 3.5]),
        vector("mul", a.mul(&b), &[2.0, 2.0]),
        vector("div", a.div(&b), &[0.5, 8.0]),
        vector("add_scalar", a.add_scalar(0.5), &[1.5, 4.5]),
        vector("mul_scalar", a.mul_scalar(3.0), &[3.0, 12.0]),
        vector("add_scaled", a.add_scaled(&b, -2.0), &[-3.0, 3.0]),
        vector("pow", a.pow(&b), &[1.0, 2.0]),
        vector("pow_scalar", a.pow_scalar(2.0), &[1.0, 16.0]),
        vector("neg", Tensor::neg(&a), &[-1.0, -4.0]),
        vector("abs", signed.abs(), &[1.5, 0.0, 2.5]),
        vector("exp", b.exp(), &[E * E, E.sqrt()]),
        vector("log", a.log(), &[0.0, 2.0 * LN_2]),
        vector("log1p", a.log1p(), &[LN_2, 5f32.ln()]),
        vector("sqrt", a.sqrt(), &[1.0, 2.0]),
        vector("rsqrt", a.rsqrt(), &[1.0, 0.5]),
        vector("square", a.square(), &[1.0, 16.0]),
        vector("reciprocal", a.reciprocal(), &[1.0, 0.25]),
        vector("sin", b.sin(), &[2f32.sin(), 0.5f32.sin()]),
        vector("cos", b.cos(), &[2f32.cos(), 0.5f32.cos()]),
        vector("tanh", b.tanh(), &[2f32.tanh(), 0.5f32.tanh()]),
        vector("sigmoid", signed.sigmoid(), &[sigmoid(-1.5), 0.5, sigmoid(2.5)]),
        vector("relu", signed.relu(), &[0.0, 0.0, 2.5]),
        // x Phi(x) with Phi(1) = 0.8413447, Phi(4) = 0.9999683.
        vector("gelu", a.gelu(), &[0.841_344_7, 3.999_873_3]),
        vector("silu", signed.silu(), &[-1.5 * sigmoid(-1.5), 0.0, 2.5 * sigmoid(2.5)]),
        vector("softplus", signed.softplus(), &[(-1.5f32).exp().ln_1p(), LN_2, 2.5f32.exp().ln_1p()]),
        vector("erf", a.erf(), &[0.842_700_8, 1.0]),
        vector("sign", signed.sign(), &[-1.0, 0.0, 1.0]),
        vector("floor", signed.floor(), &[-2.0, 0.0, 2.0]),
        vector("round", signed.round(), &[-2.0, 0.0, 2.0]),
        vector("clamp", signed.clamp(-1.0, 2.0), &[-1.0, 0.0, 2.0]),
        vector("clamp_min", signed.clamp_min(-1.0), &[-1.0, 0.0, 2.5]),
        vector("clamp_max", signed.clamp_max(2.0), &[-1.5, 0.0, 2.0]),
        vector("maximum", a.maximum(&b), &[2.0, 4.0]),
        vector("minimum", a.minimum(&b), &[1.0, 0.5]),
        vector("addcmul", a.addcmul(&b, &third, 0.5), &[3.0, 5.0]),
        vector("addcdiv", a.addcdiv(&b, &third, 2.0), &[3.0, 4.25]),
        vector("lerp", a.lerp(&b, 0.25), &[1.25, 3.125]),
        vector("select_where", mask.select_where(&signed, &signed.neg().unwrap()), &[1.5, 0.0, 2.5]),
        vector("masked_fill", signed.masked_fill(&mask, 9.0), &[-1.5, 0.0, 9.0]),
        vector("is_finite", signed.log().unwrap().is_finite(), &[0.0, 0.0, 1.0]),
    ]
}

fn compare() -> Vec<Case> {
    let (a, b) = (floats(&[3], &[1.0, 2.0, 3.0]), floats(&[3], &[3.0, 2.0, 1.0]));
    let (yes, no) = (a.ge(&b).unwrap(), a.le(&b).unwrap());
    vec![
        vector("eq", a.eq(&b), &[0.0, 1.0, 0.0]),
        vector("ne", a.ne(&b), &[1.0, 0.0, 1.0]),
        vector("lt", a.lt(&b), &[1.0, 0.0, 0.0]),
        vector("le", a.le(&b), &[1.0, 1.0, 0.0]),
        vector("gt", a.gt(&b), &[0.0, 0.0, 1.0]),
        vector("ge", a.ge(&b), &[0.0, 1.0, 1.0]),
        vector("eq_scalar", a.eq_scalar(2.0), &[0.0, 1.0, 0.0]),
        vector("lt_scalar", a.lt_scalar(2.0), &[1.0, 0.0, 0.0]),
        vector("gt_scalar", a.gt_scalar(2.0), &[0.0, 0.0, 1.0]),
        vector("logical_and", yes.logical_and(&no), &[0.0, 1.0, 0.0]),
        vector("logical_or", yes.logical_or(&no), &[1.0, 1.0, 1.0]),
        vector("logical_not", yes.logical_not(), &[1.0, 0.0, 0.0]),
        one("any", yes.any(), &[], &[1.0]),
        one("all", yes.all(), &[], &[0.0]),
    ]
}

fn linear() -> Vec<Case> {
    let a = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let b = floats(&[2, 2], &[0.0, 1.0, 1.0, 0.0]);
    let (v, w) = (floats(&[2], &[1.0, 2.0]), floats(&[2], &[3.0, 4.0]));
    let batch = a.unsqueeze(0).unwrap();
    let symmetric = floats(&[2, 2], &[2.0, 1.0, 1.0, 2.0]);
    let tall = floats(&[3, 2], &[3.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
    let half = 0.5f32.sqrt();
    // Signs of singular and eigenvectors are free: products are what is known.
    let svd = tall.svd().and_then(|(u, s, v)| {
        let shapes = (u.shape()?, v.shape()?);
        assert_eq!(shapes, (vec![3, 2], vec![2, 2]), "the thin form");
        Ok(vec![u.mul(&s)?.matmul(&v)?, s])
    });
    let qr = tall.qr().and_then(|(q, r)| Ok(vec![q.matmul(&r)?, q.abs()?]));
    let eigh = symmetric.eigh().and_then(|(values, vectors)| Ok(vec![values, vectors.abs()?]));
    vec![
        one("matmul", a.matmul(&b), &[2, 2], &[2.0, 1.0, 4.0, 3.0]),
        one("bmm", batch.bmm(&batch), &[1, 2, 2], &[7.0, 10.0, 15.0, 22.0]),
        one("linear", v.linear(&a), &[2], &[5.0, 11.0]),
        one("linear_bias", v.linear_bias(&a, &w), &[2], &[8.0, 15.0]),
        one("addmm", a.addmm(&a, &b, 2.0, -1.0), &[2, 2], &[0.0, 3.0, 2.0, 5.0]),
        one("outer", v.outer(&w), &[2, 2], &[3.0, 4.0, 6.0, 8.0]),
        one("dot", v.dot(&w), &[], &[11.0]),
        ("svd", svd, vec![(&[3, 2], vec![3.0, 0.0, 0.0, 4.0, 0.0, 0.0]), (&[2], vec![4.0, 3.0])]),
        (
            "qr",
            qr,
            vec![
                (&[3, 2], vec![3.0, 0.0, 0.0, 4.0, 0.0, 0.0]),
                (&[3, 2], vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
            ],
        ),
        ("eigh", eigh, vec![(&[2], vec![1.0, 3.0]), (&[2, 2], vec![half; 4])]),
        one("cholesky", symmetric.cholesky(), &[2, 2], &[2f32.sqrt(), 0.0, half, 1.5f32.sqrt()]),
        one("inverse", a.inverse(), &[2, 2], &[-2.0, 1.0, 1.5, -0.5]),
        one("pinverse", tall.pinverse(), &[2, 3], &[1.0 / 3.0, 0.0, 0.0, 0.0, 0.25, 0.0]),
        one("solve", a.solve(&v), &[2], &[0.0, 0.5]),
    ]
}

fn reduce() -> Vec<Case> {
    let a = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let everything = (1f32.exp() + 2f32.exp() + 3f32.exp() + 4f32.exp()).ln();
    vec![
        one("sum_all", a.sum_all(), &[], &[10.0]),
        one("sum", a.sum(&[0], true), &[1, 2], &[4.0, 6.0]),
        one("sum", a.sum(&[], false), &[], &[10.0]),
        one("mean_all", a.mean_all(), &[], &[2.5]),
        one("mean", a.mean(&[-1], false), &[2], &[1.5, 3.5]),
        one("mean", a.mean(&[], true), &[1, 1], &[2.5]),
        one("variance", a.variance(&[0], true, false), &[2], &[2.0, 2.0]),
        one("variance", a.variance(&[], false, false), &[], &[1.25]),
        one("amax", a.amax(&[0], false), &[2], &[3.0, 4.0]),
        one("amax", a.amax(&[], false), &[], &[4.0]),
        one("amin", a.amin(&[1], true), &[2, 1], &[1.0, 3.0]),
        one("amin", a.amin(&[], false), &[], &[1.0]),
        one("argmax", a.argmax(1, false), &[2], &[1.0, 1.0]),
        one("argmin", a.argmin(0, true), &[1, 2], &[0.0, 0.0]),
        one("cumsum", a.cumsum(1), &[2, 2], &[1.0, 3.0, 3.0, 7.0]),
        one("logsumexp", a.logsumexp(&[], false), &[], &[everything]),
        one("logsumexp", a.logsumexp(&[1], false), &[2], &[1.0 + (1.0 + E).ln(), 3.0 + (1.0 + E).ln()]),
        one("norm", a.norm(2.0, &[1], false), &[2], &[5f32.sqrt(), 5.0]),
        one("norm", a.norm(1.0, &[], false), &[], &[10.0]),
        one("norm", a.norm(f64::INFINITY, &[], false), &[], &[4.0]),
        one("product_all", a.product_all(), &[], &[24.0]),
    ]
}

fn shape() -> Vec<Case> {
    let a = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let v = floats(&[2], &[1.0, 2.0]);
    let column = v.unsqueeze(1).unwrap();
    let transposed = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    let square = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let copied = v.copy();
    let like = a.to_like(&ints(&[1], &[0])).and_then(|tensor| {
        assert_eq!(tensor.dtype()?, DType::INT64);
        Ok(tensor)
    });
    let narrowed = a.to_dtype(DType::HALF).and_then(|tensor| {
        assert_eq!(tensor.dtype()?, DType::HALF);
        Ok(tensor)
    });
    vec![
        one("reshape", a.reshape(&[3, -1]), &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        one("transpose", a.transpose(0, 1), &[3, 2], &transposed),
        one("permute", a.permute(&[1, 0]), &[3, 2], &transposed),
        one("squeeze", column.squeeze(1), &[2], &[1.0, 2.0]),
        one("unsqueeze", v.unsqueeze(0), &[1, 2], &[1.0, 2.0]),
        one("expand", column.expand(&[-1, 2]), &[2, 2], &[1.0, 1.0, 2.0, 2.0]),
        one("repeat", v.repeat(&[2, 1]), &[2, 2], &[1.0, 2.0, 1.0, 2.0]),
        one("repeat_interleave", v.repeat_interleave(2, 0), &[4], &[1.0, 1.0, 2.0, 2.0]),
        one("narrow", a.narrow(1, 1, 2), &[2, 2], &[2.0, 3.0, 5.0, 6.0]),
        one("select", a.select(0, 1), &[3], &[4.0, 5.0, 6.0]),
        ("chunk", a.chunk(2, 1), vec![(&[2, 2], vec![1.0, 2.0, 4.0, 5.0]), (&[2, 1], vec![3.0, 6.0])]),
        ("split", a.split(1, 0), vec![(&[1, 3], vec![1.0, 2.0, 3.0]), (&[1, 3], vec![4.0, 5.0, 6.0])]),
        one("flip", a.flip(&[0, 1]), &[2, 3], &[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
        one("pad", v.pad(&[1, 0], 7.0), &[3], &[7.0, 1.0, 2.0]),
        one("flatten", a.flatten(0, -1), &[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        one("diag", v.diag(0), &[2, 2], &[1.0, 0.0, 0.0, 2.0]),
        one("diag", square.diag(1), &[1], &[2.0]),
        one("tril", square.tril(0), &[2, 2], &[1.0, 0.0, 3.0, 4.0]),
        one("triu", square.triu(1), &[2, 2], &[0.0, 2.0, 0.0, 0.0]),
        one("zeros_like", v.zeros_like(), &[2], &[0.0, 0.0]),
        one("ones_like", v.ones_like(), &[2], &[1.0, 1.0]),
        one("contiguous", a.transpose(0, 1).unwrap().contiguous(), &[3, 2], &transposed),
        one("copy", copied, &[2], &[1.0, 2.0]),
        one("to_dtype", narrowed, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        one("to_like", like, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        one("detach", v.detach(), &[2], &[1.0, 2.0]),
    ]
}

fn index() -> Vec<Case> {
    let a = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let v = floats(&[4], &[2.0, 1.0, 2.0, 3.0]);
    let (swap, picks) = (ints(&[2, 1], &[1, 0]), ints(&[2], &[1, 1]));
    let (source, rows) = (floats(&[2, 1], &[9.0, 8.0]), floats(&[2, 2], &[1.0; 4]));
    let pair = |result: Result<(Tensor, Tensor)>| result.map(|(first, second)| vec![first, second]);
    let one_hot = ints(&[2], &[2, 0]).one_hot(3).and_then(|tensor| {
        assert_eq!(tensor.dtype()?, DType::INT64);
        Ok(tensor)
    });
    vec![
        one("gather", a.gather(1, &swap), &[2, 1], &[2.0, 3.0]),
        one("scatter", a.scatter(1, &swap, &source), &[2, 2], &[1.0, 9.0, 8.0, 4.0]),
        one("scatter_add", a.scatter_add(1, &swap, &source), &[2, 2], &[1.0, 11.0, 11.0, 4.0]),
        one("index_select", a.index_select(0, &picks), &[2, 2], &[3.0, 4.0, 3.0, 4.0]),
        one("index_add", a.index_add(0, &picks, &rows), &[2, 2], &[1.0, 2.0, 5.0, 6.0]),
        one("masked_select", v.masked_select(&v.gt_scalar(1.5).unwrap()), &[3], &[2.0, 2.0, 3.0]),
        ("topk", pair(v.topk(1, 0, true)), vec![(&[1], vec![3.0]), (&[1], vec![3.0])]),
        ("topk", pair(a.topk(1, -1, false)), vec![(&[2, 1], vec![1.0, 3.0]), (&[2, 1], vec![0.0, 0.0])]),
        // Equal values stay in order, whichever way.
        (
            "sort",
            pair(v.sort(0, false)),
            vec![(&[4], vec![1.0, 2.0, 2.0, 3.0]), (&[4], vec![1.0, 0.0, 2.0, 3.0])],
        ),
        one("argsort", v.argsort(0, true), &[4], &[3.0, 0.0, 2.0, 1.0]),
        one("nonzero", floats(&[3], &[0.0, 5.0, 6.0]).nonzero(), &[2, 1], &[1.0, 2.0]),
        one("one_hot", one_hot, &[2, 3], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    ]
}

fn nn() -> Vec<Case> {
    let odds = |values: &[f32]| floats(&[1, 2], &values.iter().map(|value| value.ln()).collect::<Vec<_>>());
    let logits = odds(&[1.0, 3.0]);
    let rows = Tensor::cat(&[&logits, &logits, &logits], 0).unwrap();
    let classes = ints(&[3], &[1, 0, -1]);
    let (p, q) = (odds(&[0.5, 0.5]), odds(&[0.25, 0.75]));
    let both = |row: &Tensor| Tensor::cat(&[row, row], 0).unwrap();
    let divergence = 0.5 * 2f32.ln() + 0.5 * (2.0f32 / 3.0).ln();
    let (a, b) = (floats(&[2], &[1.0, 3.0]), floats(&[2], &[2.0, 5.0]));
    let targets = floats(&[2], &[1.0, 0.25]);
    let entropy = (2f32.ln() + (2f32.ln() - 0.0)) / 2.0;
    let rms = (5f32 + 1e-5).sqrt();
    vec![
        one("softmax", logits.softmax(-1), &[1, 2], &[0.25, 0.75]),
        one("log_softmax", logits.log_softmax(-1), &[1, 2], &[0.25f32.ln(), 0.75f32.ln()]),
        one("cross_entropy", rows.cross_entropy(&classes, -1), &[], &[-(0.75f32.ln() + 0.25f32.ln()) / 2.0]),
        one(
            "nll_loss",
            both(&q).nll_loss(&ints(&[2], &[1, 0])),
            &[],
            &[-(0.75f32.ln() + 0.25f32.ln()) / 2.0],
        ),
        // KL(p || q) of each row, mean over rows.
        one("kl_divergence", both(&q).kl_divergence(&both(&p)), &[], &[divergence]),
        one("mse_loss", a.mse_loss(&b), &[], &[2.5]),
        one("binary_cross_entropy", a.zeros_like().unwrap().binary_cross_entropy(&targets), &[], &[entropy]),
        one("cosine_similarity", a.cosine_similarity(&b, 0), &[], &[17.0 / (10f32.sqrt() * 29f32.sqrt())]),
        one("layer_norm", a.layer_norm(1e-12), &[2], &[-1.0, 1.0]),
        one("rms_norm", a.rms_norm(1e-5), &[2], &[1.0 / rms, 3.0 / rms]),
    ]
}

fn create() -> Vec<Case> {
    let (a, b) = (floats(&[2], &[1.0, 2.0]), floats(&[2], &[3.0, 4.0]));
    let counted = Tensor::arange(1.0, 4.0, 1.0, DType::INT64).and_then(|tensor| {
        assert_eq!(tensor.dtype()?, DType::INT64);
        Ok(tensor)
    });
    vec![
        one("zeros", Tensor::zeros(&[2], DType::FLOAT), &[2], &[0.0, 0.0]),
        one("ones", Tensor::ones(&[2], DType::BOOL), &[2], &[1.0, 1.0]),
        one("full", Tensor::full(&[2, 1], 7.0, DType::DOUBLE), &[2, 1], &[7.0, 7.0]),
        one("eye", Tensor::eye(2, DType::BFLOAT16), &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
        one("arange", counted, &[3], &[1.0, 2.0, 3.0]),
        one("cat", Tensor::cat(&[&a, &b], 0), &[4], &[1.0, 2.0, 3.0, 4.0]),
        one("stack", Tensor::stack(&[&a, &b], 1), &[2, 2], &[1.0, 3.0, 2.0, 4.0]),
    ]
}

#[test]
fn every_operation_gives_the_values_worked_out_by_hand() {
    attach();
    let groups = [math(), compare(), linear(), reduce(), shape(), index(), nn(), create()];
    let mut tested = BTreeSet::new();
    for (name, results, expected) in groups.into_iter().flatten() {
        let results = results.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(results.len(), expected.len(), "{name}");
        for (result, (sizes, values)) in results.iter().zip(expected) {
            assert_eq!(result.shape().unwrap(), sizes, "{name}");
            let found = result.to_floats().unwrap();
            let close = found.iter().zip(&values).all(|(a, b)| (a - b).abs() <= 2e-6 * (1.0 + b.abs()));
            assert!(close && found.len() == values.len(), "{name}: {found:?} is not {values:?}");
        }
        tested.insert(name);
    }
    let known: BTreeSet<&str> = coin_plugin_api::operations().map(|operation| operation.name).collect();
    let untested: Vec<_> = known.difference(&tested).collect();
    assert!(untested.is_empty(), "operations without a case here: {untested:?}");
    assert!(tested.is_subset(&known));
}

#[test]
fn values_come_back_row_major_in_the_type_asked_for() {
    attach();
    let a = floats(&[2, 2], &[1.5, 2.0, 3.0, 4.0]).transpose(0, 1).unwrap();
    assert_eq!(a.to_floats().unwrap(), [1.5, 3.0, 2.0, 4.0]);
    assert_eq!(a.to_ints().unwrap(), [1, 3, 2, 4]);
    assert_eq!(ints(&[2], &[1 << 40, -3]).to_ints().unwrap(), [1 << 40, -3]);
    assert_eq!(a.gt_scalar(2.5).unwrap().to_ints().unwrap(), [0, 1, 0, 1]);
    assert_eq!(floats(&[0, 3], &[]).to_floats().unwrap(), [0f32; 0]);
    assert_eq!(
        Tensor::einsum("ij,kj->ik", &[&a, &a]).unwrap().to_floats().unwrap(),
        [11.25, 15.0, 15.0, 20.0]
    );
    assert_eq!(floats(&[1, 1], &[2.5]).to_f64().unwrap(), 2.5);
    assert_eq!(format!("{a:?}"), "tensor [2, 2] float");
    let count = ints(&[1], &[3]);
    assert_eq!(count.mul_scalar(2.0).unwrap().dtype().unwrap(), DType::FLOAT);
    assert_eq!(count.add(&count).unwrap().dtype().unwrap(), DType::INT64);
}

#[test]
fn an_error_names_the_operation_its_arguments_and_one_line_of_the_reason() {
    attach();
    let a = floats(&[2, 3], &[0.0; 6]);
    let b = ints(&[4], &[0; 4]);
    let messages = [
        a.add(&b).unwrap_err(),
        a.matmul(&a).unwrap_err(),
        a.narrow(1, 2, 5).unwrap_err(),
        Tensor::cat(&[&a, &b], 0).unwrap_err(),
        Tensor::from_floats(&[1.0, 2.0], &[3]).unwrap_err(),
        Tensor::zeros(&[2], DType(77)).unwrap_err(),
        a.to_f64().unwrap_err(),
    ]
    .map(|error| {
        assert_eq!(error.code(), coin_plugin_api::ErrorCode::OPERATION);
        assert_eq!(error.message().lines().count(), 1, "{error}");
        error.message().to_owned()
    });
    assert_eq!(
        messages[0],
        "add: The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1; \
         arguments [2, 3] float, [4] int64"
    );
    assert!(messages[1].starts_with("matmul: mat1 and mat2 shapes cannot be multiplied"), "{}", messages[1]);
    assert!(messages[2].ends_with("arguments [2, 3] float, dim 1, start 2, length 5"), "{}", messages[2]);
    assert!(messages[3].ends_with("arguments ([2, 3] float, [4] int64), dim 0"), "{}", messages[3]);
    assert!(messages[4].starts_with("from_floats: "), "{}", messages[4]);
    assert_eq!(messages[5], "zeros: this host knows no dtype 77; arguments sizes [2], dtype 77");
    assert!(messages[6].starts_with("to_f64: "), "{}", messages[6]);
}
