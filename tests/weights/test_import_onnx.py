"""ONNX files become weights files of ours, made with the onnx package; broken and hostile ones are refused by name."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
from compare import assert_close

from minicnn import manual_seed, models, weights
from minicnn.errors import WeightsError
from minicnn.models.importing import import_weights
from minicnn.weights.importers import read_foreign

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


@pytest.fixture(scope="module")
def state():
    manual_seed(0)
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 2, array.shape).astype(np.float32)
        for name, array in models.resnet18(width=4, num_classes=5).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def write(path, tensors, nodes=()):
    graph = helper.make_graph(list(nodes), "graph", [], [], initializer=list(tensors))
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def tensors_of(state):
    return [numpy_helper.from_array(array, name) for name, array in state.items()]


def resnet_nodes(state, folded, shortcut_first):
    """The graph of a residual network; `shortcut_first`: before the block's first convolution."""
    nodes, x = [], "image"

    def conv(name, x, then=None):
        inputs = [x, f"{name}.weight"] + ([f"{name}.folded"] if folded else [])
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.out"], group=1))
        x = f"{name}.out"
        if not folded:
            norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1")
            names = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
            nodes.append(helper.make_node("BatchNormalization", [x, *names], [f"{norm}.out"], epsilon=1e-3))
            x = f"{norm}.out"
        if then:
            nodes.append(helper.make_node(then, [x], [f"{name}.{then}"]))
            x = f"{name}.{then}"
        return x

    x = conv("conv1", x, "Relu")
    for block in [f"layer{stage}.{i}" for stage in range(1, 5) for i in range(2)]:
        has_shortcut = f"{block}.downsample.0.weight" in state
        shortcut = conv(f"{block}.downsample.0", x) if has_shortcut and shortcut_first else x
        y = conv(f"{block}.conv2", conv(f"{block}.conv1", x, "Relu"))
        if has_shortcut and not shortcut_first:
            shortcut = conv(f"{block}.downsample.0", x)
        nodes.append(helper.make_node("Add", [y, shortcut], [f"{block}.add"]))
        nodes.append(helper.make_node("Relu", [f"{block}.add"], [f"{block}.out"]))
        x = f"{block}.out"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
    return nodes


def test_names_of_torch_and_the_epsilon_of_the_graph(tmp_path, state):
    nodes = resnet_nodes(state, folded=False, shortcut_first=False)
    nodes.append(helper.make_node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1))
    report = import_weights(write(tmp_path / "a.onnx", tensors_of(state), nodes), tmp_path / "a.h5")
    assert (report.architecture, report.arguments) == ("resnet18", {"num_classes": 5, "width": 4})
    assert len(report.converted) == 20
    found, _ = weights.read(tmp_path / "a.h5")
    for name, array in state.items():
        if name.endswith("running_var"):
            assert_close(found[name], (array.astype(np.float64) + 1e-3 - 1e-5).astype(np.float32), rtol=1e-6)
        else:
            assert np.array_equal(found[name], array), name


