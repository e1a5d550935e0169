# %% [markdown]
# # 12. Recurrent networks: backpropagation through time
#
# **Question: the error of the last step is to tell the first step, many steps ago, what it should have done. How much
# of the message arrives, and what would keep it alive?**
#
# A recurrent network reads a sequence with the same weights at every step, and carries a state. Unrolled in time it is
# a very deep network whose layers are all the same. We derive its gradient, watch it vanish and explode, and see what
# clipping and an LSTM do about it.

# %%
import numpy as np

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.autograd import apply
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn.utils import clip_grad_norm_
from minicnn.ops import lstm
from minicnn.study.figures import figure, show

rng = np.random.default_rng(0)

# %% [markdown]
# ## The formula, and its gradient
#
# $$ a_t = W_{ih}\, x_t + W_{hh}\, h_{t-1}, \qquad h_t = \tanh(a_t), \qquad t = 1 \dots T $$
#
# (biases left out, to keep it short; what the network says at a step is a linear layer of $h_t$, as in tutorial 3).
# Write $\delta_t = \partial L/\partial h_t$ and $\alpha_t = \partial L/\partial a_t$. The state $h_t$ acts in two
# places: on the loss directly, and on the next state through $W_{hh}$. So, from the end,
#
# $$ \delta_t = \frac{\partial L}{\partial h_t}\Big|_{\text{direct}} + W_{hh}^\top \alpha_{t+1}, \qquad
#    \alpha_t = (1 - h_t^2) \odot \delta_t , \qquad \alpha_{T+1} = 0 . $$
#
# And since the *same* matrix is used at every step, each step has a say, and the gradients are sums over time:
#
# $$ \frac{\partial L}{\partial W_{hh}} = \sum_{t=1}^{T} \alpha_t\, h_{t-1}^\top, \qquad
#    \frac{\partial L}{\partial W_{ih}} = \sum_{t=1}^{T} \alpha_t\, x_t^\top . $$
#
# Nothing here is new: it is the chain rule on the unrolled network, with one name for $T$ equal weights. In code it is
# one loop forward and one loop back.


# %%
def forward(x, h0, w_ih, w_hh):
    """x (T, I) -> the states h_0 .. h_T, (T + 1, H)."""
    h = [h0]
    for t in range(len(x)):
        h.append(np.tanh(w_ih @ x[t] + w_hh @ h[-1]))
    return np.array(h)


def backward(dh, h, w_hh):
    """From dh (T, H), the direct gradients of h_1 .. h_T: delta_0 .. delta_T (T + 1, H), alpha_1 .. alpha_T (T, H)."""
    delta, alpha = np.zeros_like(h), np.zeros_like(dh)
    message = 0.0
    for t in range(len(dh), 0, -1):
        delta[t] = dh[t - 1] + message
        alpha[t - 1] = (1 - h[t] ** 2) * delta[t]
        message = w_hh.T @ alpha[t - 1]
    delta[0] = message
    return delta, alpha


steps, inputs, hidden = 12, 3, 8
x, h0 = rng.standard_normal((steps, inputs)), rng.standard_normal(hidden) * 0.5
w_ih, w_hh = rng.standard_normal((hidden, inputs)) * 0.4, rng.standard_normal((hidden, hidden)) * 0.35
h = forward(x, h0, w_ih, w_hh)
wish = rng.standard_normal(hidden)
dh = np.zeros((steps, hidden))
dh[-1] = wish  # the loss is wish . h_T: it looks at the last state only
delta, alpha = backward(dh, h, w_hh)
terms = [np.outer(alpha[t], h[t]) for t in range(steps)]  # alpha_{t+1} h_t^T
dw_hh, dw_ih = sum(terms), alpha.T @ x

# %% [markdown]
# minicnn has the whole sequence as one operation (`minicnn.ops.rnn`), with a batch axis in the middle.

# %%
tensors = [Tensor(array, requires_grad=True) for array in (x[:, None], h0[None], w_ih, w_hh)]
states = apply("rnn", *tensors)
(states[-1] * Tensor(wish)).sum().backward()
assert np.allclose(states.array[:, 0], h[1:])
for tensor, ours in zip(tensors, ((alpha @ w_ih)[:, None], delta[:1], dw_ih, dw_hh), strict=True):
    assert np.allclose(tensor.grad.numpy(), ours, rtol=1e-12, atol=1e-14)
