"""Keras files become weights files of ours: the same values where they have to be, the same results where not."""

from __future__ import annotations

import re

import h5py
import keras_files as keras
import numpy as np
import pytest
from compare import assert_close
from PIL import Image

from minicnn import Tensor, manual_seed, models, no_grad, weights
from minicnn.errors import WeightsError
from minicnn.models.importing import import_weights
from minicnn.weights.importers import read_foreign


def trained(model, seed=0):
    """A state with statistics as after training."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, array in model.state_dict().items():
        if name.endswith("running_var"):
            array = rng.uniform(0.5, 2, array.shape)
        elif array.ndim == 1:
            array = rng.standard_normal(array.shape)
        state[name] = array.astype(array.dtype if array.dtype.kind == "i" else np.float32)
    return state


@pytest.fixture(scope="module")
def resnet():
    manual_seed(0)
    return trained(models.resnet18(width=8, num_classes=5))


@pytest.fixture(scope="module")
def vgg():
    manual_seed(0)
    return models.vgg16(width=2, num_classes=5).state_dict()


def applications(module):
    """keras.applications' layer for a module of ours."""
    if module == "fc":
        return "predictions"
    if module in ("conv1", "bn1"):
        return {"conv1": "conv1_conv", "bn1": "conv1_bn"}[module]
    stage, block, *rest = module.removeprefix("layer").split(".")
    which, kind = ("0", rest[1]) if rest[0] == "downsample" else (rest[0][-1], rest[0][:-1])
    return f"conv{int(stage) + 1}_block{int(block) + 1}_{which}_{ {'0': 'conv', '1': 'bn'}.get(kind, kind) }"


def flat(module):
    return module


def underscores(module):
    return module.replace(".", "_")


def logits(state, eps=None):
    """Of two images, by our own network, with another epsilon if asked for."""
    model = models.resnet18(width=8, num_classes=5)
    model.load_state_dict(state)
    for module in model.modules():
        if eps is not None and hasattr(module, "running_var"):
            module.eps = eps
    with no_grad():
        images = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(np.float32)
        return model.eval()(Tensor(images)).numpy()


@pytest.mark.parametrize(
    ("rename", "options"),
    [
        (flat, {}),
        (flat, {"top": "model_weights", "texts": str}),
        (applications, {"weight": "{layer}_1/{kind}:0"}),
    ],
)
def test_a_resnet_of_the_same_epsilon_keeps_its_bits(tmp_path, resnet, rename, options):
    keras.write(tmp_path / "keras.h5", keras.layers_of(resnet, rename), **options)
    report = import_weights(tmp_path / "keras.h5", tmp_path / "ours.h5", bn_epsilon=1e-5)
    assert (report.architecture, report.arguments) == ("resnet18", {"num_classes": 5, "width": 8})
    assert not report.converted
    assert len(report.transposed) == 21
    state, info = weights.read(tmp_path / "ours.h5")
    for name, array in resnet.items():
        if not name.endswith("num_batches_tracked"):
            assert np.array_equal(state[name], array), name
    assert info.arguments["num_classes"] == 5


@pytest.mark.parametrize(
    ("rename", "eps", "given"),
    [(underscores, 1e-3, None), (flat, 0.5, 0.5), (flat, 1e-7, 1e-7)],
)
def test_another_epsilon_is_converted_and_said(tmp_path, resnet, rename, eps, given):
    """0.5 is larger than a float's error hides; at 1e-7 one variance is so small that it cannot stay positive."""
    state = {**resnet, "bn1.running_var": np.where(np.arange(8) == 0, 1e-9, resnet["bn1.running_var"])}
    state["bn1.running_var"] = state["bn1.running_var"].astype(np.float32)
    keras.write(tmp_path / "keras.h5", keras.layers_of(state, rename))
    report = import_weights(tmp_path / "keras.h5", tmp_path / "ours.h5", "resnet18", bn_epsilon=given)
    assert f"epsilon {eps:g} to 1e-05, results the same" in str(report)
    assert len(report.converted) == 20
    ours, _ = weights.read(tmp_path / "ours.h5")
    ours = {name: ours.get(name, array) for name, array in state.items()}
    assert_close(logits(ours), logits(state, eps), rtol=1e-4)


def test_biases_before_batch_normalisation_move_into_the_running_mean(tmp_path, resnet):
    rng = np.random.default_rng(2)
    layers = keras.layers_of(resnet, applications)
    for layer, arrays in layers.items():
        if layer.endswith("_conv"):
            arrays["bias"] = rng.standard_normal(arrays["kernel"].shape[-1]).astype(np.float32)
            mean = layers[f"{layer[:-4]}bn"]
            mean["moving_mean"] = mean["moving_mean"] + arrays["bias"]
    keras.write(tmp_path / "keras.h5", layers)
    report = import_weights(tmp_path / "keras.h5", tmp_path / "ours.h5")
    assert "20 biases of convolutions before a batch normalisation were moved into its running mean" in str(report)
    state, _ = weights.read(tmp_path / "ours.h5")
    for name, array in resnet.items():
        if name.endswith("running_mean"):
            assert_close(state[name], array, rtol=1e-6)


