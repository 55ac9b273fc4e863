//! `+ - * /` on tensors.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Tensor;
use crate::error::Result;

/// The value of an operation whose error the guard of the hook reports.
fn expect(result: Result<Tensor>) -> Tensor {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}

macro_rules! operator {
    ($Trait:ident, $method:ident, $op:ident) => {
        impl $Trait<&Tensor> for &Tensor {
            type Output = Tensor;
            fn $method(self, other: &Tensor) -> Tensor {
                expect(self.$op(other))
            }
        }
        impl $Trait<Tensor> for Tensor {
            type Output = Tensor;
            fn $method(self, other: Tensor) -> Tensor {
                expect(Tensor::$op(&self, &other))
            }
        }
        impl $Trait<&Tensor> for Tensor {
            type Output = Tensor;
            fn $method(self, other: &Tensor) -> Tensor {
                expect(Tensor::$op(&self, other))
            }
        }
        impl $Trait<Tensor> for &Tensor {
            type Output = Tensor;
            fn $method(self, other: Tensor) -> Tensor {
                expect(self.$op(&other))
            }
        }
    };
}

operator!(Add, add, add);
operator!(Sub, sub, sub);
operator!(Mul, mul, mul);
operator!(Div, div, div);

impl Mul<f64> for &Tensor {
    type Output = Tensor;
    fn mul(self, value: f64) -> Tensor {
        expect(self.mul_scalar(value))
    }
}

impl Mul<f64> for Tensor {
    type Output = Tensor;
    fn mul(self, value: f64) -> Tensor {
        expect(self.mul_scalar(value))
    }
}

impl Add<f64> for &Tensor {
    type Output = Tensor;
    fn add(self, value: f64) -> Tensor {
        expect(self.add_scalar(value))
    }
}

impl Neg for &Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        expect(Tensor::neg(self))
    }
}
