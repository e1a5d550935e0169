# %% [markdown]
# # 6. Batch normalisation, derived
#
# **Question: batch norm makes every channel forget its mean and its scale. Then what is left of the gradient, and why
# do three terms stand in its formula where one would expect one?**
#
# The derivation takes a page, and at its end stands a picture that makes the formula obvious. You need the chain rule
# for several paths (tutorial 0), and from tutorial 5 the warning about an upstream gradient of ones.

# %%
import numpy as np

import minicnn
from minicnn import Tensor, nn
from minicnn.ops.batch_norm import formula
from minicnn.study.figures import LINES, figure, show, tidy

rng = np.random.default_rng(0)
EPS = 1e-5

# %% [markdown]
# ## Forward
#
# Take one channel, and all its $M = N\cdot H\cdot W$ values in a batch of images: $x_1, \dots, x_M$.
#
# $$\mu = \frac1M\sum_i x_i, \qquad \sigma^2 = \frac1M\sum_i (x_i-\mu)^2, \qquad
#   s = \frac{1}{\sqrt{\sigma^2+\epsilon}}, \qquad
#   \hat x_i = s\,(x_i-\mu), \qquad y_i = \gamma\,\hat x_i+\beta .$$
#
# $\hat x$ has mean 0 and variance 1 (nearly: $\frac{\sigma^2}{\sigma^2+\epsilon}$, where $\epsilon$ keeps a constant
# channel from a division by zero). Then $\gamma$ and $\beta$, which are learned, give the channel any scale and mean
# that the network likes: two numbers that it can move directly, in the place of a mean and a scale that all weights
# before it bring about together.


# %%
def batch_norm(x, gamma, beta):
    """y of one channel, in training."""
    s = 1 / np.sqrt(x.var() + EPS)
    return gamma * s * (x - x.mean()) + beta


M, gamma, beta = 12, 1.5, 0.3
x = 4 + 2 * rng.standard_normal(M)
x_hat = batch_norm(x, 1.0, 0.0)
assert abs(x_hat.mean()) < 1e-14
assert np.isclose(x_hat.var(), x.var() / (x.var() + EPS))

images = 4 + 2 * rng.standard_normal((3, 2, 2, 2))  # N, C, H, W: 12 values a channel
layer = nn.BatchNorm2d(2).double()
by_channel = np.stack([batch_norm(images[:, c], 1.0, 0.0) for c in range(2)], axis=1)
assert np.allclose(layer(Tensor(images)).detach().numpy(), by_channel)

# %% [markdown]
# ## Backward: three ways from $x_i$ to the loss
#
# Let $dy_i = \partial L/\partial y_i$ be given. The easy ones first, read off $y_i = \gamma\hat x_i+\beta$:
#
# $$d\gamma = \sum_i dy_i\,\hat x_i, \qquad d\beta = \sum_i dy_i, \qquad d\hat x_i = \gamma\,dy_i .$$
#
# Now $x_i$. It moves its own $\hat x_i$; but it also moves $\mu$ and $\sigma^2$, and these move *every* $\hat x_j$.
# Three ways, so three terms:
#
# $$dx_i = \underbrace{d\hat x_i\,\frac{\partial\hat x_i}{\partial x_i}}_{\text{direct}}
#   + \underbrace{\frac{\partial L}{\partial\mu}\,\frac{\partial\mu}{\partial x_i}}_{\text{through the mean}}
#   + \underbrace{\frac{\partial L}{\partial\sigma^2}\,
#     \frac{\partial\sigma^2}{\partial x_i}}_{\text{through the variance}} .$$
#
# **Direct.** With $\mu$ and $\sigma^2$ held fixed, $\partial\hat x_i/\partial x_i = s$. The term is $s\,d\hat x_i$.
#
# **Through the mean.** $\partial\hat x_j/\partial\mu = -s$ for every $j$, so $\partial L/\partial\mu = -s\sum_j d\hat
# x_j$. Each value moves the mean by a share of it: $\partial\mu/\partial x_i = \frac1M$. (Does $\mu$ not move
# $\sigma^2$ as well? It would, by $\partial\sigma^2/\partial\mu = -\frac2M\sum_j(x_j-\mu)$; but deviations from the
# mean sum to 0.) The term is
#
# $$-\,s\cdot\frac1M\sum_j d\hat x_j \;=\; -\,s\,\operatorname{mean}(d\hat x).$$
#
# **Through the variance.** $\hat x_j = (x_j-\mu)(\sigma^2+\epsilon)^{-1/2}$, so
#
# $$\frac{\partial\hat x_j}{\partial\sigma^2} = -\tfrac12\,(x_j-\mu)\,(\sigma^2+\epsilon)^{-3/2}
#   = -\tfrac12\,s^2\,\hat x_j,
#   \qquad \frac{\partial L}{\partial\sigma^2} = -\tfrac12\,s^2\sum_j d\hat x_j\,\hat x_j ,$$
#
# and $\partial\sigma^2/\partial x_i = \frac2M(x_i-\mu) = \frac{2}{M}\frac{\hat x_i}{s}$. The product is
#
# $$-\tfrac12\,s^2\sum_j d\hat x_j\hat x_j\cdot\frac2M\,\frac{\hat x_i}{s}
#   \;=\; -\,s\,\operatorname{mean}(d\hat x\cdot\hat x)\;\hat x_i .$$
#
# Together:
#
# $$\boxed{\;dx_i \;=\; s\,\Big(\,d\hat x_i \;-\; \operatorname{mean}(d\hat x)
#   \;-\;\operatorname{mean}(d\hat x\cdot\hat x)\;\hat x_i\Big)\;}$$


