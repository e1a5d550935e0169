r"""Variational autoencoders (formula D4.4, system S6; Kingma and Welling 2014): dense, and with convolutions.

The model says how an image x comes about: a code z is drawn from the prior p(z) = N(0, I), and each pixel of x is 1
with the probability that the decoder gives, p(x|z). (The document prints the prior's N(0, I) beside p(x|z); it is that
of p(z).) What is wanted is a decoder under which ln p(x) = ln E_{p(z)}[p(x|z)] is large for real images. That
expectation cannot be computed, and hardly any z drawn from p(z) fits a given x; so an encoder learns where to look:
q(z|x) = N(mu(x), Sigma(x)), with Sigma diagonal. By Jensen's inequality, for any q::

    ln p(x) = ln E_q[p(x|z) p(z) / q(z|x)] >= E_q[ln p(x|z)] - KL(q(z|x) || p(z)) = ELBO(x)

and the gap is KL(q(z|x) || p(z|x)). The loss is -ELBO, in nats for an image, the mean over the batch::

    reconstruction   -E_q[ln p(x|z)], one draw of z: the sum over the pixels of the binary cross-entropy of x
    kl               KL(N(mu, Sigma) || N(0, I)) = 1/2 sum_j (mu_j^2 + s_j - 1 - ln s_j),  s_j the variances

The KL in closed form: E_q[ln q(z_j) - ln p(z_j)] with ln q = -1/2 (ln 2 pi + ln s + (z - mu)^2 / s) and
ln p = -1/2 (ln 2 pi + z^2); the expectations are E[(z - mu)^2] = s and E[z^2] = mu^2 + s, which gives the line above.
The encoder puts out l = ln s, so that any number is a variance. Then dKL/dmu = mu and dKL/dl = (e^l - 1) / 2: the KL
draws all codes to the origin and all variances to 1, the reconstruction pushes codes of unlike images apart.

The gradient of the reconstruction with respect to mu and l goes through z = mu + e^(l/2) noise
(`nn.functional.gaussian_sample`): with noise ~ N(0, I), E_q[f(z)] = E_noise[f(mu + e^(l/2) noise)], and what the
expectation is taken over no longer depends on what is learned.

Mean and variance are two heads, two linear layers of the same features. One output for both (as the printed listing
has it) ties the spread of a code to its place, and without the KL nothing keeps the codes where the prior draws.

Pixels between 0 and 1, grey values, are taken as the probability of a 1. The reconstruction is then a cross-entropy
that no decoder brings to 0: at best it is the entropy of the pixels.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

from minicnn import nn
from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.models.pretrained import LARGEST, Shape, check_whole, make
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn.likelihoods import check_unit_interval, standard_normal
from minicnn.ops.windows import is_whole

MOST_IMAGES = 2**20  # of one call of `sample`


class VAELoss(NamedTuple):
    """The loss and its terms, single numbers, in nats for an image."""

    total: Tensor  # reconstruction + beta kl; -ELBO for beta 1
    reconstruction: Tensor
    kl: Tensor


class VAEOutput(NamedTuple):
    """What a forward pass gives."""

    logits: Tensor  # of the pixels: (N, in_channels, H, W)
    mean: Tensor  # of the codes: (N, latent)
    log_variance: Tensor  # of the codes: (N, latent)


class Autoencoder(nn.Module):
    """What both networks share; a subclass has `features`, the heads `mean` and `log_variance`, and `decoder`.

    Attributes
    ----------
    shape : tuple
        (in_channels, H, W) of the images.
    latent : int
        Numbers in a code.
    """

    heads: tuple[str, ...] = ()  # no classes, so nothing that other classes would replace
    features: nn.Sequential
    mean: nn.Linear
    log_variance: nn.Linear
    decoder: nn.Sequential
    shape: tuple[int, int, int]
    latent: int

    def forward(self, x: Tensor, noise: Any = None) -> VAEOutput:
        """Images (N, in_channels, H, W) to the logits of their reconstructions; `noise`: see `gaussian_sample`.

        In evaluation mode z is the mean, and nothing is drawn unless `noise` is given.
        """
        mean, log_variance = self.encode(x)
        drawn = self.training or noise is not None
        z = F.gaussian_sample(mean, log_variance, noise) if drawn else mean
        return VAEOutput(self.decode(z), mean, log_variance)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (N, latent)."""
        if x.shape[1:] != self.shape:
            sizes = ", ".join(map(str, self.shape))
            raise ShapeError(
                "the images do not fit the network",
                called=type(self).__name__,
                seen=f"x {x.shape}",
                rule=f"x: (N, {sizes})",
            )
        features = self.features(x)
        return self.mean(features), self.log_variance(features)

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the pixels (N, in_channels, H, W) of codes (N, latent); their sigmoid is the image."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ShapeError(
                "the codes do not fit the network",
                called=type(self).__name__,
                seen=f"z {z.shape}",
                rule=f"z: (N, {self.latent})",
            )
        return self.decoder(z)

    def loss(self, x: Tensor, noise: Any = None, beta: float = 1.0) -> VAELoss:
        """Reconstruction + beta KL, in nats for an image; minus the evidence lower bound for beta 1.

        Parameters
        ----------
        x : Tensor (N, in_channels, H, W)
            Images in [0, 1] (`transforms.ToTensor` without `Normalize`).
        noise : Tensor or array (N, latent), optional
            Standard normal; by default drawn from the global generator, in evaluation mode too: the bound is a mean
            over q.
        beta : float
            0 leaves the KL out, which is no variational autoencoder; above 1 see Higgins et al. 2017.

        Raises
        ------
        ShapeError, DTypeError, ArgumentError
        """
        name = type(self).__name__
        if not isinstance(beta, (int, float)) or not 0 <= beta < float("inf"):
            raise ArgumentError("beta is not valid", called=f"{name}.loss", seen=f"beta={beta!r}", rule="beta >= 0")
        if x.ndim and not len(x):
            raise ShapeError("there are no images", called=f"{name}.loss", seen=f"x {x.shape}", rule="N >= 1")
        mean, log_variance = self.encode(x)
        check_unit_interval(x, f"{name}.loss", "x", hint="use ToTensor() without Normalize(...)")
        logits = self.decode(F.gaussian_sample(mean, log_variance, noise))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") * (1.0 / len(x))
        kl = F.gaussian_kl(mean, log_variance, reduction="mean")
        return VAELoss(reconstruction + kl * float(beta), reconstruction, kl)

    @no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images in [0, 1], (N, in_channels, H, W), from the means of the codes of x."""
        return F.sigmoid(self.decode(self.encode(x)[0]))

    @no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` new images in [0, 1], from codes drawn from the prior by the global generator."""
        if not is_whole(n) or not 1 <= n <= MOST_IMAGES:
            raise ArgumentError(
                "n is not a number of images",
                called=f"{type(self).__name__}.sample",
                seen=f"n={n!r}",
                rule=f"a whole number, 1..{MOST_IMAGES}",
            )
        return F.sigmoid(self.decode(standard_normal((int(n), self.latent), self.mean.weight)))


