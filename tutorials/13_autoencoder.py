# %% [markdown]
# # 13. Variational autoencoder: how to invent digits
#
# **Question: a network can be trained to copy images through two numbers. Why does it then still not invent images, and
# which one term in the loss changes that?**
#
# We write down a model of how images come about, find out that its likelihood cannot be computed, bound it from below,
# learn the bound, and then check it against the true likelihood, which for *two* hidden numbers can be computed after
# all.

# %%
import numpy as np

import minicnn
from minicnn import Tensor, models, optim
from minicnn.data import digits, stratified_split
from minicnn.nn import functional as F  # noqa: N812
from minicnn.study.figures import figure, show

source = digits()
pixels = (source.images[:, None] > 127).astype(np.float32)  # (1797, 1, 8, 8): each pixel is 0 or 1
first, rest = stratified_split(source.targets, 0.8, seed=0)
train, test = pixels[first], pixels[rest]

# %% [markdown]
# ## The model
#
# A code $z$ of two numbers is drawn from the *prior* $p(z) = N(0, I)$. A network, the *decoder*, says from $z$ with
# which probability each pixel is 1; so $p(x|z)$ is a product of 64 such probabilities. We want a decoder under which
# real images are likely:
#
# $$ \ln p(x) = \ln \int p(x|z)\, p(z)\, dz . $$
#
# For 20 hidden numbers nobody can compute this integral, and drawing $z$ from the prior does not help: hardly any $z$
# fits a given $x$. So a second network, the *encoder*, learns where to look: $q(z|x) = N(\mu(x), \operatorname{diag}
# \sigma^2(x))$. By Jensen's inequality, for *any* $q$,
#
# $$ \ln p(x) = \ln \mathbb E_{q}\Bigl[\frac{p(x|z)\,p(z)}{q(z|x)}\Bigr]
#    \;\ge\; \mathbb E_{q}\Bigl[\ln \frac{p(x|z)\,p(z)}{q(z|x)}\Bigr]
#    = \underbrace{\mathbb E_q[\ln p(x|z)]}_{-\text{reconstruction}}
#    - \underbrace{\mathrm{KL}(q(z|x)\,\|\,p(z))}_{\ge 0} = \mathrm{ELBO}(x) , $$
#
# the *evidence lower bound*. How much is lost? Since $p(x|z)\,p(z) = p(z|x)\,p(x)$,
#
# $$ \ln p(x) - \mathrm{ELBO}(x) = \mathbb E_q\Bigl[\ln \frac{q(z|x)}{p(z|x)}\Bigr]
#    = \mathrm{KL}(q(z|x)\,\|\,p(z|x)) , $$
#
# the distance of our encoder from the true posterior. Making the ELBO large does two things at once: it makes images
# likely, and the encoder right.
#
# ## The KL term, in closed form
#
# For one number, $q = N(\mu, \sigma^2)$ and $p = N(0, 1)$:
#
# $$ \ln q(z) - \ln p(z) = -\ln\sigma - \frac{(z-\mu)^2}{2\sigma^2} + \frac{z^2}{2}, \qquad
#    \mathrm{KL} = \mathbb E_q[\dots] = \tfrac12\bigl(\mu^2 + \sigma^2 - 1 - \ln \sigma^2\bigr), $$
#
# by $\mathbb E_q (z-\mu)^2 = \sigma^2$ and $\mathbb E_q z^2 = \mu^2 + \sigma^2$. Let us not believe it, but draw.

# %%
rng = np.random.default_rng(0)
mu, sigma = 0.7, 0.4
z = rng.normal(mu, sigma, 200_000)
draws = -np.log(sigma) - (z - mu) ** 2 / (2 * sigma**2) + z**2 / 2
closed = F.gaussian_kl(Tensor(np.array([mu])), Tensor(np.array([2 * np.log(sigma)]))).item()
error = draws.std() / np.sqrt(len(draws))
print(f"KL in closed form {closed:.4f}, mean of 200,000 draws {draws.mean():.4f} +- {error:.4f}")
assert np.isclose(closed, 0.5 * (mu**2 + sigma**2 - 1 - np.log(sigma**2)))
assert abs(draws.mean() - closed) < 4 * error

