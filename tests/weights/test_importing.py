"""A foreign file becomes a weights file: other names, axes and epsilons, the same results; or it is refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from compare import assert_close

from minicnn import Tensor, manual_seed, models, no_grad, weights
from minicnn.errors import ArgumentError, WeightsError
from minicnn.models.importing import import_weights
from minicnn.weights.importers import Foreign
from minicnn.weights.importing import ImportReport, convert
from minicnn.weights.matching import match_names
from minicnn.weights.names import MAPS


def random_state(model):
    """A state with batch normalisations that are not identities."""
    rng = np.random.default_rng(0)
    state = model.state_dict()
    for name, array in state.items():
        if array.ndim == 1 and not name.startswith("fc"):
            drawn = (
                rng.uniform(0.5, 1.5, array.shape)
                if name.endswith(("weight", "var"))
                else rng.normal(0, 0.2, array.shape)
            )
            state[name] = drawn.astype(np.float32)
    model.load_state_dict(state)
    return model, model.eval().state_dict()


@pytest.fixture(scope="module")
def resnet():
    manual_seed(0)
    return random_state(models.resnet18(width=8, num_classes=5))


def assert_same(found, state):
    """The same bits; counters may be missing."""
    assert {name for name in state if not name.endswith("num_batches_tracked")} <= found.keys() <= state.keys()
    for name, array in found.items():
        assert_close(array, state[name], rtol=0, atol=0)


@pytest.fixture
def imported(tmp_path):
    """Import a state through a .npz file: (report, new state, path of the new file)."""

    def run(state, arch="resnet18", **options):
        source, target = tmp_path / "model.npz", tmp_path / "model.h5"
        np.savez(source, **state)
        report = import_weights(source, target, arch, **options)
        return report, weights.read(target)[0], target

    return run


@pytest.fixture
def refuses(tmp_path):
    def check(state, words, arch="resnet18", **options):
        np.savez(tmp_path / "bad.npz", **state)
        with pytest.raises(WeightsError, match=words) as caught:
            import_weights(tmp_path / "bad.npz", tmp_path / "bad.h5", arch, **options)
        assert str(caught.value).startswith(str(tmp_path / "bad.npz"))
        assert not (tmp_path / "bad.h5").exists()

    return check


def source(library):
    return next(table.source for table in MAPS if table.library == library)


HUGGING_FACE = source("Hugging Face ResNetForImageClassification")

# From the listing of transformers 5.23, three of each kind.
HUGGING_FACE_NAMES = {
    "conv1.weight": "resnet.embedder.embedder.convolution.weight",
    "bn1.running_var": "resnet.embedder.embedder.normalization.running_var",
    "layer1.0.conv2.weight": "resnet.encoder.stages.0.layers.0.layer.1.convolution.weight",
    "layer2.1.bn1.bias": "resnet.encoder.stages.1.layers.1.layer.0.normalization.bias",
    "layer4.0.downsample.0.weight": "resnet.encoder.stages.3.layers.0.shortcut.convolution.weight",
    "layer3.0.downsample.1.running_mean": "resnet.encoder.stages.2.layers.0.shortcut.normalization.running_mean",
    "layer1.1.bn2.num_batches_tracked": "resnet.encoder.stages.0.layers.1.layer.1.normalization.num_batches_tracked",
    "layer1.0.conv3.weight": "resnet.encoder.stages.0.layers.0.layer.2.convolution.weight",
    "fc.weight": "classifier.1.weight",
}


def test_names_of_hugging_face():
    assert {ours: HUGGING_FACE(ours) for ours in HUGGING_FACE_NAMES} == HUGGING_FACE_NAMES


FORMS = {
    "torchvision": lambda name: name,
    "DataParallel": lambda name: f"module.{name}",
    "Lightning": lambda name: f"state_dict.model.{name}",
    "Hugging Face": HUGGING_FACE,
    "a backbone": lambda name: f"anything.at.all.{name}",
    "before num_batches_tracked": lambda name: "" if name.endswith("num_batches_tracked") else name,
}


@pytest.mark.parametrize("form", FORMS)
def test_results_are_the_same_under_other_names(form, resnet, imported):
    _, state = resnet
    rename = FORMS[form]
    report, new, path = imported({rename(name): array for name, array in state.items() if rename(name)}, arch=None)
    assert_same(new, state)
    assert report.arguments == {"num_classes": 5, "width": 8}
    assert not report.unexpected
    assert len(report.loaded) + len(report.missing) == len(state)
    assert all(name.endswith("num_batches_tracked") for name, _ in report.missing)
    assert len(report.renamed) == (0 if form in ("torchvision", "before num_batches_tracked") else len(state))
    info = weights.describe(path)
    assert hashlib.sha256((path.parent / "model.npz").read_bytes()).hexdigest() in info.notes


def test_order_does_not_matter_and_others_are_named(resnet, imported):
    _, state = resnet
    others = {"optimizer.state.0.momentum_buffer": np.ones((8, 3, 7, 7), np.float32), "best": np.ones((), np.float32)}
    report, new, _ = imported({**others, **dict(reversed(state.items()))})
    assert_same(new, state)
    assert [name for name, _ in report.unexpected] == list(others)
    assert "unexpected     2  optimizer.state.0.momentum_buffer (8, 3, 7, 7), best ()" in str(report)
    assert "loaded       122" in str(report)


def test_two_networks_in_a_file(resnet, imported, refuses):
    _, state = resnet
    zeros = {name: np.zeros_like(array) for name, array in state.items()}
    both = {f"{start}.{name}": array for start, part in (("a", state), ("b", zeros)) for name, array in part.items()}
    refuses(both, "several networks in one file; seen 'a.', 'b.'; hint: say which")
    _, new, _ = imported(both, prefix="a.")
    assert_same(new, state)
    usual = {
        f"{start}.{name}": array for start, part in (("model", state), ("ema", zeros)) for name, array in part.items()
    }
    report, _, _ = imported(usual)
    assert report.prefix == "model."
    assert len(report.unexpected) == len(state)


def test_dtypes(resnet, imported):
    _, state = resnet
    wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in state.items()}
    wide["fc.bias"] = state["fc.bias"].astype(np.float16)
    report, new, _ = imported(wide)
    assert "values of float16, float64 became float32" in report.notes
    for name, array in new.items():
        assert_close(array, state[name], rtol=1e-3)


def without(state, *names):
    return {name: array for name, array in state.items() if not name.startswith(names)}


def test_what_does_not_fit_is_refused(resnet, refuses):
    _, state = resnet
    bias = state["bn1.bias"]

    def wrong(name, array):
        return {**state, name: array}

    refuses(without(state, "layer3.0.conv1.weight"), "are missing; seen 1 of 122: layer3.0.conv1.weight")
    refuses(
        wrong("layer1.2.conv1.weight", state["layer1.0.conv1.weight"]), "that resnet18 does not have; seen layer1.2"
    )
    refuses(
        wrong("layer1.0.se.fc1.weight", np.ones((2, 8), np.float32)), "that resnet18 does not have; seen layer1.0.se"
    )
    refuses(wrong("bn1.bias", np.ones(9, np.float32)), r"bn1.bias is \(9,\), bn1.bias is \(8,\)")
    refuses(wrong("layer4.1.conv2.weight", np.ones((8, 8, 3, 3), np.float32)), "shapes that are not those of resnet18")
    for value, words in ((np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (-1e300, "beyond float32")):
        spoilt = bias.astype(np.float64)
        spoilt[3] = value
        refuses(wrong("bn1.bias", spoilt), f"bn1.bias holds (values )?{words}")
    refuses(wrong("bn1.running_var", -np.ones(8, np.float32)), "bn1.running_var is a variance, and negative")
    refuses(wrong("bn1.bias", np.ones(8, np.int8)), "not of floating point; seen int8; .*quantised")
    refuses(state, "names are not those of vgg16; .*hint: these are the names of resnet18", arch="vgg16")
    refuses(state, "are missing; .*hint: these are the names of resnet18", arch="resnet34")
    refuses({"a": bias}, "do not say which network", arch=None)
    refuses(state, "another number of classes in the file; seen 5; rule: 7", num_classes=7)
    refuses(without(state, "fc."), "are missing; seen 2 of 122: fc.weight, fc.bias; .*how many classes")


def test_arguments_that_cannot_be(tmp_path):
    with pytest.raises(ArgumentError, match="unknown architecture"):
        import_weights("x.npz", tmp_path / "x.h5", "resnet19")
    with pytest.raises(ArgumentError, match="no such folder"):
        import_weights("x.npz", tmp_path / "nowhere" / "x.h5")
    with pytest.raises(ArgumentError, match="classes and num_classes differ"):
        import_weights("x.npz", tmp_path / "x.h5", num_classes=3, classes=["a"])


def test_a_file_of_ours_is_not_imported(tmp_path, resnet):
    _, state = resnet
    weights.save(tmp_path / "ours.h5", state, weights.WeightsInfo("resnet18", {"num_classes": 5, "width": 8}))
    with pytest.raises(WeightsError, match="already a weights file of minicnn"):
        import_weights(tmp_path / "ours.h5", tmp_path / "again.h5")


def test_what_is_being_done_is_shown(resnet, imported, capsys):
    imported(resnet[1], progress=True)
    shown = capsys.readouterr().err
    assert shown.index("reading (1/3") < shown.index("matching names (2/3") < shown.index("writing (3/3")
    imported(resnet[1])
    assert capsys.readouterr().err == ""


def test_a_new_head(resnet, imported):
    _, state = resnet
    report, new, path = imported(without(state, "fc."), classes=["ant", "bee", "wasp"])
    assert [name for name, _ in report.missing] == ["fc.weight", "fc.bias"]
    assert any("no head" in note for note in report.notes)
    assert weights.describe(path).classes == ["ant", "bee", "wasp"]
    assert new["fc.weight"].shape == (3, 64)
    assert_same(without(new, "fc."), without(state, "fc."))


def test_a_small_stem_and_grey_images(imported):
    model, state = random_state(models.resnet18(width=8, num_classes=3, stem="small", in_channels=1))
    report, new, path = imported(state)
    info = weights.describe(path)
    assert info.arguments == {"num_classes": 3, "width": 8, "stem": "small", "in_channels": 1}
    assert (info.input_size, info.resize, info.channels, len(info.mean)) == (32, None, "L", 1)
    assert any("max pooling" in note for note in report.notes)
    assert_same(new, state)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32))
    with no_grad():
        y = models.resnet18(weights=path).eval()(x)
        assert_close(np.array(y.array), np.array(model(x).array), rtol=1e-6)


def test_a_second_head_may_be_left_out(imported):
    _, state = random_state(models.inception_v3(width=2, num_classes=3))
    report, new, path = imported(state, arch="inception_v3", arguments={"aux_logits": False})
    assert {name.split(".")[0] for name, _ in report.unexpected} == {"AuxLogits"}
    assert not any(name.startswith("AuxLogits.") for name in new)
    info = weights.describe(path)
    assert (info.input_size, info.resize, info.mean) == (299, 342, (0.5, 0.5, 0.5))
    report = import_weights(path.parent / "model.npz", path)
    assert (report.architecture, report.unexpected) == ("inception_v3", [])
    assert_same(weights.read(path)[0], state)


def test_the_size_of_the_images_of_a_cnn(imported):
    report, _, path = imported(models.cnn(num_classes=3, image_size=8).state_dict(), arch=None)
    assert report.arguments == {"num_classes": 3, "image_size": 8}
    assert weights.describe(path).input_size == 8


def test_timms_vgg_has_convolutions_for_linear_layers(imported):
    _, state = random_state(models.vgg11(width=1, num_classes=4))
    table = source("timm's VGG")
    theirs = {table(name): array for name, array in state.items()}
    theirs["pre_logits.fc1.weight"] = theirs["pre_logits.fc1.weight"].reshape(64, 8, 7, 7)
    theirs["pre_logits.fc2.weight"] = theirs["pre_logits.fc2.weight"].reshape(64, 64, 1, 1)
    report, new, _ = imported(theirs, arch="vgg11")
    assert len(report.transposed) == 2
    assert_same(new, state)


def test_networks_are_told_apart_by_their_names(imported):
    for name, arguments in (("resnet34", {"width": 8}), ("vgg11_bn", {"width": 1}), ("alexnet", {"width": 1})):
        model = models.MODELS[name](num_classes=3, **arguments)
        report, _, _ = imported(model.state_dict(), arch=None)
        assert (report.architecture, report.arguments) == (name, {"num_classes": 3, **arguments})


# ---- batch normalisation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("e", [2e-5, 1e-3, 1e-7])
def test_another_epsilon_gives_the_same_results(e):
    """y = w (x - mean) / sqrt(var + e) + b, with variances near zero too."""
    rng = np.random.default_rng(0)
    expected = {f"bn.{part}": (6,) for part in ("weight", "bias", "running_mean", "running_var")}
    arrays = {name: rng.uniform(0.5, 1, 6).astype(np.float32) for name in expected}
    arrays["bn.running_var"][:3] = 0, 1e-6, 5e-6
    foreign = Foreign("a test", dict(arrays), eps={"bn.running_var": e})
    report = ImportReport("file", architecture="resnet18")
    match = match_names(arrays, list(expected), architecture="resnet18")
    state = convert(foreign, match, expected, report, eps={"bn": 1e-5})
    x = rng.standard_normal((10, 6))

    def normalised(state, eps):
        w, b, mean, var = (
            state[f"bn.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return w * (x - mean) / np.sqrt(var + eps) + b

    assert (state["bn.running_var"] >= 0).all()
    assert_close(normalised(state, 1e-5), normalised(arrays, e), rtol=1e-6)
    assert report.converted == [("bn", f"epsilon {e:g} to 1e-05, results the same")]


# ---- classes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"classes": ["a", "b", "c", "d", "e"]},
        {"extra.class_names": ["a", "b", "c", "d", "e"]},
        {f"class_to_idx.{name}": i for i, name in enumerate("abcde")},
        {f"hyper.label2id.{name}": i for i, name in reversed(list(enumerate("abcde")))},
    ],
)
def test_classes_that_the_file_names(values):
    from minicnn.weights.importing import classes_of

    assert classes_of(values, 5) == list("abcde")
    assert classes_of(values, 4) == []