# %%
def grad_input(dy, x, gamma):
    """The three terms of dx, by name."""
    s = 1 / np.sqrt(x.var() + EPS)
    x_hat, dx_hat = s * (x - x.mean()), gamma * dy
    return {
        "direct": s * dx_hat,
        "through_mean": np.full_like(x, -s * dx_hat.mean()),
        "through_var": -s * (dx_hat * x_hat).mean() * x_hat,
    }


dy = rng.standard_normal(M)
terms = grad_input(dy, x, gamma)
dx = sum(terms.values())

h = 1e-5
numeric = [
    (dy * (batch_norm(x + nudge, gamma, beta) - batch_norm(x - nudge, gamma, beta))).sum() / (2 * h)
    for nudge in h * np.eye(M)
]
assert np.allclose(dx, numeric, rtol=0, atol=1e-9)

# %% [markdown]
# minicnn's formula has the same three terms, under the same names:

# %%
one_channel, statistics = x.reshape(M, 1), (np.array([x.mean()]), 1 / np.sqrt(np.array([x.var()]) + EPS))
theirs = formula.grad_input_terms(dy.reshape(M, 1), one_channel, np.array([gamma]), *statistics, training=True)
for name, term in terms.items():
    assert np.allclose(theirs[name].ravel(), term), name

# %% [markdown]
# ## What each term removes
#
# Look at the box again: from $d\hat x$ its mean is taken away, and then a multiple of $\hat x$. You have seen this
# before. The best straight line through the points $(\hat x_i, d\hat x_i)$ has the height $\operatorname{mean}(d\hat
# x)$ (since $\hat x$ has mean 0) and the slope $\operatorname{mean}(d\hat x\,\hat x)/\operatorname{mean}(\hat x^2)$
# (where $\operatorname{mean}(\hat x^2) = 1$, but for $\epsilon$). **The gradient of batch norm is what a straight
# line cannot explain**: the residuals of a linear regression of $d\hat x$ on $\hat x$, times $s$.

# %%
dx_hat, s = gamma * dy, statistics[1][0]
slope, height = np.polyfit(x_hat, dx_hat, 1)
assert np.isclose(height, dx_hat.mean())
assert np.isclose(slope, (dx_hat * x_hat).mean(), rtol=1e-5)
assert np.allclose(dx / s, dx_hat - (height + slope * x_hat), atol=1e-5)

