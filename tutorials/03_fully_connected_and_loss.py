# %% [markdown]
# # 3. From features to a loss: fully connected layer, ReLU, softmax, cross-entropy
#
# **Question: a network answers with ten scores. How do scores become probabilities, why is the loss a logarithm, and
# how can the gradient of something so complicated be as simple as "predicted minus true"?**
#
# Then we build a classifier from these four pieces, with every gradient written by hand.

# %%
import math

import numpy as np

from minicnn import Tensor, nn
from minicnn.ops import cross_entropy
from minicnn.study.figures import HATCHES, LINES, figure, show, tidy

rng = np.random.default_rng(0)

# %% [markdown]
# ## The fully connected layer
#
# Printed for one output: $y = \sum_{i=1}^{I} x_i w_i + b$. With $J$ outputs, and a row of $x$ for each image of a
# batch:
#
# $$y_{n,j} = b_j + \sum_i x_{n,i}\,w_{j,i}, \qquad\text{as matrices}\qquad Y = X W^{\mathsf T} + b .$$
#
# It is linear in each of its three inputs, so derivatives are read off, as in tutorial 1:
# $\partial y_{n,j}/\partial w_{j,i} = x_{n,i}$, $\;\partial y_{n,j}/\partial x_{n,i} = w_{j,i}$,
# $\;\partial y_{n,j}/\partial b_j = 1$. Sum over all outputs in which the number takes part:
#
# $$dx_{n,i} = \sum_j dy_{n,j}\,w_{j,i}, \qquad dw_{j,i} = \sum_n dy_{n,j}\,x_{n,i}, \qquad db_j = \sum_n dy_{n,j},$$
#
# $$dX = dY\,W, \qquad dW = dY^{\mathsf T} X, \qquad db = \text{column sums of } dY .$$
#
# (If you forget which one is transposed, let the shapes decide. There is only one way in which they fit.)

# %%
N, I, J = 5, 4, 3
X, W, b = rng.standard_normal((N, I)), rng.standard_normal((J, I)), rng.standard_normal(J)
dY = rng.standard_normal((N, J))

tensors = [Tensor(array, requires_grad=True) for array in (X, W, b)]
Y = nn.functional.linear(*tensors)
Y.backward(dY)
by_hand = (dY @ W, dY.T @ X, dY.sum(axis=0))
assert np.allclose(Y.detach().numpy(), X @ W.T + b)
assert all(np.allclose(tensor.grad.numpy(), gradient) for tensor, gradient in zip(tensors, by_hand, strict=True))

# %% [markdown]
# It is a convolution in disguise: one whose kernel is as large as the image, so that it fits in one place only.

# %%
image, kernels = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((7, 3, 4, 4))
as_convolution = nn.functional.conv2d(Tensor(image), Tensor(kernels)).numpy()
as_linear = nn.functional.linear(Tensor(image.reshape(2, -1)), Tensor(kernels.reshape(7, -1))).numpy()
assert as_convolution.shape == (2, 7, 1, 1)
assert np.allclose(as_convolution[:, :, 0, 0], as_linear)

# %% [markdown]
# ## ReLU: why a bend is needed
#
# Two linear layers in a row are one: $(XW_1^{\mathsf T})W_2^{\mathsf T} = X(W_2W_1)^{\mathsf T}$. A hundred of them
# can do no more than one. And one cannot even learn "exactly one of two": the best plane through the four points is
# flat.

# %%
corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
exactly_one = np.array([0, 1, 1, 0], float)
plane, *_ = np.linalg.lstsq(np.c_[corners, np.ones(4)], exactly_one, rcond=None)
assert np.allclose(plane, [0, 0, 0.5])  # it answers 1/2, always


def relu(x):
    return np.maximum(x, 0)


total = corners.sum(axis=1)
assert np.array_equal(relu(total) - 2 * relu(total - 1), exactly_one)  # two bends suffice

# %% [markdown]
# $\operatorname{relu}(x) = \max(x, 0)$ has slope 1 where $x>0$ and 0 where $x<0$; at the kink minicnn and PyTorch
# take 0. So $dx = dy$ where $x > 0$, and $dx = 0$ elsewhere: a gate, opened or closed by the forward pass. A unit
# that is closed for *all* images gets no gradient at all and never moves again: it is "dead".

# %%
x = Tensor(np.array([-2.0, 0.0, 3.0]), requires_grad=True)
nn.functional.relu(x).backward(np.array([10.0, 10.0, 10.0]))
assert np.array_equal(x.grad.numpy(), [0, 0, 10])