# %% [markdown]
# ## How does a gradient pass through a die?
#
# The reconstruction is a mean over draws from $q$, and $q$ is what we want to change. There are two ways to get
# $\frac{d}{d\mu}\mathbb E_{z\sim N(\mu,1)}[f(z)]$ from draws:
#
# - The *score*: move the derivative to the density, $\mathbb E\bigl[f(z)\,\frac{d}{d\mu}\ln q(z)\bigr] =
#   \mathbb E[f(z)\,(z-\mu)]$. It needs no derivative of $f$ at all.
# - The *path* (reparameterisation): write $z = \mu + \varepsilon$ with $\varepsilon \sim N(0,1)$. What we draw does not
#   depend on $\mu$ any more, and the derivative goes inside: $\mathbb E[f'(\mu + \varepsilon)]$.
#
# Both are right on average. For $f(z) = z^2$ the answer is $2\mu$; a single draw is off by a variance of $4$ along the
# path, and $\mu^4 + 14\mu^2 + 15$ by the score, 87 for $\mu = 2$: over twenty times as many draws for the same
# precision, and with many hidden numbers it is far worse.

# %%
mu = 2.0
noise = rng.standard_normal(400_000)
score, path = (mu + noise) ** 2 * noise, 2 * (mu + noise)
print(
    f"right: {2 * mu}; score {score.mean():.2f}, variance {score.var():.1f}; path {path.mean():.2f}, {path.var():.1f}"
)
assert abs(score.mean() - 2 * mu) < 0.1
assert abs(path.mean() - 2 * mu) < 0.02
assert abs(score.var() / (mu**4 + 14 * mu**2 + 15) - 1) < 0.1
assert abs(path.var() / 4 - 1) < 0.1

# %% [markdown]
# On the tape the path is nothing special: a product and a sum with a constant, $z = \mu + e^{\ell/2}\varepsilon$ with
# $\ell = \ln\sigma^2$ (so that any output of a network is a variance). The gradients are $1$ and
# $\frac12 e^{\ell/2}\varepsilon$.

# %%
mean, log_variance = (Tensor(rng.standard_normal((3, 2)), requires_grad=True) for _ in range(2))
noise = rng.standard_normal((3, 2))
F.gaussian_sample(mean, log_variance, noise).sum().backward()
assert np.allclose(mean.grad.numpy(), 1)
assert np.allclose(log_variance.grad.numpy(), np.exp(log_variance.array / 2) * noise / 2)

# %% [markdown]
# ## Learn
#
# Encoder 64-96-48 with two heads, mean and log-variance; decoder 2-48-96-64. We train it twice: with the loss
# $-\mathrm{ELBO}$, and without the KL term, as an ordinary autoencoder with noise. The yardstick is the best model that
# does not look at the image: each pixel is 1 as often as in the training set.


# %%
def learn(beta, epochs=40):
    """Adam on reconstruction + beta KL."""
    minicnn.manual_seed(0)
    model, order = models.VAE(image_size=8, hidden1=96, hidden2=48), np.random.default_rng(0)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in np.array_split(order.permutation(len(train)), 14):
            optimizer.zero_grad()
            model.loss(Tensor(train[rows]), beta=beta).total.backward()
            optimizer.step()
    return model


networks = {"with KL": learn(1.0), "without KL": learn(0.0)}
often = np.clip(train.mean(axis=0), 1e-3, 1 - 1e-3)
blind = float(-(test * np.log(often) + (1 - test) * np.log(1 - often)).sum() / len(test))
print(f"pixel by pixel, without looking: {blind:.2f} nats for an image")
losses = {}
for name, model in networks.items():
    minicnn.manual_seed(1)
    with minicnn.no_grad():
        losses[name] = [term.item() for term in model.loss(Tensor(test))]
    print(f"{name:10}: -ELBO {{:.2f}} = reconstruction {{:.2f}} + KL {{:.2f}}".format(*losses[name]))
