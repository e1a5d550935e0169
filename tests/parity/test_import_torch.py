"""Files as PyTorch and safetensors write them: the same arrays, and whole networks with the same results."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch_files
from compare import assert_close

from minicnn import Tensor, models, no_grad, weights
from minicnn.errors import WeightsError
from minicnn.models.importing import import_weights
from minicnn.weights.importers import as_float32, read_foreign

torch = pytest.importorskip("torch")
from parity import torch_networks, torch_resnet  # noqa: E402

SAVES = {
    "zip": torch.save,
    "zip, protocol 4": lambda state, path: torch.save(state, path, pickle_protocol=4),
    "stream": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
}


def trained(network, seed=0):
    """PyTorch's own initial values, and batch normalisations as after a training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, array in [*network.named_parameters(), *network.named_buffers()]:
            if array.ndim == 1 and not name.startswith("fc"):
                low, high = (0.5, 1.5) if name.endswith(("weight", "var")) else (-0.3, 0.3)
                array.uniform_(low, high, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trained(torch_resnet.resnet18(width=8, num_classes=5))


def assert_same_logits(path, network, name="resnet18", size=48, rtol=1e-5):
    x = np.random.default_rng(1).standard_normal((1, 3, size, size)).astype(np.float32)
    with torch.no_grad(), no_grad():
        expected = network(torch.tensor(x)).numpy()
        found = np.array(models.MODELS[name](weights=path).eval()(Tensor(x)).array)
    assert_close(found, expected, rtol=rtol)


@pytest.mark.parametrize("save", SAVES)
def test_every_kind_of_tensor(save, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "plain": base,
        "transposed": base.t(),
        "part": base[1:, 2:5],
        "shared": base.view(-1)[3:9],
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": base.half(),
        "bfloat16": base.bfloat16() + 0.1,
        "double": base.double() / 3,
        "long": base.long(),
        "bool": base > 3,
        "byte": base.byte(),
        "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
    }
    SAVES[save](state, tmp_path / "t.pt")
    found = read_foreign(tmp_path / "t.pt").arrays
    assert list(found) == list(state)
    for name, tensor in state.items():
        expected = tensor.detach().float().numpy()
        assert_close(as_float32(found[name]), expected, rtol=0, atol=0) if tensor.numel() else None
        assert found[name].shape == expected.shape
        if tensor.dtype != torch.bfloat16:
            assert found[name].dtype == tensor.detach().numpy().dtype


@pytest.mark.parametrize("form", ["as_zip", "as_stream", "as_tar"])
def test_the_files_of_other_tests_are_pytorchs(form, tmp_path):
    """What `torch_files` puts together by hand, PyTorch reads; the tar format too, which it no longer writes."""
    rng = np.random.default_rng(0)
    state = {"a.w": rng.standard_normal((3, 2, 5)).astype(np.float32), "d": rng.standard_normal(4), "n": np.arange(3)}
    (tmp_path / "t.pth").write_bytes(getattr(torch_files, form)(state))
    theirs = torch.load(tmp_path / "t.pth", weights_only=False)
    ours = read_foreign(tmp_path / "t.pth").arrays
    assert list(theirs) == list(ours) == list(state)
    for name, array in state.items():
        assert_close(theirs[name].detach().numpy(), array)
        assert_close(np.asarray(ours[name]), array)


@pytest.mark.parametrize("save", ["zip", "stream"])
def test_whole_networks(save, tmp_path, network):
    SAVES[save](network.state_dict(), tmp_path / "r.pth")
    report = import_weights(tmp_path / "r.pth", tmp_path / "r.h5", "resnet18")
    assert (len(report.loaded), report.missing, report.unexpected, report.renamed) == (122, [], [], [])
    assert_same_logits(tmp_path / "r.h5", network)


def test_half_a_download_says_how_long_the_whole_is(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    for size in (20_000, len(content) // 2, len(content) - 1):
        (tmp_path / "half.pth").write_bytes(content[:size])
        with pytest.raises(WeightsError, match=f"cut off.*seen {size:,} bytes; rule: {len(content):,} bytes"):
            read_foreign(tmp_path / "half.pth")


def test_a_training_checkpoint(tmp_path, network):
    """DataParallel, optimizer and scheduler, as in PyTorch's example of ImageNet."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer.step()
    network.load_state_dict(before)
    checkpoint = {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": collections.OrderedDict((f"module.{name}", t) for name, t in network.state_dict().items()),
        "best_acc1": torch.tensor(71.5),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 30).state_dict(),
        "class_to_idx": {"bee": 1, "ant": 0, "wasp": 2, "fly": 3, "gnat": 4},
    }
    torch.save(checkpoint, tmp_path / "c.pth.tar")
    report = import_weights(tmp_path / "c.pth.tar", tmp_path / "c.h5")
    assert report.prefix == "state_dict.module."
    assert len(report.loaded) == 122
    assert {name.split(".")[0] for name, _ in report.unexpected} == {"best_acc1", "optimizer"}
    assert weights.describe(tmp_path / "c.h5").classes == ["ant", "bee", "wasp", "fly", "gnat"]
    assert_same_logits(tmp_path / "c.h5", network)


def test_safetensors(tmp_path, network):
    library = pytest.importorskip("safetensors.torch")
    table = {name: f"backbone.{name}" for name in network.state_dict()}
    library.save_file({table[name]: t for name, t in network.state_dict().items()}, tmp_path / "m.safetensors")
    import_weights(tmp_path / "m.safetensors", tmp_path / "m.h5")
    assert_same_logits(tmp_path / "m.h5", network)


def test_half_and_bfloat16_networks(tmp_path, network):
    for kind in (torch.float16, torch.bfloat16):
        half = {name: t.to(kind) if t.is_floating_point() else t for name, t in network.state_dict().items()}
        torch.save(half, tmp_path / "h.pth")
        report = import_weights(tmp_path / "h.pth", tmp_path / "h.h5")
        assert f"values of {str(kind).removeprefix('torch.')} became float32" in report.notes
        state, _ = weights.read(tmp_path / "h.h5")
        for name, tensor in half.items():
            expected = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
            assert_close(state[name], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "build"), [("resnet18", torch_resnet.resnet18), ("resnet50", torch_networks.ResNet50)]
)
def test_networks_at_full_size(name, build, tmp_path):
    """1000 classes, as torchvision's: prepared for ImageNet."""
    torch.manual_seed(1)
    network = trained(build())
    torch.save(network.state_dict(), tmp_path / f"{name}.pth")
    report = import_weights(tmp_path / f"{name}.pth", tmp_path / f"{name}.h5")
    assert (report.architecture, report.arguments) == (name, {"num_classes": 1000})
    info = weights.describe(tmp_path / f"{name}.h5")
    assert (info.resize, info.input_size, info.mean) == (256, 224, (0.485, 0.456, 0.406))
    assert_same_logits(tmp_path / f"{name}.h5", network, name, rtol=1e-4)