class VAE(Autoencoder):
    """The document's sizes by default: 784-400-300, heads 300-2, and 2-300-400-784 back, with ReLU between.

    Parameters
    ----------
    image_size : int
        Height and width of the images.
    in_channels : int
    hidden1, hidden2 : int
        Widths of the encoder's layers; the decoder has them in reverse.
    latent : int
        Numbers in a code.
    """

    def __init__(
        self, image_size: int = 28, in_channels: int = 1, hidden1: int = 400, hidden2: int = 300, latent: int = 2
    ) -> None:
        super().__init__()
        _check("VAE", image_size, in_channels, latent, 1)
        check_whole("VAE", hidden1=hidden1, hidden2=hidden2)
        self.shape, self.latent = (in_channels, image_size, image_size), latent
        pixels = in_channels * image_size**2
        self.features = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden1), nn.ReLU(), nn.Linear(hidden1, hidden2), nn.ReLU()
        )
        self.mean = nn.Linear(hidden2, latent)
        self.log_variance = nn.Linear(hidden2, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden2),
            nn.ReLU(),
            nn.Linear(hidden2, hidden1),
            nn.ReLU(),
            nn.Linear(hidden1, pixels),
            nn.Unflatten(1, self.shape),
        )


class ConvVAE(Autoencoder):
    """Two convolutions of stride 2 to a quarter of the size, and two transposed ones back; kernels of 4 x 4.

    Parameters
    ----------
    image_size : int
        Height and width of the images; a multiple of 4.
    in_channels : int
    width : int
        Channels of the first convolution; the second one has twice as many.
    latent : int
        Numbers in a code.
    """

    def __init__(self, image_size: int = 28, in_channels: int = 1, width: int = 32, latent: int = 16) -> None:
        super().__init__()
        _check("ConvVAE", image_size, in_channels, latent, 4)
        check_whole("ConvVAE", width=width)
        self.shape, self.latent = (in_channels, image_size, image_size), latent
        small = (2 * width, image_size // 4, image_size // 4)
        values = small[0] * small[1] * small[2]
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mean = nn.Linear(values, latent)
        self.log_variance = nn.Linear(values, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, values),
            nn.Unflatten(1, small),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, in_channels, 4, stride=2, padding=1),
        )


