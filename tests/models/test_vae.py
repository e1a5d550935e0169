"""Variational autoencoders: sizes, the bound and its gradient, seeds, learning, weights files, errors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import gradcheck, models, nn, optim, weights
from minicnn.autograd import Tensor, no_grad
from minicnn.cli import main
from minicnn.errors import ArgumentError, ShapeError, WeightsError
from minicnn.training.pretrained import Pretrained

SMALL = {
    "vae": {"image_size": 5, "in_channels": 1, "hidden1": 7, "hidden2": 6, "latent": 2},
    "conv_vae": {"image_size": 8, "in_channels": 2, "width": 3, "latent": 3},
}


@pytest.fixture(params=SMALL)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    minicnn.manual_seed(0)
    return models.MODELS[name](**SMALL[name])


def images(model, n=3, seed=0) -> Tensor:
    return Tensor(np.random.default_rng(seed).random((n, *model.shape)).astype(np.float32))


def test_the_documents_sizes():
    """784-400-300-2 and back, and a second head."""
    shapes = [p.shape for key, p in models.vae().named_parameters() if key.endswith("weight")]
    assert shapes == [(400, 784), (300, 400), (2, 300), (2, 300), (300, 2), (400, 300), (784, 400)]


def test_what_comes_out(model):
    x = images(model)
    logits, mean, log_variance = model(x)
    assert (logits.shape, mean.shape, log_variance.shape) == (x.shape, (3, model.latent), (3, model.latent))
    assert not np.array_equal(mean.array, log_variance.array)  # two heads
    for made in (model.reconstruct(x), model.sample(3)):
        assert (made.shape, made.dtype, made.requires_grad) == (x.shape, np.float32, False)
        assert 0 < made.array.min() < made.array.max() < 1
    assert_close(nn.functional.sigmoid(model.eval()(x).logits).array, model.reconstruct(x).array, rtol=0)


def test_the_loss_is_its_formula(model):
    """Written out in NumPy, for noise that is given."""
    x = images(model)
    noise = np.random.default_rng(1).standard_normal((3, model.latent)).astype(np.float32)
    found = model.loss(x, noise=noise, beta=0.5)
    with no_grad():
        mean, log_variance = (t.array.astype(np.float64) for t in model.encode(x))
        z = mean + np.exp(log_variance / 2) * noise
        p = 1 / (1 + np.exp(-model.decode(Tensor(z.astype(np.float32))).array.astype(np.float64)))
    t = x.array
    reconstruction = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum() / 3
    kl = (mean**2 + np.exp(log_variance) - 1 - log_variance).sum() / 2 / 3
    terms = [term.item() for term in found]
    assert terms == pytest.approx([reconstruction + 0.5 * kl, reconstruction, kl], rel=1e-5)
    assert found.total.item() == terms[0]


def test_the_bound_lies_below_the_likelihood():
    """For a decoder of one number z, p(x) is an integral that a sum over a grid gives."""
    minicnn.manual_seed(1)
    model = models.vae(2, hidden1=4, hidden2=4, latent=1).double()
    x = Tensor(np.array([0.0, 1, 1, 0]).reshape(1, 1, 2, 2))
    grid = np.linspace(-8, 8, 4001)[:, None]
    with no_grad():
        p = nn.functional.sigmoid(model.decode(Tensor(grid))).array.reshape(-1, 4)
        bound = -np.mean([model.loss(x).total.item() for _ in range(400)])
    likelihood = (np.where(x.array.ravel() == 1, p, 1 - p).prod(axis=1) * np.exp(-(grid[:, 0] ** 2) / 2)).sum()
    logarithm = math.log(likelihood * (grid[1, 0] - grid[0, 0]) / math.sqrt(2 * math.pi))
    assert logarithm - 0.5 < bound < logarithm


def test_gradients(model):
    model.double()
    x = np.random.default_rng(2).random((2, *model.shape))
    noise = np.random.default_rng(3).standard_normal((2, model.latent))
    parameters = dict(model.named_parameters())
    report = gradcheck(lambda x: model.loss(x, noise=noise).total, [x], parameters=parameters, sample=12)
    assert len(report.inputs) == 1 + len(parameters)


def test_same_seed_same_bits(name):
    runs = []
    for _ in range(2):
        minicnn.manual_seed(7)
        model = models.MODELS[name](**SMALL[name])
        optimizer = optim.Adam(model.parameters(), lr=1e-2)
        for step in range(3):
            optimizer.zero_grad()
            model.loss(images(model, seed=step)).total.backward()
            optimizer.step()
        runs.append([*model.state_dict().values(), model.sample(2).array])
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_it_learns_and_the_kl_keeps_codes_near_the_prior(model):
    """Two kinds of images; without the KL their codes fly apart."""
    kinds = images(model, 2, seed=5).array.round()
    x = Tensor(np.repeat(kinds, 8, axis=0))
    spread = {}
    for beta in (1.0, 0.0):
        minicnn.manual_seed(0)
        trained = type(model)(**SMALL["vae" if isinstance(model, models.VAE) else "conv_vae"])
        optimizer = optim.Adam(trained.parameters(), lr=1e-2)
        first = trained.loss(x).total.item()
        for _ in range(80):
            optimizer.zero_grad()
            loss = trained.loss(x, beta=beta)
            loss.total.backward()
            optimizer.step()
        assert loss.reconstruction.item() < 0.7 * first
        spread[beta] = loss.kl.item()
    assert spread[1.0] < 5 < spread[0.0]


# ---- files ----------------------------------------------------------------------------------------------------------


def test_weights_files(name, model, tmp_path):
    path = tmp_path / "vae.h5"
    info = weights.WeightsInfo(name, SMALL[name], input_size=model.shape[1], mean=(0.0,), std=(1.0,), channels="L")
    weights.save(path, model.state_dict(), info)
    again = models.MODELS[name](weights=path)
    assert again.shape == model.shape
    assert np.array_equal(again.reconstruct(images(model)).array, model.reconstruct(images(model)).array)
    with pytest.raises(WeightsError, match="the weights do not fit the network"):
        models.MODELS[name](weights=path, latent=4)
    weights.save(path, model.state_dict(), replace(info, arguments={**SMALL[name], "latent": 60_000}))
    with pytest.raises(WeightsError, match="the file's arguments do not fit its weights"):
        models.MODELS[name](weights=path)


def test_a_classifier_cannot_be_made_of_it(name, model, tmp_path):
    weights.save(tmp_path / "vae.h5", model.state_dict(), weights.WeightsInfo(name, SMALL[name], ["a", "b"]))
    with pytest.raises(WeightsError, match=r"weights of a network that tells no classes apart; seen (conv_)?vae; rule"):
        Pretrained(tmp_path / "vae.h5").build(["a", "b"])


def test_summary_on_the_command_line(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["summary", name])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "input (1, 1, 28, 28)" in out
    assert f"{sum(p.numel() for p in models.MODELS[name]().parameters()):,} parameters" in out


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: models.vae(0), ArgumentError, "VAE: image_size is not valid; seen image_size=0; rule: a whole number"),
        (
            lambda: models.vae(hidden2=0),
            ArgumentError,
            "VAE: hidden2 is not valid; seen hidden2=0; rule: a whole number",
        ),
        (
            lambda: models.vae(latent=2.5),
            ArgumentError,
            "VAE: latent is not valid; seen latent=2.5; rule: a whole numb",
        ),
        (lambda: models.conv_vae(30), ArgumentError, "ConvVAE: image_size is not valid; seen image_size=30; rule: a m"),
        (
            lambda: models.vae(4).sample(0),
            ArgumentError,
            "VAE.sample: n is not a number of images; seen n=0; rule: a w",
        ),
        (
            lambda: models.vae(4).loss(Tensor(np.zeros((2, 1, 4, 5), np.float32))),
            ShapeError,
            "VAE: the images do not fit the network; seen x (2, 1, 4, 5); rule: x: (N, 1, 4, 4)",
        ),
        (
            lambda: models.vae(4).loss(Tensor(np.zeros((0, 1, 4, 4), np.float32))),
            ShapeError,
            "VAE.loss: there are no images; seen x (0, 1, 4, 4); rule: N >= 1",
        ),
        (
            lambda: models.vae(4).loss(Tensor(np.full((2, 1, 4, 4), -0.5, np.float32))),
            ArgumentError,
            "VAE.loss: x is not between 0 and 1; seen -0.5..-0.5; rule: 0 <= x <= 1; hint: use ToTensor() without Norm",
        ),
        (
            lambda: models.vae(4).loss(Tensor(np.zeros((2, 1, 4, 4), np.float32)), beta=-1),
            ArgumentError,
            "VAE.loss: beta is not valid; seen beta=-1; rule: beta >= 0",
        ),
        (
            lambda: models.vae(4).decode(Tensor(np.zeros((2, 3), np.float32))),
            ShapeError,
            "VAE: the codes do not fit the network; seen z (2, 3); rule: z: (N, 2)",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(text)
