"""S6: a variational autoencoder: codes of two numbers for images, and new images from codes.

    python tutorials/documents/autoencoder.py [EPOCHS]

Three networks learn the digits: the variational autoencoder of formula D4.4, the same without its KL term, and the
printed listing's. Where Fashion-MNIST is installed (apt install dataset-fashion-mnist), the document's sizes
784-400-300-2 and a network with transposed convolutions learn clothes. Pictures: autoencoder-*.png.

What is other than in the printed listing, and why:

- Printed, mean and variance are the same output of the encoder. Then an image can say where its code lies only by
  saying how uncertain it is, and no code left of 0 can be uncertain. Below there are two heads; the second gives the
  logarithm of the variance, since any number is the logarithm of a variance.
- Printed, the loss is the reconstruction alone. Noise makes reconstruction worse, so the network shrinks the variances
  towards 0 and moves the codes apart: an ordinary autoencoder, and a code drawn from N(0, I) means nothing to its
  decoder. The bound of D4.4 has a second term, KL(q(z|x) || N(0, I)), that keeps the plane filled where we draw.
- The document prints p(x|z) = N(0, I). That is the prior p(z); p(x|z) is what the decoder says.
"""

import sys
import time

import numpy as np
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import minicnn
from minicnn import Tensor, models, optim
from minicnn.data import builtin, digits, fashion_mnist, stratified_split

# -ELBO and its terms; deviation of the codes of all images; median deviation of the code of one image; the share of
# draws from N(0, I) that lie within 2 deviations of an image's code; share right of a linear classifier of codes
COLUMNS = ("loss", "reconstruction", "kl", "spread", "deviation", "filled", "accuracy")
EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 30


class Printed(models.VAE):
    """As printed: one output is the mean and the (logarithm of the) variance."""

    def encode(self, x):  # noqa: D102
        mean, _ = super().encode(x)
        return mean, mean


def learn(model, images, epochs, beta=1.0, batch=100):
    """Adam on the loss of formula D4.4, with the KL times beta."""
    optimizer, rng = optim.Adam(model.parameters(), lr=2e-3), np.random.default_rng(0)
    minicnn.manual_seed(0)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(images)), len(images) // batch):
            optimizer.zero_grad()
            model.loss(Tensor(images[rows]), beta=beta).total.backward()
            optimizer.step()
    return model


def judge(name, model, train, test):
    """What the network makes of images that it has not seen; a line of a table."""
    (x, labels), (others, other_labels) = train, test
    minicnn.manual_seed(1)
    with minicnn.no_grad():
        loss = [term.item() for term in model.loss(Tensor(others))]
        codes, log_variance = (part.numpy() for part in model.encode(Tensor(x)))
        other_codes = model.encode(Tensor(others))[0].numpy()
    classifier = LogisticRegression(max_iter=5000).fit(codes, labels)
    draws, deviations = np.random.default_rng(2).standard_normal((500, 1, model.latent)), np.exp(log_variance / 2)
    near = (np.abs(draws - codes) < 2 * deviations).all(axis=2).any(axis=1)
    found = {"loss": loss[0], "reconstruction": loss[1], "kl": loss[2], "spread": codes.std()}
    found |= {"deviation": np.median(deviations), "filled": near.mean()}
    found["accuracy"] = classifier.score(other_codes, other_labels)
    print(f"{name:16}" + "".join(f"{value:15.2f}" for value in found.values()))
    return found, other_codes