drawn, axes = figure(9, 3.4, columns=2)
ends = np.array([x_hat.min() - 0.2, x_hat.max() + 0.2])
axes[0].plot(ends, height + slope * ends, label="mean + slope * x_hat", **LINES[1] | {"marker": ""})
axes[0].vlines(x_hat, height + slope * x_hat, dx_hat, color="0.4", linestyle=":")
axes[0].plot(x_hat, dx_hat, label="what comes in, dx_hat", **LINES[0] | {"linestyle": ""})
axes[0].legend(fontsize=8)
tidy(axes[0], "x_hat", "dx_hat", "a line through the gradients")
axes[1].axhline(0, color="0.0", linewidth=0.8)
axes[1].vlines(x_hat, 0, dx / s, color="0.4", linestyle=":")
axes[1].plot(x_hat, dx / s, **LINES[0] | {"linestyle": ""})
for panel in axes:
    panel.set_ylim(-2.8, 4.2)
tidy(axes[1], "x_hat", "dx / s", "what is left of them")
show(drawn, "06-the-gradient-is-a-residual")

# %% [markdown]
# Why must it be so? If all $x_i$ rise by the same amount, $y$ does not change at all; if they all move away from their
# mean in proportion, it does not change either. So the loss is *constant* along these two directions, $\mathbf 1$ and
# $\hat x$, and a gradient can have no component along a direction in which nothing changes:
#
# $$\sum_i dx_i = 0, \qquad
#   \sum_i dx_i\,\hat x_i = s\,\Big(\sum_i d\hat x_i\hat x_i\Big)\Big(1-\frac{\sigma^2}{\sigma^2+\epsilon}\Big)
#   \approx 0 .$$
#
# The first holds exactly. The second would, too, if $\epsilon$ were 0.

# %%
assert abs(dx.sum()) < 1e-12
along = s * (dx_hat * x_hat).sum() * EPS / (x.var() + EPS)
assert np.isclose((dx * x_hat).sum(), along, rtol=1e-3)
assert abs(along) < 1e-4

# %% [markdown]
# Two consequences to remember. First, an upstream gradient of ones, or of $\hat x$, gives zero: who tests batch norm
# with `y.sum()` tests nothing, as we saw in tutorial 5. Second, a channel with $M=2$ values has *no* directions left:
# its $\hat x$ is $\pm1$, whatever the values are. That is why small batches on small images are a bad idea.

# %%
assert np.abs(sum(grad_input(np.ones(M), x, gamma).values())).max() < 1e-14
assert np.abs(sum(grad_input(x_hat, x, gamma).values())).max() < 1e-4
pair = np.array([0.2, 3.7])
assert np.allclose(batch_norm(pair, 1.0, 0.0), [-1, 1], atol=1e-4)
assert np.abs(sum(grad_input(np.array([5.0, -2.0]), pair, 1.0).values())).max() < 1e-4

# %% [markdown]
# In a real network, ask minicnn for any number of this kind: it names the terms, and adds them up. Here is a pixel
# whose ReLU is closed. Nothing comes back to it directly, and yet it learns, through the mean and the variance of its
# channel:

# %%
minicnn.manual_seed(0)
network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
batch, labels = rng.standard_normal((5, 1, 8, 8)).astype(np.float32), np.array([0, 1, 2, 0, 1])
explained = minicnn.explain(network, batch, labels, layer="1", at=(2, 3, 1, 4), grad="x")
assert abs(explained.total - explained.engine) <= 1e-6
direct, through_mean, through_var = (term.value for term in explained.terms)
assert direct == 0 != through_mean
print(str(explained).split("\n\n    ")[0])  # without the statistics, which it explains as well

# %% [markdown]
# ## Training and evaluation
#
# In training, an image's result depends on the other images of its batch. When we *use* the network we do not want
# that: the answer must not depend on who else is asking. So the layer keeps *running* averages of $\mu$ and
# $\sigma^2$,
#
# $$\mu_{\text{run}} \leftarrow (1-m)\,\mu_{\text{run}} + m\,\mu, \qquad
#   \sigma^2_{\text{run}} \leftarrow (1-m)\,\sigma^2_{\text{run}} + m\,\tfrac{M}{M-1}\,\sigma^2 \qquad (m = 0.1),$$
#
# and uses them in evaluation mode. (The factor $\frac{M}{M-1}$ makes the variance of a sample an unbiased guess of
# that of the whole.) They start at 0 and 1, and forget that start like $0.9^t$: after 10 batches a third of it is still
# there, after 50 half a percent.