# %% [markdown]
# ## Softmax: scores become probabilities
#
# The last layer gives a score $z_i$ for each of $C$ classes, any real number. Probabilities must be positive and sum
# to 1. The softmax makes scores positive by $\exp$, and divides by the sum:
#
# $$p_i = \frac{e^{z_i}}{\sum_k e^{z_k}} .$$
#
# Why $\exp$? Because then only *differences* of scores count: $p_i/p_j = e^{z_i-z_j}$. A lead of 1 always means "$e$
# times as likely". And adding the same number to all scores changes nothing, since $e^{c}$ cancels.
#
# **Its derivative.** Write $S = \sum_k e^{z_k}$, so $\partial S/\partial z_j = e^{z_j}$. By the quotient rule,
#
# $$\frac{\partial p_i}{\partial z_j}
#   = \frac{\delta_{ij}\,e^{z_i}\,S - e^{z_i}e^{z_j}}{S^2}
#   = \frac{e^{z_i}}{S}\left(\delta_{ij} - \frac{e^{z_j}}{S}\right)
#   = p_i\,(\delta_{ij}-p_j), \qquad \delta_{ij} = 1 \text{ if } i=j \text{ else } 0.$$
#
# Raising a score raises its own probability by $p_i(1-p_i)$ and lowers all others; in sum nothing changes, as it must
# be:


# %%
def softmax(z):
    e = np.exp(z)
    return e / e.sum()


z = np.array([2.0, 1.0, -1.0])
p = softmax(z)
jacobian = p[:, None] * (np.eye(3) - p)
assert np.allclose(jacobian.sum(axis=0), 0)
h = 1e-6
for j in range(3):
    nudge = h * np.eye(3)[j]
    assert np.allclose((softmax(z + nudge) - softmax(z - nudge)) / (2 * h), jacobian[:, j], atol=1e-9)
assert np.allclose(softmax(z + 100), p)

# %% [markdown]
# ## Cross-entropy: why a logarithm
#
# Show the network $N$ independent images. The probability that it gives to *all* true labels together is the product
# $\prod_n p_n[\text{label}_n]$. We want it large. A product of a thousand numbers below 1 is hopelessly small, and a
# sum is easier to differentiate; so take the logarithm, and the mean, and a minus sign since a loss is to be made
# small:
#
# $$L = -\frac1N \sum_n \log p_n[\text{label}_n] .$$
#
# With a *true distribution* $q$ (1 at the label, 0 elsewhere) one image's loss is $-\sum_i q_i\log p_i$, the
# *cross-entropy* of $q$ and $p$. Who knows nothing says $p_i = 1/C$ and pays $\log C$: remember that number, it is
# the first thing to look at when a training begins.
#
# **Its gradient.** $\partial L/\partial p_i = -q_i/p_i$. Through the softmax, with the sum over all $p_i$ that $z_j$
# moves:
#
# $$dz_j = \sum_i \left(-\frac{q_i}{p_i}\right) p_i\,(\delta_{ij}-p_j)
#        = -\sum_i q_i\,\delta_{ij} + p_j\sum_i q_i
#        = p_j - q_j .$$
#
# The $p_i$ cancelled, and $\sum_i q_i = 1$. **Predicted minus true**: that is all. The gradient is 0 where the
# prediction is right; nowhere is it larger than 1; and it sums to 0, since adding a constant to all scores changes
# nothing.

# %%
label = 1
q = np.eye(3)[label]
scores = Tensor(z[None], requires_grad=True)
loss = nn.functional.cross_entropy(scores, np.array([label]))
loss.backward()
assert np.isclose(loss.item(), -math.log(p[label]))
assert np.allclose(scores.grad.numpy()[0], p - q)
assert np.allclose(jacobian.T @ (-q / p), p - q)  # the long way, through the Jacobian
assert np.isclose(nn.functional.cross_entropy(Tensor(np.zeros((1, 10))), np.array([3])).item(), math.log(10))

drawn, axes = figure(6, 2.8)
places = np.arange(3)
for shift, (values, name) in enumerate([(p, "p, predicted"), (q, "q, true"), (p - q, "p - q, the gradient")]):
    axes.bar(places + 0.27 * (shift - 1), values, 0.25, label=name, **HATCHES[shift])
axes.axhline(0, color="0.0", linewidth=0.8)
axes.set_xticks(places, [f"class {c}: score {value:g}" for c, value in enumerate(z)])
axes.legend(loc="lower right")
tidy(axes, "", "p, q, p - q", "too much belief in class 0, too little in class 1")
show(drawn, "03-predicted-minus-true")

# %% [markdown]
# ## Large scores: the same formula, computed without accident
#
# $e^{1000}$ is too large for a computer, $e^{-1000}$ is 0 for it, and both happen. The trick is exact: take the largest
# score $m$ out of the sum,
#
# $$\log\sum_k e^{z_k} = \log\Big(e^{m}\sum_k e^{z_k-m}\Big) = m + \log\sum_k e^{z_k-m} .$$
#
# Now the largest exponent is 0, one term of the sum is 1, and so its logarithm is neither infinite nor undefined.
# The loss is $-\log p_i = \log\sum_k e^{z_k} - z_i$: never divide first and take the logarithm afterwards.


