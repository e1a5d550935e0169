"""A variational autoencoder on the GPU: loss, gradients, reconstructions and samples as on the CPU."""

from __future__ import annotations

import numpy as np
from compare import assert_close

import minicnn
from minicnn.autograd import Tensor
from minicnn.models import ConvVAE
from minicnn.nn import functional as F  # noqa: N812


def test_as_on_the_cpu(gpu):
    minicnn.manual_seed(0)
    here, there = (ConvVAE(8, 2, width=4, latent=3) for _ in range(2))
    there.load_state_dict(here.state_dict())
    there.to("cuda")
    x = Tensor(np.random.default_rng(0).random((3, 2, 8, 8)).astype(np.float32))
    found = []
    for model, where in ((here, "cpu"), (there, "cuda")):
        minicnn.manual_seed(1)  # the noise is drawn on the CPU, and so the same
        loss = model.loss(x.to(where))
        loss.total.backward()
        images = [model.reconstruct(x.to(where)), model.sample(2)]
        assert {t.device for t in (*loss, *images)} == {where}
        found.append([t.detach().cpu().numpy() for t in (*loss, *images, *(p.grad for p in model.parameters()))])
    for ours, expected in zip(found[1], found[0], strict=True):
        assert_close(ours, expected, rtol=2e-4, atol=1e-6)


def test_binary_cross_entropy(gpu):
    p, target = np.array([0.0, 0.3, 1.0], np.float32), np.array([0.0, 0.6, 1.0], np.float32)
    for function, x in ((F.binary_cross_entropy, p), (F.binary_cross_entropy_with_logits, 300 * p - 100)):
        expected = function(Tensor(x), Tensor(target), reduction="none").array
        there = function(Tensor(x).to("cuda"), Tensor(target).to("cuda"), reduction="none")
        assert_close(there.cpu().numpy(), expected, rtol=1e-6, atol=1e-6)