@pytest.mark.parametrize("weight", ["{layer}/{kind}:0", "{layer}_{old}_1:0"])
def test_vgg16_of_keras_applications(tmp_path, vgg, weight):
    """fc1 sees the image as (7, 7, C) in Keras, as (C, 7, 7) here; its images are BGR, less a mean, not scaled."""
    features = [name for name in vgg if name.startswith("features") and name.endswith("weight")]
    numbers = [(b, i) for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    layer = {name.rpartition(".")[0]: f"block{b}_conv{i}" for name, (b, i) in zip(features, numbers, strict=True)}
    layer.update({"classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "predictions"})
    layers = keras.layers_of(vgg, layer.__getitem__)
    rng = np.random.default_rng(3)
    kernel = layers["fc1"]["kernel"] = rng.standard_normal(layers["fc1"]["kernel"].shape).astype(np.float32)
    if "{old}" in weight:
        layers = {
            name: {{"kernel": f"{name}_W_1:0", "bias": f"{name}_b_1:0"}[kind]: array for kind, array in row.items()}
            for name, row in layers.items()
        }
        weight = "{kind}"
    keras.write(tmp_path / "keras.h5", layers, weight=weight)
    report = import_weights(tmp_path / "keras.h5", tmp_path / "ours.h5")
    assert report.architecture == "vgg16"
    assert "images are BGR, 0 to 255, less (103.939, 116.779, 123.68)" in str(report)
    assert "inputs (7, 7, C) to (C, 7, 7)" in dict(report.transposed)["classifier.0.weight"]
    state, info = weights.read(tmp_path / "ours.h5")
    for name, array in vgg.items():
        if name != "classifier.0.weight":
            assert np.array_equal(state[name], array), name
    image = rng.standard_normal((16, 7, 7)).astype(np.float32)
    assert_close(state["classifier.0.weight"] @ image.ravel(), image.transpose(1, 2, 0).ravel() @ kernel, rtol=1e-5)
    pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    expected = pixels[..., ::-1].astype(np.float64) - (103.939, 116.779, 123.68)  # keras' preprocess_input
    prepared = info.transforms()(Image.fromarray(pixels))
    assert_close(np.asarray(prepared), expected.transpose(2, 0, 1).astype(np.float32), rtol=1e-5)
    assert (info.channels, info.scale) == ("BGR", 255)


def test_keras_3_with_names_of_layers(tmp_path, resnet):
    keras.write_keras_3(tmp_path / "keras.weights.h5", keras.layers_of(resnet, applications))
    report = import_weights(tmp_path / "keras.weights.h5", tmp_path / "ours.h5")
    assert "does not say its epsilon of batch normalisation: 1.001e-05, by its names" in str(report)
    assert report.format == "Keras 3 weights (HDF5)"
    state, _ = weights.read(tmp_path / "ours.h5")
    assert np.array_equal(state["layer4.1.conv2.weight"], resnet["layer4.1.conv2.weight"])
    assert_close(state["layer4.1.bn2.running_var"], resnet["layer4.1.bn2.running_var"] + np.float32(1e-8), rtol=1e-6)


REFUSED = {
    "pre-activation": (["bn_data", "stage1_unit1_bn1"], "pre-activation ResNet of `classification_models`"),
    "bottlenecks": (["conv1_conv", "conv2_block1_3_conv"], "strides in the first 1x1 convolution"),
    "projected first block": (["conv2_block1_0_conv"], "a convolution in the shortcut of its first block"),
    "keras 3 by kind": (["conv2d", "conv2d_1", "batch_normalization"], "numbers layers by their kind"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_networks_are_refused_with_an_explanation(tmp_path, case):
    names, text = REFUSED[case]
    one = np.ones(3, np.float32)
    norm = {"gamma": one, "beta": one, "moving_mean": one, "moving_variance": one}
    layers = {name: norm if "bn" in name or "norm" in name else {"kernel": np.ones((3, 3, 3, 3))} for name in names}
    write = keras.write_keras_3 if case.startswith("keras 3") else keras.write
    write(tmp_path / "keras.h5", layers)
    with pytest.raises(WeightsError, match=re.escape(text)):
        import_weights(tmp_path / "keras.h5", tmp_path / "ours.h5", "resnet18")
    assert not (tmp_path / "ours.h5").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda file: file.__delitem__("fc/fc/kernel:0"), "a weight that is listed, but not there; seen 'fc/fc/kernel"),
        (lambda file: file.__delitem__("fc"), "a layer that is listed, but not there; seen 'fc'"),
        (lambda file: file.attrs.__setitem__("layer_names", [b"fc", b"fc"]), "a weight that is listed twice"),
        (lambda file: file.attrs.__setitem__("layer_names", 3), "a list of names that is none"),
        (lambda file: file.attrs.__setitem__("layer_names", [b"input_1"]), "a Keras file without weights"),
    ],
)
def test_a_file_that_contradicts_itself(tmp_path, change, text):
    keras.write(tmp_path / "keras.h5", {"fc": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}})
    with h5py.File(tmp_path / "keras.h5", "r+") as file:
        change(file)
    with pytest.raises(WeightsError, match=text):
        read_foreign(tmp_path / "keras.h5")


def test_long_lists_of_names_stand_in_parts(tmp_path):
    """Keras cuts what does not fit into an attribute: layer_names0, layer_names1."""
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"a"], [b"b"]
        for layer in "ab":
            file.create_group(layer).attrs["weight_names"] = [f"{layer}/bias:0".encode()]
            file[f"{layer}/{layer}/bias:0"] = np.ones(3, np.float32)
    assert list(read_foreign(tmp_path / "keras.h5").arrays) == ["a/bias", "b/bias"]
