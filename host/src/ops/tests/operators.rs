//! Operators by name: `call_op` against libtorch's own results.

use coin_plugin_api::abi::RawArgument;
use coin_plugin_api::{Argument, ErrorCode, Result, Tensor, call_op};

use super::attach;
use crate::ops::{Services, call_op as dispatcher, enter, lend};

struct Hook {
    granted: bool,
}

impl Services for Hook {
    fn hook(&self) -> String {
        "probe.adapt".into()
    }

    fn call_op_granted(&self) -> bool {
        self.granted
    }
}

fn granted<T>(body: impl FnOnce() -> T) -> T {
    attach();
    enter(&Hook { granted: true }, |_| body())
}

fn row() -> Tensor {
    Tensor::from_floats(&[1.0, 2.0, 3.0], &[1, 3]).unwrap()
}

fn refused(result: Result<Vec<Tensor>>, code: ErrorCode, text: &str) {
    let error = result.err().unwrap_or_else(|| panic!("not refused: {text}"));
    assert_eq!(error.code(), code, "{error}");
    assert!(error.message().contains(text), "{error}");
    assert!(!error.message().contains("C++"), "{error}");
}

#[test]
fn a_product_carries_its_gradient() {
    granted(|| {
        let a = tch::Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let b = tch::Tensor::from_slice(&[3f32, -4.0]);
        let arguments = [&a, &b].map(|tensor| RawArgument { kind: 1, value: lend(tensor).0 as u64 });
        let results = dispatcher::call_op("aten::mul", "Tensor", &arguments).unwrap();
        assert_eq!(results.len(), 1);
        assert_eq!(Vec::<f32>::try_from(&results[0]).unwrap(), [3.0, -8.0]);
        results[0].f_sum(None).unwrap().f_backward().unwrap();
        assert_eq!(Vec::<f32>::try_from(&a.grad()).unwrap(), [3.0, -4.0]);
    });
}

#[test]
fn optional_arguments_may_be_left_out_or_given() {
    granted(|| {
        let a = row();
        let softmax =
            call_op("aten::softmax", "int", &[Argument::Tensor(&a), Argument::Int(-1), Argument::None]);
        assert_eq!(softmax.unwrap()[0].to_floats().unwrap(), a.softmax(-1).unwrap().to_floats().unwrap());
        let place = |dim| call_op("argmax", "", &[Argument::Tensor(&a), dim, Argument::Bool(true)]).unwrap();
        assert_eq!(place(Argument::None)[0].shape().unwrap(), [1, 1]);
        assert_eq!(place(Argument::Int(0))[0].shape().unwrap(), [1, 3]);
        let weight = Tensor::from_floats(&[1.0, 0.0, 2.0], &[1, 3]).unwrap();
        let bias = Tensor::from_floats(&[0.5], &[1]).unwrap();
        let linear =
            |bias| call_op("linear", "", &[Argument::Tensor(&a), Argument::Tensor(&weight), bias]).unwrap();
        assert_eq!(linear(Argument::None)[0].to_floats().unwrap(), [7.0]);
        assert_eq!(linear(Argument::Tensor(&bias))[0].to_floats().unwrap(), [7.5]);
    });
}

#[test]
fn an_operator_may_return_several_tensors() {
    granted(|| {
        let arguments = [
            Argument::Tensor(&row()),
            Argument::Int(2),
            Argument::Int(1),
            Argument::Bool(true),
            Argument::Bool(true),
        ];
        let results = call_op("aten::topk", "", &arguments).unwrap();
        let values: Vec<_> = results.iter().map(|result| result.to_floats().unwrap()).collect();
        assert_eq!(values, [[3.0, 2.0], [2.0, 1.0]]);
    });
}

#[test]
fn what_the_dispatcher_would_not_survive_is_refused_before_it() {
    granted(|| {
        let a = row();
        let tensor = Argument::Tensor(&a);
        let call =
            |name: &str, overload: &str, arguments: &[Argument<'_>]| call_op(name, overload, arguments);
        let code = ErrorCode::OPERATION;
        refused(call("aten::nope", "", &[]), code, "call_op aten::nope: this libtorch has no such operator");
        refused(call("aten::mul", "", &[tensor, tensor]), code, "aten::mul has Scalar, Tensor");
        refused(
            call("aten::mul", "Tensor", &[tensor]),
            code,
            "1 arguments, but it takes 2; arguments [1, 3] float\nhint: aten::mul.Tensor(Tensor self, Tensor other) -> Tensor",
        );
        refused(call("aten::mul", "Tensor", &[tensor, Argument::Int(1)]), code, "`other` is int 1");
        refused(call("aten::mul", "Tensor", &[tensor, Argument::None]), code, "`other` is none");
        refused(
            call("aten::softmax", "int", &[tensor, Argument::Bool(true), Argument::None]),
            code,
            "`dim` is bool",
        );
        refused(call("aten::bernoulli", "", &[tensor, Argument::None]), code, "draws random numbers");
        refused(call("aten::relu_", "", &[tensor]), code, "writes to its arguments");
        refused(
            call("aten::mm", "", &[tensor, tensor]),
            code,
            "call_op aten::mm: mat1 and mat2 shapes cannot be multiplied (1x3 and 1x3); arguments [1, 3] float, [1, 3] float",
        );
    });
}

#[test]
fn it_needs_a_grant_and_a_hook() {
    attach();
    let a = row();
    let call = || call_op("aten::relu", "", &[Argument::Tensor(&a)]);
    refused(call(), ErrorCode::UNAVAILABLE, "it works inside a hook");
    enter(&Hook { granted: false }, |_| {
        refused(call(), ErrorCode::UNAVAILABLE, "it is not granted to probe.adapt");
    });
    enter(&Hook { granted: true }, |_| assert_eq!(call().unwrap().len(), 1));
}
