# %% [markdown]
# # 8. ResNet-18, and why residuals help
#
# **Question: a deeper network can do all that a shallower one can: let its last layers copy. Why does it train worse,
# and why does adding $x$ to the output of a block repair that?**
#
# In 2015 networks of 20 layers were better than those of 56, not because these learned by heart (their *training* error
# was higher too) but because gradient descent did not find what is there to be found (He et al. 2015). Here we watch
# the gradient on its way down through the layers, in two networks that differ by one `+ x`.

# %%
import math

import numpy as np

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.data import digits, stratified_split
from minicnn.models import resnet18
from minicnn.nn import functional as F  # noqa: N812
from minicnn.study.figures import figure, show
from minicnn.study.recording import record

source = digits()
first, rest = stratified_split(source.targets, per_class=50, seed=0)
images = (source.images[:, None].astype(np.float32) - 78) / 96
train, test = (images[first], source.labels[first]), (images[rest], source.labels[rest])

# %% [markdown]
# ## The chain rule through many layers
#
# A plain network is $x_{l+1} = F_l(x_l)$. With $J_l = \partial F_l/\partial x_l$ the chain rule is a product,
#
# $$ \frac{\partial L}{\partial x_0} = J_0^\top J_1^\top \cdots J_{L-1}^\top \, \frac{\partial L}{\partial x_L} , $$
#
# and a residual one, $x_{l+1} = x_l + F_l(x_l)$, has
#
# $$ \frac{\partial L}{\partial x_0} = (I + J_0^\top)(I + J_1^\top) \cdots (I + J_{L-1}^\top)\,
#    \frac{\partial L}{\partial x_L}
#    = \frac{\partial L}{\partial x_L} + \sum_l J_l^\top \frac{\partial L}{\partial x_L} + \cdots $$
#
# Multiplied out: $2^L$ paths, from the one that goes through no block at all to the one that goes through all of them.
# The first term arrives whole, whatever the blocks do. (In a ResNet a ReLU follows each sum, and closes some entries
# for all paths alike; there are residual networks without it, He et al. 2016.)
#
# What does a product of many matrices do to a vector? Take random ones, scaled so that they keep the length of a vector
# *on average*: entries of variance $1/n$. The length is not what gets lost. The directions are.

# %%
rng = np.random.default_rng(0)
n, depth = 64, 40


def singular_values(residual):
    """Of the product of `depth` random matrices, the largest one set to 1."""
    product = np.eye(n)
    for _ in range(depth):
        j = rng.standard_normal((n, n)) / np.sqrt(n)
        product = (np.eye(n) + j / np.sqrt(depth) if residual else j) @ product
    values = np.linalg.svd(product, compute_uv=False)
    return values / values[0]


plain_values, residual_values = singular_values(False), singular_values(True)
for name, values in (("J J ... J", plain_values), ("(I + J/sqrt(L)) ...", residual_values)):
    print(f"{name:20}: {(values > 0.1).sum():2d} of {n} singular values above a tenth of the largest")
assert (plain_values > 0.1).sum() < 8
assert (residual_values > 0.1).sum() > 4 * (plain_values > 0.1).sum()

# %%
drawn, ax = figure(6, 3)
ax.semilogy(np.maximum(plain_values, 1e-12), "k--", label="40 random matrices")
ax.semilogy(residual_values, "k-", label="40 of identity + small random matrix")
ax.set(xlabel="number of the singular value", ylabel="relative to the largest", ylim=(1e-12, 2))
ax.legend()
show(drawn, "08-singular-values")

# %% [markdown]
# After 40 random matrices nearly everything points into the same few directions, whatever came in; all else is lost to
# rounding and noise. With the identity in each factor most directions survive. This was linear, and only a model. Now
# two real networks.
#
# ## Two networks, one `+ x` apart
#
# A block is what ResNet-18 is made of: convolution, batch norm, ReLU, convolution, batch norm, (plus $x$), ReLU. With
# 14 blocks of 8 channels there are 30 layers that learn.

# %%
BLOCKS, CHANNELS = 14, 8