# %%
def log_softmax(z):
    shifted = z - z.max()
    return shifted - np.log(np.exp(shifted).sum())


large = np.array([1000.0, 0.0])
with np.errstate(all="ignore"):
    assert np.isnan(softmax(large)[0])  # inf / inf
    assert softmax(-large)[0] == 0  # and its logarithm would be minus infinity
assert np.array_equal(log_softmax(large), [0, -1000])
assert np.array_equal(log_softmax(-large), [-1000, 0])

lead = np.linspace(0, 140, 141, dtype=np.float32)  # by so much the wrong class leads
with np.errstate(all="ignore"):
    exponentials = np.exp(np.stack([lead, np.zeros_like(lead)]))
    naive = -np.log(exponentials[1] / exponentials.sum(axis=0))
exact = cross_entropy.forward(np.stack([lead, 0 * lead], 1), np.ones(141, np.int64), reduction="none")
assert np.allclose(exact[100], 100)
assert np.isfinite(exact).all()
assert not np.isfinite(naive[lead > 89]).any()  # float32 ends near e^88.7

drawn, axes = figure(6, 2.8)
axes.plot(lead, exact, label="largest score taken out", markevery=20, **LINES[0])
axes.plot(lead, naive, label="-log(exp / sum)", markevery=(10, 20), **LINES[1])
axes.legend()
tidy(axes, "lead of the wrong class", "loss", "float32: the naive formula ends, the exact one goes on")
show(drawn, "03-large-scores")

# %% [markdown]
# **A frequent mistake: softmax twice.** `CrossEntropyLoss` takes *scores*: the softmax is inside. If the network ends
# with a softmax as well, the loss sees "scores" between 0 and 1. Even a perfect network, which answers 1 for the right
# class and 0 for the others, then has the loss $-\log\frac{e}{e + (C-1)} = \log(1 + (C-1)/e)$, for ten classes 1.46.
# Nothing crashes; it just learns badly (tutorial 7 catches it).
#
# **Another: two kinds of labels.** A label is a class number (`3`) or a distribution (`[0, 0, 0, 1, ...]`). Keras has
# two losses for them (`sparse_categorical_crossentropy` and `categorical_crossentropy`), and mixing them up fails, at
# best. Here one function takes both, and tells them apart by their dtype and shape.

# %%
perfect = Tensor(np.eye(10)[[3]])
floor = nn.functional.cross_entropy(perfect, np.array([3])).item()
assert np.isclose(floor, math.log(1 + 9 / math.e))
print(f"softmax twice: the loss of a perfect network is {floor:.2f}")

scores = Tensor(rng.standard_normal((4, 10)))
labels = np.array([3, 1, 4, 1])
by_number = nn.functional.cross_entropy(scores, labels)
by_distribution = nn.functional.cross_entropy(scores, np.eye(10)[labels])
assert np.isclose(by_number.item(), by_distribution.item())

# %% [markdown]
# ## A classifier, all gradients by hand
#
# Three intertwined spirals; points in the plane, three classes. Linear, ReLU, linear, softmax with cross-entropy: the
# forward pass is four lines, and the backward pass is the same four lines read from below. The mean over the batch
# divides the gradient by $N$, once, at the beginning.

# %%
PER_CLASS, HIDDEN = 60, 32
radius = np.linspace(0.1, 1, PER_CLASS)
angles = radius * 4.5 + np.arange(3)[:, None] * 2 * np.pi / 3 + 0.12 * rng.standard_normal((3, PER_CLASS))
points = np.stack([radius * np.sin(angles), radius * np.cos(angles)], axis=-1).reshape(-1, 2)
labels = np.repeat(np.arange(3), PER_CLASS)
true = np.eye(3)[labels]

W1, b1 = rng.standard_normal((HIDDEN, 2)), np.zeros(HIDDEN)
W2, b2 = 0.01 * rng.standard_normal((3, HIDDEN)), np.zeros(3)


def forward(points):
    hidden = points @ W1.T + b1
    open_ = relu(hidden)
    return hidden, open_, open_ @ W2.T + b2


def loss_and_gradients():
    hidden, open_, scores = forward(points)
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    d_scores = (np.exp(log_p) - true) / len(points)  # p - q, and the mean
    d_hidden = (d_scores @ W2) * (hidden > 0)  # through the second layer, through the gate
    gradients = (d_hidden.T @ points, d_hidden.sum(axis=0), d_scores.T @ open_, d_scores.sum(axis=0))
    return -log_p[np.arange(len(points)), labels].mean(), gradients