def tiles(images, columns):
    """Images (N, 1, H, W) as one, with a grey line between."""
    n, _, height, width = images.shape
    framed = np.full((n, height + 1, width + 1), 0.5)
    framed[:, :height, :width] = images[:, 0]
    return (
        framed.reshape(n // columns, columns, height + 1, width + 1).swapaxes(1, 2).reshape(-1, columns * (width + 1))
    )


def picture(path, panels, labels=None):
    """Panels side by side: images in tiles, or codes on the plane, each written as its class."""
    figure = Figure(figsize=(4.2 * len(panels), 4.4), layout="constrained")
    for axes, (title, shown) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        axes.set_title(title)
        if labels is None:
            axes.imshow(shown, cmap="gray_r", vmin=0, vmax=1)
            axes.axis("off")
            continue
        for code, label in zip(shown[:300], labels, strict=False):
            axes.text(*code, str(label), fontsize=7, ha="center", va="center")
        turn = np.linspace(0, 2 * np.pi, 100)
        axes.plot(2 * np.cos(turn), 2 * np.sin(turn), "k--", lw=1)
        reach = 1.05 * max(2.2, np.abs(shown).max())
        axes.set(
            xlim=(-reach, reach),
            ylim=(-reach, reach),
            xlabel="z1 (circle: 2 deviations of the prior)",
            ylabel="z2",
            aspect="equal",
        )
    figure.savefig(path, dpi=100)


# ---- digits: with the KL, without it, and as printed -----------------------------------------------------------------

start, data = time.perf_counter(), digits()
pixels = (data.images / np.float32(255))[:, None].astype(np.float32)
targets = np.asarray(data.targets)
first, rest = stratified_split(targets, 0.8, seed=0)
train, test = (pixels[first], targets[first]), (pixels[rest], targets[rest])

constant = np.clip(train[0].mean(axis=0), 1e-3, 1 - 1e-3)  # the best network that does not look at its images
guess = -(test[0] * np.log(constant) + (1 - test[0]) * np.log(1 - constant)).sum() / len(test[0])
print(f"loss is -ELBO in nats for an image; the mean image alone has {guess:.2f}")
print(" " * 16 + "".join(f"{word:>15}" for word in COLUMNS))

networks, results, codes = {}, {}, {}
for name, kind, beta in (("with KL", models.VAE, 1.0), ("without KL", models.VAE, 0.0), ("as printed", Printed, 0.0)):
    minicnn.manual_seed(0)
    networks[name] = learn(kind(image_size=8), train[0], EPOCHS, beta)
    results[name], codes[name] = judge(name, networks[name], train, test)

some = Tensor(test[0][:40])
reconstructed = networks["with KL"].reconstruct(some).numpy()
rows = np.stack([test[0][:40].reshape(4, 10, 1, 8, 8), reconstructed.reshape(4, 10, 1, 8, 8)], axis=1)
picture("autoencoder-reconstructions.png", {"image above, reconstruction below": tiles(rows.reshape(80, 1, 8, 8), 10)})
samples = {}
for name, model in networks.items():
    minicnn.manual_seed(3)
    samples[f"64 samples, {name}"] = tiles(model.sample(64).numpy(), 8)
picture("autoencoder-samples.png", samples)
picture(
    "autoencoder-plane.png",
    {f"codes, {name}": c for name, c in codes.items()},
    test[1],
)

right, without, printed = results.values()
assert right["loss"] < guess - 1.5, "the bound must be better than that of the mean image"
assert right["loss"] < min(without["loss"], printed["loss"]) - 5, "without the KL the bound is far worse"
assert without["reconstruction"] < right["reconstruction"], "though reconstructions are better"
assert right["filled"] > 0.9 > 0.5 > without["filled"], "the KL keeps the plane filled where the prior draws"
assert 0.7 < right["spread"] < 1.4 < 2 < without["spread"], "and keeps the codes there"
assert right["accuracy"] > 0.5, "codes of two numbers tell ten digits apart, five times better than chance"

# ---- clothes ---------------------------------------------------------------------------------------------------------

if builtin.DEBIAN_FOLDER.is_dir():
    clothes = [fashion_mnist(train=part) for part in (True, False)]
    x, others = (
        (part.images[:n, None] / np.float32(255)).astype(np.float32)
        for part, n in zip(clothes, (3000, 500), strict=True)
    )
    bounds, panels = [], {"images": tiles(others[:48], 8)}
    for model, name in ((models.vae, "dense, 2 numbers"), (models.conv_vae, "convolutions, 16 numbers")):
        minicnn.manual_seed(0)
        network = model(width=16) if model is models.conv_vae else model()
        with minicnn.no_grad():
            before = network.loss(Tensor(others)).total.item()
        learn(network, x, 4, batch=50)
        with minicnn.no_grad():
            after = network.loss(Tensor(others)).total.item()
        print(f"clothes, {name}: loss {before:.1f} before, {after:.1f} after 4 epochs of {len(x):,} images")
        bounds.append(after)
        panels[f"reconstructions, {name}"] = tiles(network.reconstruct(Tensor(others[:48])).numpy(), 8)
        panels[f"samples, {name}"] = tiles(network.sample(48).numpy(), 8)
        assert after < 0.6 * before
    picture("autoencoder-clothes.png", panels)
    assert bounds[1] < bounds[0], "16 numbers say more than 2"
print(f"{time.perf_counter() - start:.0f} s, pictures: autoencoder-*.png")