# %%
layer, seen = nn.BatchNorm2d(1), []
layer.eval()
first = layer(Tensor(batch)).detach().numpy()
assert np.allclose(first, batch, atol=1e-4)  # statistics 0 and 1: nothing happens yet
layer.train()
for _ in range(60):
    layer(Tensor((5 + 2 * rng.standard_normal((16, 1, 8, 8))).astype(np.float32)))
    seen.append(layer.running_mean.array.item())
steps = np.arange(1, 61)
assert np.abs(seen - 5 * (1 - 0.9**steps)).max() < 0.15

drawn, axes = figure(5.5, 2.8)
axes.plot(steps, seen, label="running mean", markevery=5, **LINES[0])
axes.plot(steps, 5 * (1 - 0.9**steps), label="5 (1 - 0.9^t)", **LINES[1] | {"marker": ""})
axes.axhline(5, label="mean of the data", **LINES[2] | {"marker": ""})
axes.legend(loc="lower right")
tidy(axes, "batches seen, t", "mean", "after ten batches the start still counts a third")
show(drawn, "06-the-running-mean")

# %% [markdown]
# `model.eval()` forgotten: the same image gets another answer in other company. In evaluation mode it does not.

# %%
alone, crowded = batch[:1], np.concatenate([batch[:1], 3 * batch[1:]])
for training in (True, False):
    layer.train(training)
    difference = np.abs(layer(Tensor(alone)).detach().numpy() - layer(Tensor(crowded)).detach().numpy()[:1]).max()
    print(f"{'training' if training else 'evaluation':10} mode: the same image differs by {difference:.2g}")
    assert (difference > 0.1) == training

# %% [markdown]
# And the gradient? In evaluation mode $\mu$ and $\sigma^2$ are constants that $x$ does not move. Two of the three
# ways are closed, and only the direct term is left. (Fine-tuning with frozen batch norms uses this.)

# %%
mean, inv_std = np.array([4.0]), np.array([0.5])
remaining = formula.grad_input_terms(dy.reshape(M, 1), one_channel, np.array([gamma]), mean, inv_std, training=False)
assert list(remaining) == ["direct"]
assert np.allclose(remaining["direct"].ravel(), gamma * 0.5 * dy)

# %% [markdown]
# In evaluation mode a batch norm after a convolution is a number to multiply each output channel with, and one to add:
# $\gamma s(w * x) + (\beta - \gamma s\mu)$. So it can be *folded* into the convolution's weights, and costs nothing
# (`minicnn.fuse` does this for whole networks):

# %%
network.train()
for _ in range(5):
    network(Tensor(batch))  # some running statistics
network.eval()
conv, norm = network[0], network[1]
scale = norm.weight.array / np.sqrt(norm.running_var.array + norm.eps)
folded = nn.functional.conv2d(
    Tensor(batch),
    Tensor(conv.weight.array * scale[:, None, None, None]),
    Tensor(norm.bias.array - scale * norm.running_mean.array),
)
assert np.allclose(folded.numpy(), norm(conv(Tensor(batch))).detach().numpy(), atol=1e-5)

# %% [markdown]
# ## The length of the weights does not matter
#
# Before a batch norm, $w$ and $\alpha w$ (with $\alpha>0$) do the same: the normalisation divides by the scale. So
# $L(\alpha w) = L(w)$ for all $\alpha$. Differentiate by $\alpha$ at $\alpha=1$:
#
# $$\sum_k w_k\,\frac{\partial L}{\partial w_k} = 0: \qquad\text{the gradient is orthogonal to the weights.}$$
#
# Differentiate by $w$ instead: $\alpha\,\nabla L(\alpha w) = \nabla L(w)$, so long weights have *short* gradients.
# And a bias before a batch norm is removed by the mean: its gradient is 0, which is why ResNet's convolutions have
# none.


