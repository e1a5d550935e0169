"""Bad arguments and bad inputs of every layer: what the message says."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, DTypeError, MinicnnError, ShapeError


def ones(*shape, dtype=np.float32):
    return Tensor(np.ones(shape, dtype))


# what is built, and the whole message
MAKING = [
    (lambda: nn.Conv2d(0, 4, 3), "Conv2d: in_channels is not valid; seen in_channels=0; rule: in_channels >= 1"),
    (lambda: nn.Conv2d(3, -1, 3), "Conv2d: out_channels is not valid; seen out_channels=-1; rule: out_channels >= 1"),
    (lambda: nn.Conv2d(3.0, 4, 3), "Conv2d: in_channels is not valid; seen in_channels=3.0; rule: in_channels >= 1"),
    (lambda: nn.Conv2d(3, 4, 3, groups=0), "Conv2d: groups is not valid; seen groups=0; rule: groups >= 1"),
    (
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        "Conv2d: groups must divide the channels; seen in_channels=3, out_channels=4, groups=2; "
        "rule: in_channels % groups == 0 and out_channels % groups == 0",
    ),
    (lambda: nn.Conv2d(3, 4, 0), "Conv2d: kernel_size is not valid; seen kernel_size=0; rule: a whole number >= 1, or"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "Conv2d: kernel_size is not valid; seen kernel_size=(3, 3, 3); rule: a whole"),
    (lambda: nn.Conv2d(3, 4, "3"), "Conv2d: kernel_size is not valid; seen kernel_size='3'; rule: a whole number >= 1"),
    (lambda: nn.Conv2d(3, 4, 3, stride=0), "Conv2d: stride is not valid; seen stride=0; rule: a whole number >= 1"),
    (lambda: nn.Conv2d(3, 4, 3, padding=-1), "Conv2d: padding is not valid; seen padding=-1; rule: a whole number >="),
    (lambda: nn.Conv2d(3, 4, 3, padding="same"), "Conv2d: padding is not valid; seen padding='same'; rule: a whole"),
    (lambda: nn.Conv2d(3, 4, 3, dilation=(1, 0)), "Conv2d: dilation is not valid; seen dilation=(1, 0); rule: a whole"),
    (lambda: nn.ConvTranspose2d(0, 4, 3), "ConvTranspose2d: in_channels is not valid; seen in_channels=0; rule: in_"),
    (
        lambda: nn.ConvTranspose2d(3, 4, 3, 2, output_padding=(1, 2)),
        "ConvTranspose2d: output_padding is not valid; seen output_padding=(1, 2), stride=2, dilation=1; "
        "rule: output_padding < stride, or < dilation",
    ),
    (
        lambda: nn.ConvTranspose2d(1, 1, 3)(ones(1, 1, 2, 2), output_size="4"),
        "ConvTranspose2d: output_size is not valid; seen output_size='4'; rule: a whole number >= 1, or two",
    ),
    (lambda: nn.Unflatten(1, (2, 0)), "Unflatten: not an axis and the sizes that it becomes; seen dim=1, unflattened_"),
    (lambda: nn.Linear(0, 4), "Linear: in_features is not valid; seen in_features=0; rule: in_features >= 1"),
    (lambda: nn.Linear(4, True), "Linear: out_features is not valid; seen out_features=True; rule: out_features >= 1"),
    (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size is not valid; seen kernel_size=0; rule: a whole number >= 1"),
    (lambda: nn.MaxPool2d(2, 0), "MaxPool2d: stride is not valid; seen stride=0; rule: a whole number >= 1"),
    (lambda: nn.MaxPool2d(2, 2, -1), "MaxPool2d: padding is not valid; seen padding=-1; rule: a whole number >= 0"),
    (lambda: nn.MaxPool2d(2, dilation=0), "MaxPool2d: dilation is not valid; seen dilation=0; rule: a whole number >="),
    (lambda: nn.AvgPool2d(1.5), "AvgPool2d: kernel_size is not valid; seen kernel_size=1.5; rule: a whole number >= 1"),
    (lambda: nn.AvgPool2d(2, -2), "AvgPool2d: stride is not valid; seen stride=-2; rule: a whole number >= 1"),
    (lambda: nn.AvgPool2d(2, 2, -1), "AvgPool2d: padding is not valid; seen padding=-1; rule: a whole number >= 0"),
    (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features is not valid; seen 0; rule: num_features >= 1"),
    (lambda: nn.BatchNorm2d("64"), "BatchNorm2d: num_features is not valid; seen '64'; rule: num_features >= 1"),
    (lambda: nn.Dropout(1.5), "Dropout: p is not a probability; seen p=1.5; rule: 0 <= p <= 1"),
    (lambda: nn.Dropout(-0.1), "Dropout: p is not a probability; seen p=-0.1; rule: 0 <= p <= 1"),
    (lambda: nn.Dropout(float("nan")), "Dropout: p is not a probability; seen p=nan; rule: 0 <= p <= 1"),
    (lambda: nn.Dropout("half"), "Dropout: p is not a probability; seen p='half'; rule: 0 <= p <= 1"),
]


@pytest.mark.parametrize(("make", "text"), MAKING, ids=[text[:60] for _, text in MAKING])
def test_bad_arguments(make, text):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert str(caught.value).startswith(text)


# layer, input, kind of error, beginning of the message
USING = [
    (
        nn.Conv2d(3, 4, 3),
        ones(2, 4, 5, 5),
        ShapeError,
        "conv2d: the channels of x and w differ; seen x (2, 4, 5, 5), w (4, 3, 3, 3), groups 1; "
        "rule: C = w.shape[1] * groups; hint: give 3 channels",
    ),
    (
        nn.Conv2d(3, 4, 3),
        ones(3, 5, 5),
        ShapeError,
        "conv2d: x must have 4 axes; seen x (3, 5, 5); rule: x: (N, C, H, W); hint: add the batch axis with x[None]",
    ),
    (
        nn.Conv2d(3, 4, 7, padding=1),
        ones(2, 3, 4, 9),
        ShapeError,
        "conv2d: the kernel is larger than the padded input in height; seen kernel (7, 7) with dilation (1, 1) spans 7",
    ),
    (nn.Conv2d(3, 4, 1), ones(2, 3, 0, 5), ShapeError, "conv2d: x has an empty axis; seen x (2, 3, 0, 5); rule: C, H"),
    (
        nn.Conv2d(3, 4, 1),
        ones(2, 3, 5, 5, dtype=np.float64),
        DTypeError,
        "conv2d: x and w have different dtypes; seen x float64, w float32; rule: one dtype for all arrays of a call",
    ),
    (
        nn.Conv2d(3, 4, 1),
        ones(2, 3, 5, 5, dtype=np.uint8),
        DTypeError,
        "conv2d: x has a dtype that is not floating point; seen x uint8; rule: float32 or float64 (no silent casts); "
        "hint: convert with x.astype('float32')",
    ),
    (
        nn.Linear(4, 2),
        ones(3, 5),
        ShapeError,
        "linear: the features of x and w differ; seen x (3, 5), w (2, 4); rule: x: ",
    ),
    (nn.Linear(4, 2), ones(3, 4, dtype=np.float64), DTypeError, "linear: x and w have different dtypes"),
    (nn.MaxPool2d(2), ones(2, 5, 5), ShapeError, "max_pool2d: x must have 4 axes; seen x (2, 5, 5)"),
    (
        nn.MaxPool2d(3, padding=2),
        ones(1, 1, 5, 5),
        ArgumentError,
        "max_pool2d: padding is more than half the kernel; seen padding (2, 2), kernel_size (3, 3); "
        "rule: 2 * padding <= kernel_size; hint: pad by at most (1, 1)",
    ),
    (nn.MaxPool2d(3), ones(1, 1, 2, 5), ShapeError, "max_pool2d: the kernel is larger than the padded input in height"),
    (nn.MaxPool2d(2, ceil_mode=1), ones(1, 1, 4, 4), ArgumentError, "max_pool2d: ceil_mode is not valid; seen ceil_m"),
    (nn.AvgPool2d(2), ones(4, 4), ShapeError, "avg_pool2d: x must have 4 axes; seen x (4, 4)"),
    (nn.AvgPool2d(2, padding=2), ones(1, 1, 5, 5), ArgumentError, "avg_pool2d: padding is more than half the kernel"),
    (nn.AvgPool2d(5), ones(1, 1, 4, 4), ShapeError, "avg_pool2d: the kernel is larger than the padded input in height"),
    (
        nn.AvgPool2d(2, count_include_pad="no"),
        ones(1, 1, 4, 4),
        ArgumentError,
        "avg_pool2d: count_include_pad is not valid; seen count_include_pad='no'; rule: True or False",
    ),
    (nn.AdaptiveAvgPool2d(0), ones(1, 1, 4, 4), ArgumentError, "adaptive_avg_pool2d: output_size is not valid"),
    (nn.AdaptiveAvgPool2d(1), ones(1, 4, 4), ShapeError, "adaptive_avg_pool2d: x must have 4 axes; seen x (1, 4, 4)"),
    (
        nn.BatchNorm2d(3),
        ones(2, 4, 5, 5),
        ShapeError,
        "BatchNorm2d: the input does not fit; seen x (2, 4, 5, 5); rule: x: (N, 3, H, W)",
    ),
    (nn.BatchNorm2d(3), ones(2, 3), ShapeError, "BatchNorm2d: the input does not fit; seen x (2, 3); rule: x: (N, 3"),
    (nn.BatchNorm2d(3), ones(2, 3, 2, 2, dtype=np.float64), DTypeError, "batch_norm: x and weight have different dty"),
    (nn.BatchNorm2d(3, eps=-1), ones(2, 3, 2, 2), ArgumentError, "batch_norm: eps is not valid; seen eps=-1"),
    (nn.ReLU(), ones(3, dtype=np.int64), DTypeError, "relu: x has a dtype that is not floating point; seen x int64"),
    (nn.Sigmoid(), ones(3, dtype=np.int64), DTypeError, "sigmoid: x has a dtype that is not floating point"),
    (nn.Tanh(), ones(3, dtype=np.int64), DTypeError, "tanh: x has a dtype that is not floating point"),
    (nn.Softmax(2), ones(3, 2), ArgumentError, "softmax: dim is not an axis; seen dim=2, x (3, 2); rule: -2 <= dim <"),
    (nn.Dropout(0.5), ones(3, dtype=np.int64), DTypeError, "dropout: x has a dtype that is not floating point"),
    (nn.Flatten(3), ones(3, 2), ArgumentError, "flatten: no axis 3 in an array with 2 axes; seen start_dim=3; rule: -"),
    (nn.Flatten(1, 0), ones(3, 2), ArgumentError, "flatten: start_dim comes after end_dim; seen start_dim=1, end_dim"),
]


@pytest.mark.parametrize(("layer", "x", "error", "text"), USING, ids=[text[:60] for *_, text in USING])
def test_bad_inputs(layer, x, error, text):
    with pytest.raises(error) as caught:
        layer(x)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_batch_norm_of_one_value():
    """One value a channel has no variance; evaluation takes it."""
    layer, x = nn.BatchNorm2d(3), ones(1, 3, 1, 1)
    with pytest.raises(
        ShapeError, match=r"^batch_norm: training needs more than one value per channel; seen shape \(1, 3, 1"
    ):
        layer(x)
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.array.tolist() == [0, 0, 0]
    assert layer.eval()(x).shape == (1, 3, 1, 1)


def test_batch_norm_momentum():
    layer = nn.BatchNorm2d(3, momentum=1.5)
    with pytest.raises(ArgumentError, match=r"momentum is not valid; seen momentum=1.5; rule: from 0 to 1$"):
        layer(ones(2, 3, 2, 2))
    assert layer.running_mean.array.tolist() == [0, 0, 0]
    assert layer.num_batches_tracked.item() == 0


LOSSES = [
    (
        nn.CrossEntropyLoss(),
        np.array([0, 3]),
        "cross_entropy: a label is out of range; seen target[1] = 3, 3 classes; rule: 0 <= target < C, "
        "or target = ignore_index (-100); hint: labels count from 0",
    ),
    (nn.CrossEntropyLoss(), np.array([-1, 0]), "cross_entropy: a label is out of range; seen target[0] = -1, 3 class"),
    (nn.CrossEntropyLoss(), np.array([0, 1, 2]), "cross_entropy: target does not fit x; seen x (2, 3), target (3,) in"),
    (nn.CrossEntropyLoss(), np.array([0.0, 1.0]), "cross_entropy: target is neither class indices nor probabilities"),
    (nn.CrossEntropyLoss(np.ones(4, np.float32)), np.array([0, 1]), "cross_entropy: weight does not fit the classes"),
    (nn.CrossEntropyLoss(np.ones(3)), np.array([0, 1]), "cross_entropy: x and weight have different dtypes; seen x f"),
    (nn.CrossEntropyLoss(reduction="avg"), np.array([0, 1]), "cross_entropy: reduction is not valid; seen reduction="),
    (nn.CrossEntropyLoss(label_smoothing=2), np.array([0, 1]), "cross_entropy: label_smoothing is not valid; seen la"),
    (nn.CrossEntropyLoss(ignore_index=0.5), np.array([0, 1]), "cross_entropy: ignore_index is not valid; seen ignore"),
    (nn.MSELoss(), ones(3, 2), "mse: x and target have different shapes; seen x (2, 3), target (3, 2); rule: one shap"),
    (nn.MSELoss(), ones(2, 3, dtype=np.float64), "mse: x and target have different dtypes; seen x float32, target flo"),
    (nn.MSELoss("median"), ones(2, 3), "mse: reduction is not valid; seen reduction='median'; rule: 'mean', 'sum' or"),
]


@pytest.mark.parametrize(("loss", "target", "text"), LOSSES, ids=[text[:60] for *_, text in LOSSES])
def test_bad_targets(loss, target, text):
    with pytest.raises(MinicnnError) as caught:
        loss(ones(2, 3), target)
    assert str(caught.value).startswith(text)