def test_a_linear_layer_stored_as_in_out(tmp_path, state):
    turned = {**state, "fc.weight": np.ascontiguousarray(state["fc.weight"].T)}
    nodes = resnet_nodes(state, folded=False, shortcut_first=False)
    nodes.append(helper.make_node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"]))
    report = import_weights(write(tmp_path / "a.onnx", tensors_of(turned), nodes), tmp_path / "a.h5")
    assert "1 linear layers are stored as (in, out), and were transposed" in str(report)
    assert np.array_equal(weights.read(tmp_path / "a.h5")[0]["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize("shortcut_first", [False, True])
def test_a_folded_batch_normalisation_comes_back_as_one_that_only_adds(tmp_path, state, shortcut_first):
    """Names say nothing, equal biases are stored once: places in the graph decide."""
    nodes = resnet_nodes(state, folded=True, shortcut_first=shortcut_first)
    nodes.append(helper.make_node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1))
    convolutions = [name for name, array in state.items() if array.ndim == 4]
    biases = {name: state[name][:, 0, 0, 0] for name in convolutions}
    biases["layer1.0.conv2.weight"] = biases["layer1.0.conv1.weight"]
    numbered = {name: f"onnx::Conv_{193 + 3 * i}" for i, name in enumerate(convolutions)}
    numbered.update(
        {name.replace("weight", "folded"): f"onnx::Conv_{194 + 3 * i}" for i, name in enumerate(convolutions)}
    )
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = numbered.get(name, name)
    tensors = {numbered[name]: state[name] for name in reversed(convolutions)}
    tensors.update({numbered[name.replace("weight", "folded")]: bias for name, bias in biases.items()})
    twin = [numbered[f"layer1.0.conv{i}.folded"] for i in (1, 2)]
    del tensors[twin[1]]
    nodes.insert(0, helper.make_node("Identity", [twin[0]], [twin[1]]))
    tensors.update({name: state[name] for name in ("fc.weight", "fc.bias")})
    report = import_weights(write(tmp_path / "a.onnx", tensors_of(tensors), nodes), tmp_path / "a.h5", "resnet18")
    assert "folded each batch normalisation into its convolution" in str(report)
    found, _ = weights.read(tmp_path / "a.h5")
    for name in convolutions:
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1").removesuffix(".weight")
        assert np.array_equal(found[name], state[name]), name
        assert np.array_equal(found[f"{norm}.bias"], biases[name]), name
        x = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
        scale = found[f"{norm}.weight"] / np.sqrt(found[f"{norm}.running_var"] + np.float32(1e-5))
        assert_close((x - found[f"{norm}.running_mean"]) * scale, x * np.ones_like(scale), rtol=1e-6)
    with pytest.raises(WeightsError, match="the graph has another number of layers than the network"):
        import_weights(tmp_path / "a.onnx", tmp_path / "b.h5", "resnet34")


def test_the_model_zoo(tmp_path, state):
    """Names of MXNet Gluon: a stage's convolutions are counted, and its shortcut is the third."""
    kinds = {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"}
    order = ["0.{}1", "0.{}2", "0.downsample.", "1.{}1", "1.{}2"]
    names = {"conv1.weight": "conv0_weight", "fc.weight": "dense0_weight", "fc.bias": "dense0_bias"}
    names.update({f"bn1.{ours}": f"batchnorm0_{theirs}" for ours, theirs in kinds.items()})
    for stage in range(1, 5):
        for i, place in enumerate(order if stage > 1 else [*order[:2], *order[3:]]):
            conv = f"layer{stage}.{place.format('conv')}" + ("0" if place.endswith(".") else "")
            norm = f"layer{stage}.{place.format('bn')}" + ("1" if place.endswith(".") else "")
            names[f"{conv}.weight"] = f"stage{stage}_conv{i}_weight"
            names.update({f"{norm}.{ours}": f"stage{stage}_batchnorm{i}_{theirs}" for ours, theirs in kinds.items()})
    assert names.keys() == state.keys()
    tensors = tensors_of({f"resnetv15_{names[name]}": array for name, array in state.items()})
    report = import_weights(write(tmp_path / "a.onnx", tensors), tmp_path / "a.h5")
    assert "MXNet Gluon" in report.library
    found, _ = weights.read(tmp_path / "a.h5")
    assert all(np.array_equal(found[name], array) for name, array in state.items())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FLOAT", "f4"),
        ("DOUBLE", "f8"),
        ("FLOAT16", "f2"),
        ("INT64", "i8"),
        ("INT32", "i4"),
        ("UINT8", "u1"),
        ("BOOL", "?"),
    ],
)
def test_values_raw_and_listed(tmp_path, kind, dtype, raw):
    values = (np.random.default_rng(0).standard_normal(300) * 100).astype(dtype).reshape(3, 100)
    listed = values.tobytes() if raw else values.ravel()
    tensor = helper.make_tensor("a", getattr(TensorProto, kind), values.shape, listed, raw=raw)
    found = read_foreign(write(tmp_path / "a.onnx", [tensor])).arrays["a"]
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


def tensor(**parts):
    made = TensorProto(name="a", data_type=1, dims=[2])
    for name, value in parts.items():
        getattr(made, name).extend(value) if isinstance(value, list) else setattr(made, name, value)
    return made


def external():
    made = tensor(raw_data=bytes(8))
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value="../../etc/passwd")
    return made


HOSTILE = {
    "external data": (external, "values in another file, which is never opened"),
    "too few values": (lambda: tensor(raw_data=bytes(7)), "declares other sizes than the file holds; seen 7 bytes"),
    "a huge shape": (lambda: tensor(dims=[2**35, 2**20]), r"the shape declares other sizes .* rule: \(2, 34359738368"),
    "overflowing shape": (lambda: tensor(dims=[2**40] * 7), "declares other sizes than the file holds"),
    "negative shape": (lambda: tensor(dims=[-1]), "a shape that cannot be"),
    "many axes": (lambda: tensor(dims=[1] * 50), "more than 8 numbers|a shape that cannot be"),
    "strings": (lambda: tensor(data_type=8, string_data=[b"a", b"b"]), "an unexpected data type; seen 8"),
    "values twice": (lambda: tensor(raw_data=bytes(8), float_data=[1.0, 2.0]), "values twice, raw and not"),
    "in another's field": (lambda: tensor(data_type=11, float_data=[1.0] * 4), "values in a field for another data"),
    "no name": (lambda: tensor(name="", raw_data=bytes(8)), "a tensor's name that cannot be"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tensors(tmp_path, case):
    make, text = HOSTILE[case]
    write(tmp_path / "a.onnx", [make()])
    with pytest.raises(WeightsError, match=text):
        read_foreign(tmp_path / "a.onnx")


def test_hostile_models(tmp_path):
    sound = write(tmp_path / "a.onnx", [tensor(raw_data=bytes(8))]).read_bytes()
    twice = write(tmp_path / "a.onnx", [tensor(raw_data=bytes(8))] * 2).read_bytes()
    cases = {
        "a tensor's name twice": twice,
        "an ONNX file that is damaged or cut off": sound[:-3],
        "an ONNX file without initialisers": write(tmp_path / "b.onnx", []).read_bytes(),
        "too many fields": sound + b"\x28\x01" * 400_000,
        "no graph": b"\x08\x08\x12\x01a",
        "two graphs": sound + sound,
    }
    for text, content in cases.items():
        (tmp_path / "a.onnx").write_bytes(content)
        start = time.process_time()
        with pytest.raises(WeightsError, match=text):
            read_foreign(tmp_path / "a.onnx")
        assert time.process_time() - start < 1


def test_changed_bytes_never_crash(tmp_path):
    sound = bytearray(
        write(tmp_path / "a.onnx", tensors_of({"a": np.ones((3, 4), np.float32), "b": np.ones(2)})).read_bytes()
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = sound.copy()
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(2, len(content))] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        (tmp_path / "a.onnx").write_bytes(content[: rng.integers(3, len(content) + 1)])
        with contextlib.suppress(WeightsError):  # any other error fails
            found = read_foreign(tmp_path / "a.onnx")
            assert all(isinstance(array, np.ndarray) for array in found.arrays.values())