print("states and all four gradients are those of the engine")
print(
    "each step's term in dW_hh, relative:", *(f"{np.linalg.norm(term) / np.linalg.norm(dw_hh):.3f}" for term in terms)
)

# %% [markdown]
# `minicnn.explain` writes such a sum out, for any entry of any gradient: here for $\partial L/\partial W_{hh}$ at $(2,
# 5)$, in a network that puts out the last state (and begins with $h_0 = 0$).


# %%
class Last(nn.Module):
    """The last state of a recurrent layer with our weights."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(inputs, hidden, bias=False)
        self.rnn.weight_ih_l0, self.rnn.weight_hh_l0 = nn.Parameter(w_ih), nn.Parameter(w_hh)

    def forward(self, x):
        """(T, N, I) -> (N, H)."""
        return self.rnn(x)[0][-1]


explained = minicnn.explain(
    Last(), x[:, None], 0, layer="rnn", at=(2, 5), grad="w_hh", loss_function=lambda y, _: (y * Tensor(wish)).sum()
)
show(explained)
h = forward(x, np.zeros(hidden), w_ih, w_hh)
_, alpha = backward(dh, h, w_hh)
assert np.allclose(sorted(term.value for term in explained.terms), sorted(alpha[:, 2] * h[:-1, 5]))

# %% [markdown]
# The further back, the less a step has to say. Why?
#
# ## Vanishing and exploding
#
# From step to step the message is multiplied by a matrix:
#
# $$ \delta_{t} = W_{hh}^\top \operatorname{diag}(1 - h_{t+1}^2)\; \delta_{t+1} . $$
#
# While the states are small, $1 - h^2 \approx 1$, and $k$ steps back it is $(W_{hh}^\top)^k\,\delta_T$. Write
# $\delta_T$ in eigenvectors: the part along an eigenvector grows by its eigenvalue each time, so that in the end the
# largest $|\lambda|$, the *spectral radius* $\rho$, decides:
#
# $$ \lVert \delta_{T-k} \rVert \;\sim\; \rho^{\,k} . $$
#
# With $\rho = 0.9$, after 50 steps half a percent is left; with $\rho = 1.1$ it is some hundred times longer. And the
# factors $1 - h^2 < 1$ make it shorter: a tanh network that uses its states fully forgets sooner than $\rho$ says.

# %%
far = 60


def message(w_hh, size):
    """Length of delta, from the last step to the first, when the states have about this size."""
    h = forward(np.zeros((far, inputs)), np.full(hidden_large, size), np.zeros((hidden_large, inputs)), w_hh)
    dh = np.zeros((far, hidden_large))
    dh[-1] = 1 / np.sqrt(hidden_large)
    return np.linalg.norm(backward(dh, h, w_hh)[0], axis=1)[::-1]


hidden_large, lengths = 64, {}
random = rng.standard_normal((hidden_large, hidden_large))
random /= np.abs(np.linalg.eigvals(random)).max()  # now its spectral radius is 1
for rho in (0.8, 0.9, 1.0, 1.1):
    lengths[rho] = message(rho * random, size=1e-9)
    slope = np.polyfit(np.arange(20, far + 1), np.log(lengths[rho][20:]), 1)[0]
    print(f"spectral radius {rho}: a step changes the length by {np.exp(slope):.3f}, {lengths[rho][50]:.1e} after 50")
    assert abs(np.exp(slope) / rho - 1) < 0.05
saturated = message(1.1 * random, size=1.0)
print(f"radius 1.1 and states of size 1: {saturated[50]:.1e} after 50")
assert saturated[50] < lengths[1.1][50]

# %%
drawn, ax = figure(6.5, 3.2)
for (rho, length), style in zip(lengths.items(), ("k:", "k-.", "k--", "k-"), strict=True):
    ax.semilogy(length, style, label=f"radius {rho}")
ax.semilogy(saturated, color="0.6", linewidth=2.5, label="radius 1.1, large states")
ax.set(xlabel="steps back from the end", ylabel="length of the message")
ax.legend(fontsize=8)
show(drawn, "12-vanishing-and-exploding")

# %% [markdown]
# Note what this does *not* say: that nothing is learned. The gradient of $W_{hh}$ is a sum, and its last terms are
# healthy. What is lost is the part of the sum that comes from long ago: the network learns what is near, and never
# hears about what is far (Bengio et al. 1994).
#
# ## Clipping: a cliff in the loss
#
# The smallest recurrent network has one linear unit, $h_t = w\,h_{t-1}$, $h_0 = 1$, and is asked to keep its state:
# $L(w) = \frac12 (w^T - 1)^2$ with $T = 30$. On the left of $w = 1$ the loss is flat, on the right it is a wall:
#
# $$ \frac{dL}{dw} = (w^T - 1)\; T\, w^{T-1} . $$
#
# At the wall the gradient is right about where to go, and absurd about how far. *Clipping* keeps the direction and
# limits the length to $c$: $g \leftarrow g \cdot \min(1, c/\lVert g\rVert)$ (Pascanu et al. 2013).


# %%
def keep_state(w, rate, most=None, many=30):
    """Gradient descent on w; the values of w, and the gradients before clipping."""
    w = nn.Parameter(np.array([w]))
    optimizer, path, gradients = optim.SGD([w], lr=rate), [w.item()], []
    for _ in range(many):
        loss = ((w**30 - 1.0) ** 2).sum() * 0.5
        optimizer.zero_grad()
        loss.backward()
        gradients.append(w.grad.item())
        if most is not None:
            clip_grad_norm_([w], most)
        optimizer.step()
        path.append(w.item())
    return path, gradients


wild, gradients = keep_state(1.1, rate=0.01, many=1)
tame, _ = keep_state(1.1, rate=0.01, most=1.0)
print(f"gradient at w = 1.1: {gradients[0]:,.0f}; the step leads to w = {wild[1]:.0f}, where the loss is 10^", end="")
print(f"{np.log10(abs(wild[1])) * 60 + np.log10(0.5):.0f}")
print("clipped to 1:", *(f"{w:.3f}" for w in tame[::3]))
assert np.isclose(gradients[0], (1.1**30 - 1) * 30 * 1.1**29)
assert abs(wild[1]) > 50
assert abs(tame[-1] - 1) < 0.02

# %%
drawn, ax = figure(6.5, 3)
line = np.linspace(0.9, 1.105, 200)
ax.plot(line, 0.5 * (line**30 - 1) ** 2, "k-")
ax.plot(tame, [0.5 * (w**30 - 1) ** 2 for w in tame], "ks", markersize=4, fillstyle="none", label="clipped steps")
ax.set(xlabel="w", ylabel="loss", ylim=(-5, 200))
ax.legend()
show(drawn, "12-the-cliff")

# %% [markdown]
# Clipping mends explosion. For vanishing it can do nothing: a message that has not arrived cannot be made longer.
#
# ## The LSTM: a path that is a sum
#
# An LSTM (Hochreiter and Schmidhuber 1997) has a second state, the cell $c$, and gates between 0 and 1:
#
# $$ c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh(c_t) , $$
#
# all of $f, i, o$ (sigmoids) and $g$ (tanh) computed from $x_t$ and $h_{t-1}$. From cell to cell there is no matrix and
# no tanh: along this path
#
# $$ \frac{\partial c_t}{\partial c_{t-1}} = \operatorname{diag}(f_t), \qquad
#    \frac{\partial c_T}{\partial c_0} = \operatorname{diag}\Bigl(\prod_t f_t\Bigr) . $$
#
# It is the shortcut of a ResNet (tutorial 8), with a gate in it. As a layer is made, all biases are near 0 and
# $f \approx \frac12$: 24 steps leave $2^{-24}$. With 3 as the bias of the forget gate, $f \approx 0.95$, and
# $0.95^{24} = 0.3$. First only the path through the cell is there ($W_{hh} = 0$): the gradient is then the product of
# the gates, exactly.

# %%
letters, units, length = 6, 16, 24
sequence = np.eye(letters)[rng.integers(0, letters, length)][:, None]
for bias in (0.0, 3.0):
    minicnn.manual_seed(1)
    layer = nn.LSTM(letters, units)
    w_ih, w_hh, b, other = (p.detach().numpy().astype(float) for p in layer.parameters())
    b[units : 2 * units] = bias  # blocks of i, f, g, o
    found = {}
    for name, recurrent in (("cell only", 0 * w_hh), ("all paths", w_hh)):
        zero = np.zeros((1, units))
        cell = Tensor(zero, requires_grad=True)
        both = apply("lstm", Tensor(sequence), Tensor(zero), cell, *map(Tensor, (w_ih, recurrent, b, other)))
        both[1, -1].sum().backward()  # of c_T
        found[name] = cell.grad.numpy()
        _, gates = lstm.forward(sequence, zero, zero, w_ih, recurrent, b, other)
        product = gates[:, :, units : 2 * units].prod(axis=0)
        if name == "cell only":
            assert np.allclose(found[name], product, rtol=1e-10)
    mean = {name: np.abs(gradient).mean() for name, gradient in found.items()}
    print(f"forget bias {bias}: dc_T/dc_0 through the cell {mean['cell only']:.1e}, all paths {mean['all paths']:.1e}")
    assert (mean["cell only"] > 0.1) == (bias == 3)

# %% [markdown]
# ## Does it matter? A memory task
#
# The first of 40 letters is one of three, and is asked for at the end; the others mean nothing. Whoever guesses is
# right in one of three. To see that it is the distance that is hard, the same with 4 letters.


# %%
def remembers(kind, length, steps=100, bias=None, seed=0):
    """Train on the task; the share of new sequences whose first letter is known at the end."""
    minicnn.manual_seed(seed)
    draw = np.random.default_rng(seed)
    layer, head = kind(6, 32, batch_first=True), nn.Linear(32, 3)
    if bias is not None:
        layer.bias_ih_l0.array[32:64] = bias
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = optim.Adam(parameters, lr=0.01)

    def scores(n):
        text = draw.integers(3, 6, (n, length))
        text[:, 0] = first = draw.integers(0, 3, n)
        output, _ = layer(Tensor(np.eye(6, dtype=np.float32)[text]))
        return head(output[:, -1]), first

    for _ in range(steps):
        z, first = scores(64)
        loss = F.cross_entropy(z, Tensor(first))
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with minicnn.no_grad():
        z, first = scores(500)
    return float((z.numpy().argmax(1) == first).mean())


known = {}
for name, kind, bias in (("RNN", nn.RNN, None), ("LSTM", nn.LSTM, None), ("LSTM, forget bias 3", nn.LSTM, 3.0)):
    known[name] = [remembers(kind, length, bias=bias) for length in (4, 40)]
    print(f"{name:20}: knows the first of 4 letters in {known[name][0]:.0%}, the first of 40 in {known[name][1]:.0%}")
assert all(short > 0.95 for short, _ in known.values())
assert known["LSTM, forget bias 3"][1] > 0.95
assert known["LSTM"][1] < 0.6

# %% [markdown]
# An LSTM as it is made is no better than its forget gates: with a closed door, a corridor is of no use. (What the plain
# RNN makes of 40 letters depends on the seed, for its spectral radius at the start is near 0.6, and it must first find
# a larger one: with the seeds 0 to 3, one of four does. With 24 letters, most do.)
#
# ## Exercises
#
# Replace `None` in the last cells; the assertions say whether you are right. The others are experiments: what you
# should find stands in brackets.
#
# 1. Which bias of the forget gate leaves half of the cell after 24 steps, if nothing else moves the gate?
# 2. $W = \begin{pmatrix}0.85 & 5\\ 0 & 0.85\end{pmatrix}$ has $\rho = 0.85$. For which $k$ is the norm of $W^k$
#    largest? Spectral radius or norm: which speaks about the first steps, and which about the end?
# 3. Derive $\partial L/\partial f_t$ from $\delta c_t = \partial L/\partial c_t$: write it as a function of `dc` and of
#    the cell before.
# 4. Make $W_{hh}$ in the second experiment an orthogonal matrix (`np.linalg.qr`). What is the length of the message for
#    small states, exactly? (The same at all steps, to rounding.)
# 5. *Truncated* backpropagation stops the message after $k$ steps. In `backward` set the message to zero at one step.
#    Which terms of the sum for $dW_{hh}$ change? (Exactly those before the cut become 0.)
# 6. In `remembers`, give the RNN an orthogonal $W_{hh}$ (`layer.weight_hh_l0.array[:] = q`), and try 60 letters with
#    the seeds 0 to 3. How far back does it remember, compared with the default? (Most seeds know all first letters; by
#    default none is better than guessing.)

# %%
answer_1 = None  # a bias
answer_2 = None  # a number of steps
answer_3 = None  # a function of (dc, c_before)

# %%
half = 0.5 ** (1 / 24)
assert answer_1 is None or np.isclose(answer_1, np.log(half / (1 - half)), rtol=0.01)
powers = [np.linalg.norm(np.linalg.matrix_power(np.array([[0.85, 5], [0, 0.85]]), k), 2) for k in range(1, 30)]
assert answer_2 in (None, 1 + int(np.argmax(powers)))
assert answer_3 is None or np.allclose(answer_3(np.array([2.0, -1.0]), np.array([0.5, 3.0])), [1.0, -3.0])
