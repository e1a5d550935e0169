"""Whole networks on the GPU: the same numbers as on the CPU, forward, backward and in a step of fine-tuning."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare import assert_close
from PIL import Image

import minicnn
from minicnn import nn, optim, weights
from minicnn.autograd import Tensor
from minicnn.backends import cuda
from minicnn.cli import main
from minicnn.errors import DeviceError, GraphError
from minicnn.models import resnet18
from minicnn.models.cnn import CNN
from minicnn.training import Trainer


def networks(width=4, classes=5):
    """The same narrow ResNet-18 twice."""
    minicnn.manual_seed(0)
    here = resnet18(num_classes=classes, width=width)
    there = resnet18(num_classes=classes, width=width)
    there.load_state_dict(here.state_dict())
    return here, there


def batch(count=3, side=33, classes=5):
    rng = np.random.default_rng(1)
    images = rng.standard_normal((count, 3, side, side)).astype(np.float32)
    return Tensor(images), Tensor(rng.integers(0, classes, count))


def test_resnet18_forward_and_backward(gpu):
    here, there = networks()
    there.to("cuda")
    images, labels = batch()
    losses = []
    for model, where in ((here, "cpu"), (there, "cuda")):
        scores = model(images.to(where))
        loss = nn.CrossEntropyLoss()(scores, labels.to(where))
        assert loss.device == where
        loss.backward()
        losses.append((scores.detach().cpu().numpy(), loss.item()))
    assert_close(losses[1][0], losses[0][0], rtol=2e-5)
    assert losses[1][1] == pytest.approx(losses[0][1], rel=1e-5)
    wanted = dict(here.named_parameters())
    for name, parameter in there.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.device == "cuda"
        assert_close(parameter.grad.cpu().numpy(), wanted[name].grad.numpy(), rtol=2e-3)
    for name, values in there.state_dict().items():  # running statistics moved as on the CPU
        assert_close(values, here.state_dict()[name], rtol=2e-5)


def test_two_runs_give_the_same_bits(gpu):
    images, labels = batch()
    states = []
    for _ in range(2):
        _, model = networks()
        model.to("cuda")
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        nn.CrossEntropyLoss()(model(images.to("cuda")), labels.to("cuda")).backward()
        optimizer.step()
        states.append(model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_what_is_frozen_keeps_its_bytes(gpu):
    _, model = networks()
    model.to("cuda").freeze()
    model.fc.unfreeze()
    before = model.state_dict()
    images, labels = batch()
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    nn.CrossEntropyLoss()(model(images.to("cuda")), labels.to("cuda")).backward()
    optimizer.step()
    after = model.state_dict()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_a_step_of_training_stays_on_the_gpu(gpu, monkeypatch):
    """What comes back is the loss, whether labels are in range, and the scores: nothing of the network's size."""
    _, model = networks()
    model.to("cuda")
    trainer = Trainer(model, optim.Adam(model.parameters()), nn.CrossEntropyLoss(), progress=False)
    sizes = []
    original = cuda.to_cpu
    monkeypatch.setattr(cuda, "to_cpu", lambda x: (sizes.append(x.size), original(x))[1])
    trainer.fit([batch()], epochs=1)
    assert sizes
    assert max(sizes) <= 3 * 5


def test_trainer_evaluates_and_predicts(gpu):
    here, there = networks()
    there.to("cuda")
    images, labels = batch()
    found = []
    for model in (here, there):
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), progress=False)
        found.append((trainer.evaluate([(images, labels)]).probabilities, trainer.predict(images)))
    assert_close(found[1][0], found[0][0], rtol=2e-5)
    assert_close(found[1][1], found[0][1], rtol=2e-5)


def test_cnn_with_dropout_learns(gpu):
    minicnn.manual_seed(0)
    model = nn.Sequential(CNN(num_classes=3, image_size=8), nn.Dropout(0.2)).to("cuda")
    images, labels = batch(8, 8, 3)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(images.to("cuda")), labels.to("cuda"))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_there_and_back(gpu):
    _, model = networks()
    before = model.state_dict()
    model.to("cuda")
    assert all(p.device == "cuda" for p in model.parameters())
    assert {type(value) for value in model.state_dict().values()} == {np.ndarray}
    model.load_state_dict(before)
    model.to("cpu")
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())


def test_devices_do_not_mix(gpu):
    model = nn.Conv2d(3, 4, 3).to("cuda")
    images, _ = batch()
    with pytest.raises(DeviceError, match="different devices"):
        model(images)
    with pytest.raises(DeviceError, match=r"tensor\.cpu\(\)"):
        images.to("cuda").numpy()
    with pytest.raises(GraphError, match="detach"):
        Tensor(np.ones(2, np.float32), requires_grad=True).to("cuda")


def test_finetune_on_the_gpu(gpu, tmp_path, capsys):
    """The command line, with a folder of pictures; then the model that it wrote, on either device."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(level - 20, level + 20, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    minicnn.manual_seed(0)
    arguments = {"num_classes": 3, "width": 4, "stem": "small"}
    info = weights.WeightsInfo("resnet18", arguments, ["a", "b", "c"], 16, (0.5,) * 3, (0.25,) * 3)
    weights.save(tmp_path / "narrow.h5", resnet18(**arguments).state_dict(), info)
    photos, run = str(tmp_path / "photos"), str(tmp_path / "run")
    command(["finetune", photos, "--weights", str(tmp_path / "narrow.h5"), "--device", "cuda", "--epochs", "2"], run)
    assert "fine-tuned" in capsys.readouterr().out
    answers = []
    for device in ("cpu", "cuda"):
        command(["predict", f"{run}/model.h5", f"{photos}/dark/0.png", "--json", "--device", device])
        (answer,) = json.loads(capsys.readouterr().out).values()
        answers.append(dict(answer))
    assert answers[0] == pytest.approx(answers[1], rel=1e-4)


def command(words, out=""):
    with pytest.raises(SystemExit) as stop:
        main([*words, *(["--out", out] if out else [])])
    assert stop.value.code == 0