assert losses["with KL"][0] < blind - 2
assert losses["without KL"][1] < losses["with KL"][1], "copying alone is easier"
assert losses["without KL"][0] > losses["with KL"][0] + 5, "but as a model of images it is far worse"

# %% [markdown]
# ## Is it really a lower bound?
#
# With two hidden numbers the integral is a sum over a fine grid in the plane. So we can compute the true $\ln p(x)$ of
# our decoder for test images, the true posterior $p(z|x)$ by Bayes' rule, and the distance of $q$ from it, which must
# be the gap.

# %%
SPACING = 0.05
side = np.arange(-4, 4 + SPACING / 2, SPACING)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
model, some = networks["with KL"], test[:40]
with minicnn.no_grad():
    logits = model.decode(Tensor(grid)).numpy().reshape(len(grid), 64).astype(float)
    means, log_variances = (part.numpy().astype(float) for part in model.encode(Tensor(some)))
log_prior = -0.5 * (grid.astype(float) ** 2).sum(axis=1) - np.log(2 * np.pi)
log_joint = some.reshape(-1, 64) @ logits.T - np.logaddexp(0, logits).sum(axis=1) + log_prior  # ln p(x|z) p(z)
peak = log_joint.max(axis=1, keepdims=True)
log_p = peak[:, 0] + np.log(np.exp(log_joint - peak).sum(axis=1) * SPACING**2)
squares = (grid - means[:, None]) ** 2 / np.exp(log_variances)[:, None]
log_q = -0.5 * (squares + log_variances[:, None]).sum(axis=2) - np.log(2 * np.pi)
q = np.exp(log_q) * SPACING**2  # the weight of each point of the grid
elbo = (q * (log_joint - log_q)).sum(axis=1)
distance = (q * (log_q - (log_joint - log_p[:, None]))).sum(axis=1)  # KL(q(z|x) || p(z|x))
print(f"the weights of q add up to {q.sum(axis=1).min():.4f} .. {q.sum(axis=1).max():.4f}")
print(f"ln p(x) {log_p.mean():.3f}, ELBO {elbo.mean():.3f}, gap {(log_p - elbo).mean():.3f}, KL {distance.mean():.3f}")
assert np.all(elbo <= log_p + 1e-6), "a lower bound for every image"
assert np.allclose(log_p - elbo, distance, atol=0.02)

# %% [markdown]
# And the bound that the engine estimates, from single draws, agrees with the one from the grid:

# %%
with minicnn.no_grad():
    drawn_bounds = [-model.loss(Tensor(some)).total.item() for _ in range(100)]
error = np.std(drawn_bounds) / 10
print(f"ELBO by 100 draws: {np.mean(drawn_bounds):.3f} +- {error:.3f}; on the grid {elbo.mean():.3f}")
assert abs(np.mean(drawn_bounds) - elbo.mean()) < 5 * error + 0.02

# %% [markdown]
# ## The plane, and what the KL is for
#
# Where do the codes lie? And if somebody draws a code from the prior, is there an image near it? As a number: the share
# of draws from $N(0, I)$ that lie within two deviations of the code of some training image.

# %%
drawn, axes = figure(9, 4.4, columns=2)
filled, prior = {}, np.random.default_rng(2).standard_normal((500, 1, 2))
turn = np.linspace(0, 2 * np.pi, 100)
for ax, (name, net) in zip(axes, networks.items(), strict=True):
    with minicnn.no_grad():
        codes, spread = (part.numpy() for part in net.encode(Tensor(train)))
        seen = net.encode(Tensor(test))[0].numpy()
    near = np.sqrt(((prior - codes) ** 2 / np.exp(spread)).sum(axis=2)).min(axis=1) < 2
    filled[name] = near.mean()
    for code, label in zip(seen[:250], source.labels[rest], strict=False):
        ax.text(*code, str(label), fontsize=7, ha="center", va="center")
    ax.plot(2 * np.cos(turn), 2 * np.sin(turn), "k--", linewidth=0.8)
    reach = 1.05 * np.abs(seen[:250]).max()
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="$z_0$", ylabel="$z_1$")
    ax.set_title(f"{name}; circle: two deviations of the prior")
    print(f"{name:10}: codes have deviation {codes.std():.2f}, filled where the prior draws: {filled[name]:.0%}")