start, gradients = loss_and_gradients()
assert abs(start - math.log(3)) < 0.05  # it knows nothing yet

# %% [markdown]
# Are these gradients right? The tape says so:

# %%
tensors = [Tensor(array, requires_grad=True) for array in (W1, b1, W2, b2)]
hidden = nn.functional.relu(nn.functional.linear(Tensor(points), tensors[0], tensors[1]))
loss = nn.functional.cross_entropy(nn.functional.linear(hidden, tensors[2], tensors[3]), labels)
loss.backward()
assert np.isclose(loss.item(), start)
for tensor, gradient in zip(tensors, gradients, strict=True):
    assert np.allclose(tensor.grad.numpy(), gradient, rtol=1e-10, atol=1e-14)

# %% [markdown]
# So let us go downhill, with a little momentum:

# %%
losses, velocities = [], [np.zeros_like(array) for array in (W1, b1, W2, b2)]
for _ in range(500):
    loss, gradients = loss_and_gradients()
    losses.append(loss)
    for array, velocity, gradient in zip((W1, b1, W2, b2), velocities, gradients, strict=True):
        velocity[...] = 0.9 * velocity - 0.2 * gradient
        array += velocity
right = (forward(points)[2].argmax(axis=1) == labels).mean()
print(f"loss {losses[0]:.3f} at the start (log 3 = {math.log(3):.3f}), {losses[-1]:.3f} at the end; right: {right:.1%}")
assert right > 0.95

drawn, axes = figure(9, 3.8, columns=2)
axes[0].plot(losses, **LINES[0] | {"marker": ""})
axes[0].axhline(math.log(3), label="log 3: knows nothing", **LINES[1] | {"marker": ""})
axes[0].legend()
tidy(axes[0], "step", "loss")
grid = np.stack(np.meshgrid(np.linspace(-1.2, 1.2, 150), np.linspace(-1.2, 1.2, 150)), axis=-1)
answer = forward(grid.reshape(-1, 2))[2].argmax(axis=1).reshape(150, 150)
axes[1].contourf(
    grid[..., 0], grid[..., 1], answer, [-0.5, 0.5, 1.5, 2.5], colors=["0.97", "0.86", "0.75"], hatches=["", "//", ".."]
)
for c, marker in enumerate("o^s"):
    axes[1].scatter(*points[labels == c].T, s=18, marker=marker, facecolor=str(1 - c / 2), edgecolor="0.0", zorder=3)
axes[1].set_aspect("equal")
tidy(axes[1], "first coordinate", "second coordinate", "what the network answers")
show(drawn, "03-three-spirals")

# %% [markdown]
# ## Exercises
#
# 1. A thousand classes, and a loss that stays near 5.91 however long you train. What is wrong with the network, and how
#    does 5.91 follow?
# 2. With *label smoothing* $s$ the true distribution is $(1-s)\,q + s/C$. Three classes, $s = 0.3$, scores all 0, the
#    true class is the first. What is the gradient?
# 3. Two classes, scores $(z, 0)$. Show that $p_0 = 1/(1+e^{-z})$, the sigmoid, and write down $dz$ for the label 0.
# 4. Divide all scores by a *temperature* $T$ before the softmax. What is the gradient with respect to the scores, for a
#    single image? Write a function of (z, q, T).
# 5. Start the spirals with `W2` a hundred times larger. Where does the loss start (the assertion on `start` fails), and
#    why is that bad news? (Near 3: it pays more than somebody who knows nothing.)

# %%
answer_1 = None  # "softmax twice", "dead units" or "too few images"
answer_2 = None  # a list of three numbers
answer_3 = None  # a function of z
answer_4 = None  # a function of (z, q, T) that returns an array

# %%
assert answer_1 is None or (answer_1 == "softmax twice" and abs(math.log(1 + 999 / math.e) - 5.91) < 0.005)
smoothed = Tensor(np.zeros((1, 3)), requires_grad=True)
nn.functional.cross_entropy(smoothed, np.array([0]), label_smoothing=0.3).backward()
assert answer_2 is None or np.allclose(answer_2, smoothed.grad.numpy()[0])
for value in (-2.0, 0.5):
    pair = Tensor(np.array([[value, 0.0]]), requires_grad=True)
    nn.functional.cross_entropy(pair, np.array([0])).backward()
    assert answer_3 is None or np.isclose(answer_3(value), pair.grad.numpy()[0, 0])
if answer_4 is not None:
    warm = Tensor(z[None], requires_grad=True)
    nn.functional.cross_entropy(warm * 0.5, q[None]).backward()
    assert np.allclose(answer_4(z, q, 2.0), warm.grad.numpy()[0])