def _check(called: str, image_size: int, in_channels: int, latent: int, multiple: int) -> None:
    check_whole(called, image_size=image_size, in_channels=in_channels, latent=latent)
    if image_size % multiple:
        raise ArgumentError(
            "image_size is not valid",
            called=called,
            seen=f"image_size={image_size!r}",
            rule=f"a multiple of {multiple}",
        )


def _largest_vae(
    image_size: int = 28, in_channels: int = 1, hidden1: int = 400, hidden2: int = 300, latent: int = 2
) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    _check("VAE", image_size, in_channels, latent, 1)
    check_whole("VAE", hidden1=hidden1, hidden2=hidden2)
    return {
        "features.1.weight": (hidden1, in_channels * image_size**2),
        "features.3.weight": (hidden2, hidden1),
        "mean.weight": (latent, hidden2),
    }


def _largest_conv_vae(
    image_size: int = 28, in_channels: int = 1, width: int = 32, latent: int = 16
) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    _check("ConvVAE", image_size, in_channels, latent, 4)
    check_whole("ConvVAE", width=width)
    return {
        "features.0.weight": (width, in_channels, 4, 4),
        "features.2.weight": (2 * width, width, 4, 4),
        "mean.weight": (latent, 2 * width * (image_size // 4) ** 2),
    }


LARGEST.update(vae=_largest_vae, conv_vae=_largest_conv_vae)


def vae(
    image_size: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    hidden1: int | None = None,
    hidden2: int | None = None,
    latent: int | None = None,
) -> VAE:
    """The dense variational autoencoder of document system S6.

    Parameters
    ----------
    image_size, in_channels, hidden1, hidden2, latent : optional
        See `VAE`; with `weights`, those of the file, which cannot be changed.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    """
    given: dict[str, Any] = {
        "image_size": image_size,
        "in_channels": in_channels,
        "latent": latent,
        "hidden1": hidden1,
        "hidden2": hidden2,
    }
    return make("vae", VAE, weights, heads=VAE.heads, **given)


def conv_vae(
    image_size: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    width: int | None = None,
    latent: int | None = None,
) -> ConvVAE:
    """The variational autoencoder with convolutions.

    Parameters
    ----------
    image_size, in_channels, width, latent : optional
        See `ConvVAE`; with `weights`, those of the file, which cannot be changed.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    """
    given: dict[str, Any] = {"image_size": image_size, "in_channels": in_channels, "latent": latent, "width": width}
    return make("conv_vae", ConvVAE, weights, heads=ConvVAE.heads, **given)
