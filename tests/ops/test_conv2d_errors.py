"""Convolution refuses what does not fit, in one line, before any compiled code runs."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import AlgorithmError, ArgumentError, DTypeError, MinicnnError, ShapeError
from minicnn.ops import conv2d
from minicnn.ops.registry import algorithm

X, W, B = (2, 4, 6, 7), (6, 4, 3, 3), (6,)
FITS = "hint: use larger images, a smaller kernel or more padding"


def refused(error: type[MinicnnError], text: str, call, *arguments, **options) -> None:
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert str(caught.value) == text


@pytest.fixture(autouse=True, params=["formula", "loops", "im2col"])
def each_algorithm(request):
    with algorithm(conv2d=request.param):
        yield


@pytest.mark.parametrize(
    ("x", "w", "b", "options", "text"),
    [
        (
            X[1:],
            W,
            B,
            {},
            "x must have 4 axes; seen x (4, 6, 7); rule: x: (N, C, H, W); hint: add the batch axis with x[None]",
        ),
        ((4, 6), W, B, {}, "x must have 4 axes; seen x (4, 6); rule: x: (N, C, H, W)"),
        ((2, 0, 6, 7), W, B, {}, "x has an empty axis; seen x (2, 0, 6, 7); rule: C, H, W >= 1"),
        ((2, 4, 0, 7), W, B, {"padding": 3}, "x has an empty axis; seen x (2, 4, 0, 7); rule: C, H, W >= 1"),
        (X, W[1:], B, {}, "w must have 4 axes, none empty; seen w (4, 3, 3); rule: w: (K, C / groups, R, S)"),
        (X, (6, 4, 0, 3), B, {}, "w must have 4 axes, none empty; seen w (6, 4, 0, 3); rule: w: (K, C / groups, R, S)"),
        (
            X,
            (0, 4, 3, 3),
            (0,),
            {},
            "w must have 4 axes, none empty; seen w (0, 4, 3, 3); rule: w: (K, C / groups, R, S)",
        ),
        (X, (6, 0, 3, 3), B, {}, "w must have 4 axes, none empty; seen w (6, 0, 3, 3); rule: w: (K, C / groups, R, S)"),
        (
            X,
            (6, 3, 3, 3),
            B,
            {},
            "the channels of x and w differ; seen x (2, 4, 6, 7), w (6, 3, 3, 3), groups 1; "
            "rule: C = w.shape[1] * groups; hint: give 3 channels",
        ),
        (
            X,
            W,
            B,
            {"groups": 2},
            "the channels of x and w differ; seen x (2, 4, 6, 7), w (6, 4, 3, 3), groups 2; "
            "rule: C = w.shape[1] * groups; hint: give 8 channels",
        ),
        (
            X,
            (6, 1, 3, 3),
            B,
            {"groups": 4},
            "groups does not divide the output channels; seen w (6, 1, 3, 3), groups 4; rule: w.shape[0] % groups == 0",
        ),
        (X, W, (4,), {}, "b does not fit w; seen b (4,), w (6, 4, 3, 3); rule: b: (K,) with K = w.shape[0]"),
        (X, W, (1, 6), {}, "b does not fit w; seen b (1, 6), w (6, 4, 3, 3); rule: b: (K,) with K = w.shape[0]"),
        (X, W, (), {}, "b does not fit w; seen b (), w (6, 4, 3, 3); rule: b: (K,) with K = w.shape[0]"),
        (
            X,
            (6, 4, 7, 3),
            B,
            {},
            "the kernel is larger than the padded input in height; seen kernel (7, 3) with dilation (1, 1) spans 7, "
            f"input (6, 7) with padding (0, 0) is 6; rule: dilation * (kernel - 1) + 1 <= size + 2 * padding; {FITS}",
        ),
        (
            X,
            W,
            B,
            {"dilation": (1, 5), "padding": (0, 1)},
            "the kernel is larger than the padded input in width; seen kernel (3, 3) with dilation (1, 5) spans 11, "
            f"input (6, 7) with padding (0, 1) is 9; rule: dilation * (kernel - 1) + 1 <= size + 2 * padding; {FITS}",
        ),
    ],
)
def test_shapes(x, w, b, options, text):
    refused(ShapeError, f"conv2d: {text}", conv2d.forward, np.zeros(x), np.zeros(w), np.zeros(b), **options)


def test_a_kernel_as_large_as_the_padded_input_fits():
    assert conv2d.forward(np.zeros(X), np.zeros((6, 4, 8, 9)), padding=1).shape == (2, 6, 1, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stride": 0}, "stride is not valid; seen stride=0; rule: a whole number >= 1, or two"),
        ({"stride": (2, 0)}, "stride is not valid; seen stride=(2, 0); rule: a whole number >= 1, or two"),
        ({"stride": -1}, "stride is not valid; seen stride=-1; rule: a whole number >= 1, or two"),
        ({"stride": True}, "stride is not valid; seen stride=True; rule: a whole number >= 1, or two"),
        ({"stride": 1.5}, "stride is not valid; seen stride=1.5; rule: a whole number >= 1, or two"),
        ({"stride": (1, 2, 3)}, "stride is not valid; seen stride=(1, 2, 3); rule: a whole number >= 1, or two"),
        ({"stride": None}, "stride is not valid; seen stride=None; rule: a whole number >= 1, or two"),
        ({"padding": -1}, "padding is not valid; seen padding=-1; rule: a whole number >= 0, or two"),
        ({"padding": (0, -2)}, "padding is not valid; seen padding=(0, -2); rule: a whole number >= 0, or two"),
        ({"padding": "same"}, "padding is not valid; seen padding='same'; rule: a whole number >= 0, or two"),
        ({"dilation": 0}, "dilation is not valid; seen dilation=0; rule: a whole number >= 1, or two"),
        ({"dilation": False}, "dilation is not valid; seen dilation=False; rule: a whole number >= 1, or two"),
        ({"groups": 0}, "groups is not valid; seen groups=0; rule: groups >= 1"),
        ({"groups": -4}, "groups is not valid; seen groups=-4; rule: groups >= 1"),
        ({"groups": 1.0}, "groups is not valid; seen groups=1.0; rule: groups >= 1"),
        ({"groups": True}, "groups is not valid; seen groups=True; rule: groups >= 1"),
    ],
)
def test_options(options, text):
    x, w, dy = np.zeros(X), np.zeros(W), np.zeros((2, 6, 4, 5))
    refused(ArgumentError, f"conv2d: {text}", conv2d.forward, x, w, **options)
    refused(ArgumentError, f"conv2d: {text}", conv2d.grad_input, dy, w, x.shape, **options)
    refused(ArgumentError, f"conv2d: {text}", conv2d.grad_weight, dy, x, w.shape, **options)


def test_whole_numbers_of_numpy_are_welcome():
    one = conv2d.forward(np.ones(X), np.ones(W), stride=np.int64(2), padding=[np.int32(1), 0], groups=np.uint8(1))
    assert one.shape == (2, 6, 3, 3)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.complex128])
def test_numbers_that_are_not_floating_point(dtype):
    text = f"x has a dtype that is not floating point; seen x {np.dtype(dtype)}; "
    text += "rule: float32 or float64 (no silent casts); hint: convert with x.astype('float32')"
    refused(DTypeError, f"conv2d: {text}", conv2d.forward, np.zeros(X, dtype), np.zeros(W, dtype))
    refused(
        DTypeError, f"conv2d.grad_weight: {text}", conv2d.grad_weight, np.zeros((2, 6, 4, 5)), np.zeros(X, dtype), W
    )


def test_mixed_dtypes():
    tail = "rule: one dtype for all arrays of a call (no silent casts); hint: convert one with .astype"
    x, w, b, dy = np.zeros(X, np.float32), np.zeros(W), np.zeros(B), np.zeros((2, 6, 4, 5))
    text = f"x and w have different dtypes; seen x float32, w float64; {tail}('float32')"
    refused(DTypeError, f"conv2d: {text}", conv2d.forward, x, w)
    text = f"x and b have different dtypes; seen x float32, b float64; {tail}('float32')"
    refused(DTypeError, f"conv2d: {text}", conv2d.forward, x, w.astype(np.float32), b)
    text = f"dy and x have different dtypes; seen dy float64, x float32; {tail}('float64')"
    refused(DTypeError, f"conv2d.grad_weight: {text}", conv2d.grad_weight, dy, x, W)
    text = f"dy and w have different dtypes; seen dy float64, w float16; {tail}('float64')"
    refused(DTypeError, f"conv2d.grad_input: {text}", conv2d.grad_input, dy, w.astype(np.float16), X)


def test_what_is_not_an_array():
    x, w, b, dy = np.zeros(X), np.zeros(W), np.zeros(B), np.zeros((2, 6, 4, 5))
    tail = "is not an array; seen list; rule: arrays in, arrays out"
    refused(DTypeError, f"conv2d: x {tail}", conv2d.forward, x.tolist(), w)
    refused(DTypeError, f"conv2d: w {tail}", conv2d.forward, x, w.tolist())
    refused(DTypeError, f"conv2d: b {tail}", conv2d.forward, x, w, b.tolist())
    refused(DTypeError, f"conv2d.grad_input: dy {tail}", conv2d.grad_input, dy.tolist(), w, X)
    refused(DTypeError, f"conv2d.grad_input: w {tail}", conv2d.grad_input, dy, w.tolist(), X)
    refused(DTypeError, f"conv2d.grad_weight: dy {tail}", conv2d.grad_weight, dy.tolist(), x, W)
    refused(DTypeError, f"conv2d.grad_weight: x {tail}", conv2d.grad_weight, dy, x.tolist(), W)
    refused(DTypeError, f"conv2d.grad_bias: dy {tail}", conv2d.grad_bias, dy.tolist())
    tail = "is not an array; seen Tensor; rule: arrays in, arrays out"
    refused(DTypeError, f"conv2d: x {tail}", conv2d.forward, Tensor(x), w)


@pytest.mark.parametrize("dy", [(2, 6, 4, 4), (2, 6, 5, 4), (1, 6, 4, 5), (2, 5, 4, 5), (6, 4, 5), (2, 6, 20)])
def test_dy_of_another_shape(dy):
    text = f"conv2d: dy does not have the shape of y; seen dy {dy}, y (2, 6, 4, 5)"
    refused(ShapeError, text, conv2d.grad_input, np.zeros(dy), np.zeros(W), X)
    refused(ShapeError, text, conv2d.grad_weight, np.zeros(dy), np.zeros(X), W)


def test_shapes_given_to_the_backward_passes():
    dy = np.zeros((2, 6, 4, 5))
    tail = "rule: x: (N, C, H, W)"
    text = f"conv2d: x must have 4 axes, none but N empty; seen x (4, 6, 7); {tail}"
    refused(ShapeError, text, conv2d.grad_input, dy, np.zeros(W), X[1:])
    text = f"conv2d: x must have 4 axes, none but N empty; seen x (2, 4, 0, 7); {tail}"
    refused(ShapeError, text, conv2d.grad_input, dy, np.zeros(W), (2, 4, 0, 7), padding=3)
    text = "conv2d: w must have 4 axes, none empty; seen w (6, 4, 3); rule: w: (K, C / groups, R, S)"
    refused(ShapeError, text, conv2d.grad_weight, dy, np.zeros(X), W[:3])
    text = "conv2d.grad_bias: dy must have 4 axes; seen dy (2, 6); rule: dy: (N, C, H, W)"
    refused(ShapeError, text, conv2d.grad_bias, np.zeros((2, 6)))
    text = "conv2d.grad_bias: dy has an empty axis; seen dy (2, 0, 4, 5); rule: C, H, W >= 1"
    refused(ShapeError, text, conv2d.grad_bias, np.zeros((2, 0, 4, 5)))


def test_float16_has_no_compiled_version(each_algorithm, request):
    if request.node.callspec.params["each_algorithm"] == "formula":
        assert conv2d.forward(np.zeros(X, np.float16), np.zeros(W, np.float16)).dtype == np.float16
        return
    with pytest.raises(AlgorithmError, match="rule: dtype must be float32 or float64; hint: formula would do"):
        conv2d.forward(np.zeros(X, np.float16), np.zeros(W, np.float16))


def test_the_layer_is_named():
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 6, 3)))
    text = "0.1: conv2d: the channels of x and w differ; seen x (2, 4, 6, 7), w (6, 3, 3, 3), groups 1; "
    text += "rule: C = w.shape[1] * groups; hint: give 3 channels"
    refused(ShapeError, text, model, Tensor(np.zeros(X, np.float32)))