# %%
def loss_and_gradients(weight, bias):
    """A convolution, a batch norm, anything after it."""
    weight, bias = Tensor(weight, requires_grad=True), Tensor(bias, requires_grad=True)
    y = nn.functional.conv2d(Tensor(images), weight, bias)
    y = nn.functional.batch_norm(y, None, None, training=True, eps=1e-12)
    loss = (y * Tensor(target)).sum() + (y**3).sum() * 0.1
    loss.backward()
    return loss.item(), weight.grad.numpy(), bias.grad.numpy()


images = rng.standard_normal((6, 2, 5, 5))
target = rng.standard_normal((6, 3, 3, 3))
weight, bias = rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)
loss, dw, db = loss_and_gradients(weight, bias)
loss_4, dw_4, _ = loss_and_gradients(4 * weight, bias)
assert np.isclose(loss, loss_4)
assert np.allclose(4 * dw_4, dw)
assert np.abs((weight * dw).sum(axis=(1, 2, 3))).max() < 1e-9  # for each output channel by itself
assert np.abs(db).max() < 1e-10

# %% [markdown]
# A step of gradient descent is orthogonal to $w$, so Pythagoras says that it makes $w$ *longer*, always:
# $\|w-\eta\,dw\|^2 = \|w\|^2+\eta^2\|dw\|^2$. Longer weights turn less for a step of the same length, and get shorter
# gradients on top of it: the learning rate that counts is $\eta/\|w\|^2$, and it falls by itself. Weight decay, which
# pulls $w$ back, keeps it from falling: with batch norm, weight decay is a matter of the *learning rate*.

# %%
lengths = {"without weight decay": [], "with weight decay 0.5": []}
for decay, found in zip((0.0, 0.5), lengths.values(), strict=True):
    w = weight.copy()
    for _ in range(40):
        found.append(np.linalg.norm(w))
        _, dw, _ = loss_and_gradients(w, bias)
        if not decay:
            assert np.isclose(np.linalg.norm(w - 0.05 * dw) ** 2, found[-1] ** 2 + (0.05 * np.linalg.norm(dw)) ** 2)
        w -= 0.05 * (dw + decay * w)
assert (np.diff(lengths["without weight decay"]) > 0).all()

drawn, axes = figure(5.5, 2.8)
for style, (name, found) in zip(LINES, lengths.items(), strict=False):
    axes.plot(found, label=name, markevery=5, **style)
axes.legend()
tidy(axes, "step", "length of w", "without weight decay, every step makes them longer")
show(drawn, "06-the-length-of-the-weights")

# %% [markdown]
# ## Exercises
#
# 1. A batch has $M = 5$ values in a channel. In how many independent directions can `dx` point?
# 2. All $x_i$ of a channel are equal (a dead channel, say). What are $\hat x$ and $dx$, for $\gamma = 1$ and
#    $\epsilon=10^{-5}$? By which factor is the part of $d\hat x$ that is left multiplied, and why is that alarming?
# 3. *Layer norm* takes mean and variance over the features of one image, in the place of the images of one feature.
#    Write its `dx` for $x$ of shape (N, D), without $\gamma$ and $\beta$. (The derivation is the same; what changes?)
# 4. Your weights before a batch norm are ten times longer than a colleague's, who trains the same network with a
#    learning rate of 0.1. With which learning rate do yours turn as fast?

# %%
answer_1 = None
answer_2 = None  # the factor
layer_norm_grad_input = None  # a function of (dy, x), both (N, D)
answer_4 = None

# %%
ways = np.stack([sum(grad_input(way, x[:5], 1.0).values()) for way in np.eye(5)])
assert answer_1 in (None, int((np.linalg.svd(ways)[1] > 1e-3).sum()))
dead = sum(grad_input(np.array([1.0, -1.0, 0.0]), np.full(3, 7.0), 1.0).values())
assert answer_2 is None or np.isclose(answer_2, dead[0], rtol=0.01)
if layer_norm_grad_input is not None:
    rows, upstream = rng.standard_normal((4, 7)), rng.standard_normal((4, 7))
    expected = [sum(grad_input(g, row, 1.0).values()) for g, row in zip(upstream, rows, strict=True)]
    assert np.allclose(layer_norm_grad_input(upstream, rows), expected, atol=1e-6)
assert answer_4 is None or np.isclose(answer_4, 0.1 * 10**2)