show(drawn, "13-codes-of-test-images")
assert filled["with KL"] > 0.9
assert filled["without KL"] < 0.6

# %% [markdown]
# Without the KL the variances shrink and the codes move apart: nothing asks the plane to be filled where we draw. Draws
# fall between the codes, where the decoder has never learned anything, or show the few digits that happen to lie near
# the origin. With it, the codes together look like the prior, every place means something, and every digit is drawn.

# %%
steps = np.linspace(-1.8, 1.8, 12)
plane = np.stack(np.meshgrid(steps, -steps), axis=-1).reshape(-1, 2).astype(np.float32)
drawn, axes = figure(9, 3.3, columns=3)
with minicnn.no_grad():
    pictures = {"decoded, over the plane": F.sigmoid(networks["with KL"].decode(Tensor(plane))).numpy()}
for name, net in networks.items():
    minicnn.manual_seed(3)
    pictures[f"drawn from the prior, {name}"] = net.sample(144).numpy()
for ax, (name, tiles) in zip(axes, pictures.items(), strict=True):
    sheet = np.pad(tiles[:, 0].reshape(12, 12, 8, 8), ((0, 0), (0, 0), (0, 1), (0, 1)))
    ax.imshow(sheet.swapaxes(1, 2).reshape(108, 108), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(name, fontsize=9)
    ax.axis("off")
show(drawn, "13-decoded-images")

# %% [markdown]
# ## Exercises
#
# Replace `None` in the last cells; the assertions say whether you are right. The others are experiments: what you
# should find stands in brackets.
#
# 1. Derive $\partial\mathrm{KL}/\partial\mu$ and $\partial\mathrm{KL}/\partial\ell$ for $\ell = \ln\sigma^2$. Where is
#    the minimum?
# 2. A tighter bound: draw $K$ codes for each image and take $\ln \frac1K\sum_k p(x|z_k)\,p(z_k)/q(z_k|x)$. Write it, so
#    that nothing overflows, as a function of the logarithms of those quotients. (For $K = 1$ its mean is the ELBO; it
#    grows with $K$ and comes near the $\ln p(x)$ of the grid: Burda et al. 2016.)
# 3. Weight the KL with $\beta = 4$ (`learn(4.0)`). What happens to reconstruction, KL, and the plane? (The KL falls to
#    nearly 0 and the reconstruction rises to the `blind` one: all codes are the same, and the decoder does not listen.
#    This is called *posterior collapse*.)
# 4. A listing that is often seen takes mean and log-variance from the *same* output, and leaves out the KL. Write it,
#    as a subclass of `models.VAE` with an `encode` of its own, and train it. Where do its codes go, and why? (It copies
#    as well as ours without KL. But a code is certain only if its log-variance, and so its mean, is far below 0: they
#    lie around $-13$, where the prior never draws. `tutorials/documents/autoencoder.py` has it.)
# 5. Why is the gap in this tutorial not 0? What would $q$ need in order to close it? (Look at $p(z|x)$ of one image,
#    `np.exp(log_joint[0] - log_p[0]).reshape(161, 161)`: is it a Gaussian with upright axes?)

# %%
answer_1 = None  # a function of (mu, l): the two derivatives
answer_2 = None  # a function of an array (K,)

# %%
if answer_1 is not None:
    mean, log_variance = (Tensor(np.array([value]), requires_grad=True) for value in (0.7, -1.2))
    F.gaussian_kl(mean, log_variance).sum().backward()
    assert np.allclose(answer_1(0.7, -1.2), [mean.grad.item(), log_variance.grad.item()])
assert answer_2 is None or np.isclose(answer_2(np.log([1.0, 2.0, 6.0]) - 2000), np.log(3) - 2000)