class Block(nn.Module):
    """relu(F(x) + x), or without the shortcut relu(F(x))."""

    def __init__(self, residual):
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(CHANNELS)
        self.residual = residual

    def forward(self, x):
        """(N, C, H, W) -> the same."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + x if self.residual else y)


class Deep(nn.Module):
    """A first convolution, blocks, mean over the image, one linear layer."""

    def __init__(self, blocks, residual):
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Block(residual) for _ in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(CHANNELS, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        """(N, 1, 8, 8) -> (N, 10)."""
        return self.fc(self.pool(self.blocks(F.relu(self.stem(x)))).flatten(1))


def deep(residual, blocks=BLOCKS):
    """The same seed, so the same weights in both."""
    minicnn.manual_seed(0)
    return Deep(blocks, residual)


networks = {"plain": deep(False), "residual": deep(True)}
x, labels = train[0][::5], train[1][::5]
print(f"{sum(p.numel() for p in networks['plain'].parameters()):,} parameters in each")


def upstream(run):
    """The gradient of the loss at the output of each block, an array (N, ...) for each, from the first block on."""
    return [run.of_layer(f"blocks.{number}")[-1].dy.reshape(len(x), -1) for number in range(BLOCKS)]


before = {name: upstream(record(model, x, labels)) for name, model in networks.items()}

# %% [markdown]
# ## How long is the gradient?
#
# `record` has kept the gradient at the output of every step; the last step of a block is its ReLU. What should we
# expect? Take a unit that is standard normal before its ReLU. After it,
#
# $$ \mathbb E\,\mathrm{relu}(z)^2 = \tfrac12, \qquad \mathbb E\,\mathrm{relu}(z) = \tfrac1{\sqrt{2\pi}}, \qquad
#    \operatorname{Var} = \tfrac12\Bigl(1 - \tfrac1\pi\Bigr). $$
#
# He's initialisation (variance $2/\text{fan}$) makes a convolution and its ReLU together keep the length of a gradient.
# But the batch norm behind the convolution sees the variance $2 \cdot \frac12(1 - \frac1\pi)$, less than 1, because
# the common mean does not count, and divides by its root: forwards to get 1, and *backwards the gradient too*. So each
# layer of a plain network with batch norm makes the gradient longer by a factor of about
#
# $$ 1\big/\sqrt{1 - 1/\pi} \approx 1.21 $$
#
# on the way down (Yang et al. 2019): exponential in the depth. In a residual network the sum before block $l$ has
# variance near $l$ while each $F$ has variance 1, so block $l$ changes the squared length only by a factor
# $1 + O(1/l)$, and $\prod (1 + c/l) \approx L^c$: a power of the depth.

# %%
norms = {name: np.array([np.linalg.norm(dy) for dy in found]) for name, found in before.items()}
factor = {name: (found[0] / found[-1]) ** (1 / (2 * BLOCKS - 2)) for name, found in norms.items()}
for name in networks:
    print(
        f"{name:8}: {norms[name][0] / norms[name][-1]:6.1f} times longer at the first block, {factor[name]:.2f} a layer"
    )
assert 1.1 < factor["plain"] < 1.3
assert norms["residual"][0] / norms["residual"][-1] < 10

# %% [markdown]
# ## And is it about the image?
#
# A longer gradient could be mended by a smaller step. The worse news is what the gradient says. Add a tiny noise, 1% of
# a pixel's deviation, to each image. No person sees it, so the advice to the first layers should be the same. We
# compare the gradients of the image and of its noisy twin by the cosine of their angle: 1 is the same advice, 0 is
# advice that has nothing to do with it.

# %%
noise = np.random.default_rng(3).standard_normal(x.shape).astype(np.float32)
cosines = {}
for name, model in networks.items():
    twins = upstream(record(model, x + 0.01 * noise, labels))
    pairs = zip(before[name], twins, strict=True)
    cosines[name] = np.array(
        [np.mean((u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)) for u, v in pairs]
    )
    print(f"{name:8}: cosine at block", *(f"{i}: {cosines[name][i]:.2f} " for i in (13, 11, 9, 6, 3, 0)))
assert cosines["plain"][0] < 0.5
assert cosines["residual"][0] > 0.9

# %%
drawn, axes = figure(8, 3, columns=2)
for name, style in (("plain", "k--s"), ("residual", "k-o")):
    axes[0].semilogy(norms[name], style, markersize=3, label=name)
    axes[1].plot(cosines[name], style, markersize=3, label=name)
axes[0].set(xlabel="block", ylabel="length of the gradient", xticks=range(0, BLOCKS, 3))
axes[1].set(xlabel="block", ylabel="cosine, image and noisy twin", xticks=range(0, BLOCKS, 3), ylim=(-0.1, 1.05))
axes[0].legend()
show(drawn, "08-gradients-by-depth")

# %% [markdown]
# This is called *shattered gradients* (Balduzzi et al. 2017): the deeper a plain network is, the more the gradient of
# its first layers is, as a function of the image, white noise. A step that helps one image then says little about its
# neighbour. The shortcut keeps a term in the sum that does not depend on what the blocks do to the image.
#
# ## Train both, a little

# %%
SCORED = 300


def accuracy(model):
    """On the first test images."""
    model.eval()
    with minicnn.no_grad():
        right = model(Tensor(test[0][:SCORED])).numpy().argmax(1) == test[1][:SCORED]
    model.train()
    return float(right.mean())


def learn(model, steps=50, batch=50):
    """SGD with momentum; the loss of each step."""
    rng, optimizer, losses = np.random.default_rng(0), optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
    for _ in range(steps):
        chosen = rng.choice(len(train[0]), batch, replace=False)
        loss = F.cross_entropy(model(Tensor(train[0][chosen])), Tensor(train[1][chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


networks["plain, 3 blocks"] = deep(False, blocks=3)
losses = {name: learn(model) for name, model in networks.items()}
right = {name: accuracy(model) for name, model in networks.items()}
for name, curve in losses.items():
    print(f"{name:16}: loss {np.mean(curve[-10:]):.2f}, test accuracy {right[name]:.0%}")
assert np.mean(losses["plain"][-10:]) > np.mean(losses["plain, 3 blocks"][-10:]) > np.mean(losses["residual"][-10:])
assert right["residual"] > right["plain"] + 0.2

# %%
drawn, ax = figure(6, 3)
for (name, curve), style in zip(losses.items(), ("k--", "k-", "k:"), strict=True):
    ax.plot(curve, style, label=name)
ax.set(xlabel="step", ylabel="training loss")
ax.legend()
show(drawn, "08-training")

# %% [markdown]
# There it is, on 500 digits and in seconds: of the two plain networks the deeper one has the higher *training* loss,
# although it could do all that the shallower one does. With shortcuts the deep one is the best of the three.
#
# ## A network of many paths
#
# If a residual network is a sum over paths, then taking out one block removes half of the paths, and the other half
# still works. Taking a layer out of a plain network leaves nothing. (Veit et al. 2016 did this to trained networks;
# ours needs no training in addition.)

# %%
without = {}
for name in ("residual", "plain, 3 blocks"):
    blocks, without[name] = networks[name].blocks, []
    for number in range(len(blocks)):
        taken, blocks._modules[str(number)] = blocks._modules[str(number)], nn.Identity()
        without[name].append(accuracy(networks[name]))
        blocks._modules[str(number)] = taken
    print(f"{name:16}: {right[name]:.0%}, without one of its blocks", *(f"{share:.0%}" for share in without[name]))
lost = {name: right[name] - np.mean(shares) for name, shares in without.items()}
assert lost["residual"] < 0.15
assert lost["plain, 3 blocks"] > 0.25

# %% [markdown]
# ## The real one
#
# ResNet-18 is this, with three changes: the channels double and the image halves three times; where they do, the
# shortcut is a $1\times1$ convolution (`downsample`); and batch norm, sum and ReLU are computed in one go. Let us look
# into a run, with 8 channels in the place of 64. At the end of a block the engine computes
# $y = \mathrm{relu}(\mathrm{bn}(\cdot) + x)$, so the shortcut must get exactly $dy \cdot [y > 0]$: nothing of the block
# stands in its way.

# %%
minicnn.manual_seed(0)
model = resnet18(num_classes=10, width=8, stem="small", in_channels=1)
run = record(model, np.repeat(np.repeat(x[:8], 4, axis=2), 4, axis=3), labels[:8])
convolutions = [step for step in run.steps if step.operation.name == "conv2d"]
shortcuts = [step for step in convolutions if "downsample" in step.layer]
print(f"{len(convolutions)} convolutions, {len(shortcuts)} of them in shortcuts, and one linear layer")
assert (len(convolutions), len(shortcuts)) == (20, 3)  # 20 - 3 + 1 = 18: that is where the name comes from
end = run.of_layer("layer2.1.bn2")[-1]
assert np.array_equal(end.gradients()["residual"], end.dy * (end.output.array > 0))
print(f"{end.layer}: gradient of the shortcut is dy * [y > 0], to the bit")

# %% [markdown]
# ## Exercises
#
# Replace `None` in the last cells; the assertions say whether you are right. The others are experiments: what you
# should find stands in brackets.
#
# 1. How many of the $2^{14}$ paths of our network go through exactly seven blocks?
# 2. Replace $x + F(x)$ by $\frac12 (x + F(x))$. By which factor is the path that goes through no block shortened after
#    14 blocks? (Then train it: it learns as badly as the plain network. Yet its gradient does not vanish, but is 17
#    times longer at the first block than at the last. Which paths make it so long?)
# 3. How many convolutions has ResNet-34, those in shortcuts included? Its stages have 3, 4, 6 and 3 blocks. Where is
#    its name from?
# 4. Print the cosines at the first block for 3, 7 and 20 plain blocks (`deep(False, 7)`). How deep may a plain network
#    be? (0.98, 0.84, and with 20 blocks 0, give or take 0.05; that of 20 residual ones is above 0.9.)
# 5. Start the last batch norm of each residual block with weight 0 (`bn2.weight`). What does the network compute at
#    the start, and how long is its gradient at each block? (The same number at all blocks but the last. Why not there?)
# 6. In the first experiment take $I + J$ instead of $I + J/\sqrt L$. How many directions survive? What does that say
#    about residual networks without batch norm? (8 of 64 instead of 55, give or take one.)

# %%
answer_1 = None
answer_2 = None
answer_3 = None

# %%
assert answer_1 in (None, math.comb(14, 7))
assert answer_2 in (None, 2.0**-14)
assert answer_3 in (None, 1 + 2 * (3 + 4 + 6 + 3) + 3)
