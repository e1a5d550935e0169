"""S9: the optimizers, side by side in one valley.

    python tutorials/documents/optimizers.py       # writes optimizers.png

The documents name gradient descent, SGD, momentum, RMSprop, Adam and Adamax, and print no formula of them. Here each is
a sentence, with w the weights, g the gradient of the loss, and "rate" the learning rate:

- gradient descent: w goes against g, times the rate. g is the mean over all samples.
- SGD: the same, with g from a few samples at a time: cheaper steps, in directions that are right on average.
- momentum: a velocity keeps 9/10 of itself in each step and adds g; w moves with the velocity.
- Nesterov: momentum, but the step looks ahead to where the velocity leads.
- Adagrad: g is divided by the root of the sum of all its squares so far; so steps become shorter and shorter.
- RMSprop: g is divided by the root of the mean of its squares over the last steps: what is old is forgotten.
- Adam: the mean g of the last steps, divided by that root; both corrected for having begun at zero.
- AdamW: Adam, and w shrinks by a small share in each step (weight decay that is not divided by anything).
- Adamax: Adam, with the largest |g| of the last steps in place of the root.

The valley: a line w0 + w1 x is laid through 64 points with x from 1 to 3. The loss, half the mean squared error, is a
long valley across both axes: moving w0 up and w1 down leaves the line nearly where it is. Its curvature across is some
80 times that along, so plain gradient descent must choose: small steps along, or wild ones across.
"""

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from minicnn import Tensor, nn, optim

STEPS, BATCH, START = 100, 8, (-1.5, 2.5)
RATES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0]
OPTIMIZERS = {
    "gradient descent": optim.SGD,
    "SGD": optim.SGD,
    "momentum": lambda w, lr: optim.SGD(w, lr, momentum=0.9),
    "Nesterov": lambda w, lr: optim.SGD(w, lr, momentum=0.9, nesterov=True),
    "Adagrad": optim.Adagrad,
    "RMSprop": lambda w, lr: optim.RMSprop(w, lr, alpha=0.9),
    "Adam": optim.Adam,
    "AdamW": optim.AdamW,
    "Adamax": optim.Adamax,
}

rng = np.random.default_rng(0)
x = rng.uniform(1, 3, 64)
samples = np.stack([np.ones(64), x], axis=1)
targets = (1.0 + 0.5 * x + rng.normal(0, 0.3, 64))[:, None]

# What is known without any steps: the lowest point, the curvatures, the largest rate of gradient descent.
lowest = np.linalg.lstsq(samples, targets, rcond=None)[0].ravel()
along, across = np.linalg.eigvalsh(samples.T @ samples / 64)
largest_rate = 2 / across


def loss_at(w):
    """Half the mean squared error of all samples; above that of the lowest point."""
    errors = samples @ np.asarray(w).T - targets
    least = samples @ lowest[:, None] - targets
    return ((errors**2).mean(axis=0) - (least**2).mean()) / 2


def path_of(name, rate):
    """The weights before and after each step."""
    w = nn.Parameter(np.array([START]))
    optimizer = OPTIMIZERS[name]([w], lr=rate)
    drawn, path = np.random.default_rng(1), [w.array[0].copy()]
    for _ in range(STEPS):
        batch = drawn.choice(64, BATCH, replace=False) if name == "SGD" else slice(None)
        optimizer.zero_grad()
        errors = (w * Tensor(samples[batch])).sum(1) - Tensor(targets[batch, 0])
        ((errors**2).mean() / 2).backward()
        optimizer.step()
        path.append(w.array[0].copy())
    return np.array(path)


# Each gets the best of the same rates: otherwise one would compare rates, not optimizers.
paths, rates = {}, {}
for name in OPTIMIZERS:
    tried = {rate: path_of(name, rate) for rate in RATES}
    with np.errstate(all="ignore"):
        rates[name] = min(RATES, key=lambda rate: np.nan_to_num(loss_at(tried[rate][-1:])[0], nan=np.inf))
    paths[name] = tried[rates[name]]

print(f"curvature across {across:.2f}, along {along:.3f}: {across / along:.0f} to 1; loss above the lowest point:\n")
print(f"{'optimizer':18}{'rate':>6}{'step 0':>10}{'10':>10}{'30':>10}{'100':>10}")
losses = {name: loss_at(path) for name, path in paths.items()}
for name, values in losses.items():
    print(f"{name:18}{rates[name]:>6}" + "".join(f"{values[step]:>10.4f}" for step in (0, 10, 30, 100)))

figure, axes = plt.subplots(3, 3, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
w0, w1 = np.meshgrid(np.linspace(-2.2, 3.2, 120), np.linspace(-1.0, 3.0, 120))
height = loss_at(np.stack([w0.ravel(), w1.ravel()], axis=1)).reshape(w0.shape)
for axis, (name, path) in zip(axes.flat, paths.items(), strict=True):
    axis.contour(w0, w1, height, levels=np.geomspace(0.003, 10, 9), colors="0.75", linewidths=0.7)
    axis.plot(*path.T, color="black", linewidth=0.8, marker=".", markersize=3)
    axis.plot(*path[0], "ks", markerfacecolor="white")
    axis.plot(*lowest, "k*", markersize=12, markerfacecolor="white")
    axis.set_title(f"{name}, rate {rates[name]}: {losses[name][-1]:.4f}", fontsize=9)
    axis.set(xlim=(-2.2, 3.2), ylim=(-1.0, 3.0))
figure.supxlabel("w0")
figure.supylabel("w1")
figure.suptitle("100 steps from the square to the star; the number is the loss above the lowest point", fontsize=10)
figure.savefig("optimizers.png", dpi=110)
ends = ", ".join(f"{name} {values[-1]:.4f}" for name, values in losses.items())
print(f"\nloss above the lowest point after {len(losses['SGD']) - 1} steps: {ends}")
print("optimizers.png: their paths")

# What is expected.
assert loss_at(path_of("gradient descent", 0.98 * largest_rate)[-1:])[0] < losses["SGD"][0]  # just stable
assert (
    loss_at(path_of("gradient descent", 1.02 * largest_rate)[-1:])[0] > losses["SGD"][0]
)  # just not: across, it grows
assert all(values[-1] < 0.05 * values[0] for values in losses.values())
for faster in ("momentum", "Nesterov", "Adam"):
    assert losses[faster][-1] < losses["gradient descent"][-1] / 10, faster
