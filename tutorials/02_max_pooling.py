# %% [markdown]
# # 2. Max pooling and its gradient
#
# **Question: max pooling throws three of four numbers away. Can anything be learned through such a hole, and what
# happens when two numbers are equally large?**
#
# You need tutorial 1: what a window is, and why a gradient needs `+=`.

# %%
import numpy as np

import minicnn
from minicnn import Tensor, nn
from minicnn.ops import max_pool2d
from minicnn.study.figures import LINES, figure, numbers, show, tidy

# %% [markdown]
# ## The formula
#
# Printed with indices from 1, one channel, stride 1: $\;y_{i,j} = \max_{k,l}\, x_{i+k-1,\;j+l-1}$. With a stride
# $\sigma$ (usually the size of the window, so that windows do not overlap), from 0, each channel by itself:
#
# $$y_{n,c,p,q} = \max_{r,s}\; x_{n,\,c,\,p\sigma+r,\;q\sigma+s} .$$
#
# Compare with a convolution: the windows are the same, but $\sum$ has become $\max$, there is nothing to learn, and
# channels do not mix. What we shall need later is *who* won:


# %%
def pool(x, size, stride):
    """The maximum of each window of x (H, W), and the place (row, column) of the first pixel that has it."""
    P, Q = (x.shape[0] - size) // stride + 1, (x.shape[1] - size) // stride + 1
    y, winner = np.empty((P, Q)), {}
    for p, q in np.ndindex(P, Q):
        best = (p * stride, q * stride)
        for r, s in np.ndindex(size, size):
            place = (p * stride + r, q * stride + s)
            if x[place] > x[best]:  # a later one must be larger: of equal ones the first stays
                best = place
        y[p, q], winner[p, q] = x[best], best
    return y, winner


x = np.array([[1, 3, 2, 1], [4, 2, 0, 5], [1, 1, 7, 2], [0, 6, 3, 3]], float)
y, winner = pool(x, 2, 2)
assert np.array_equal(y, [[4, 5], [6, 7]])
assert np.array_equal(y, nn.functional.max_pool2d(Tensor(x[None, None]), 2).numpy()[0, 0])

# %% [markdown]
# ## The gradient
#
# Is $\max(a, b)$ differentiable? If $a > b$, then near this point $\max(a,b) = a$: moving $a$ by $\varepsilon$ moves
# the result by $\varepsilon$, and moving $b$ a little does nothing. So
#
# $$\frac{\partial \max(a,b)}{\partial a} = \begin{cases}1 & a>b\\0 & a<b\end{cases}$$
#
# and the same for more numbers: **the winner has the derivative 1, all others 0**, as long as $\varepsilon$ is smaller
# than the lead of the winner. By the chain rule
#
# $$dx_{h,v} = \sum_{(p,q)\,:\;\text{the winner of window } (p,q) \text{ is } (h,v)} dy_{p,q} .$$
#
# Max pooling is a switch: forward it lets one number pass, and backward the gradient goes the same way and nowhere
# else.


# %%
def pool_backward(dy, winner, shape):
    """dx: each output sends its gradient to its winner."""
    dx = np.zeros(shape)
    for (p, q), place in winner.items():
        dx[place] += dy[p, q]
    return dx


dy = np.array([[1.0, 2], [3, 4]])
dx = pool_backward(dy, winner, x.shape)
assert dx.sum() == dy.sum()  # nothing is lost

drawn, axes = figure(9, 2.9, columns=4)
numbers(axes[0], x, "x, winners framed", marked=list(winner.values()))
numbers(axes[1], y, "y")
numbers(axes[2], dy, "dy")
numbers(axes[3], dx, "dx", marked=list(winner.values()))
show(drawn, "02-winners-and-where-the-gradient-goes")

# %% [markdown]
# So three of four pixels learn nothing *from this image*. Other images have other winners; over many images every
# pixel gets its turn. A weight of the convolution before gets the sum over all winners, and there are plenty.
#
# ## Overlapping windows: `+=` again
#
# ResNet pools $3\times3$ windows with stride 2. A pixel can then win up to four times, and collects from each window:

# %%
peak = np.zeros((5, 5))
peak[2, 2] = 9.0
top, champion = pool(peak, 3, 2)
gathered = pool_backward(dy, champion, peak.shape)
assert set(champion.values()) == {(2, 2)}
assert gathered[2, 2] == dy.sum() == 10
assert np.count_nonzero(gathered) == 1

images = Tensor(peak[None, None], requires_grad=True)
nn.functional.max_pool2d(images, 3, stride=2).backward(dy[None, None])
assert np.array_equal(images.grad.numpy()[0, 0], gathered)

# %% [markdown]
# With `=` in the place of `+=` this pixel would have got 4 instead of 10. (A classical mistake: NumPy's
# `dx[rows, columns] += values` with *repeated* places also keeps only the last one. `np.add.at` is right.)

# %%
rows, columns = np.array(list(champion.values())).T
wrong, right = np.zeros((5, 5)), np.zeros((5, 5))
wrong[rows, columns] += dy.ravel()
np.add.at(right, (rows, columns), dy.ravel())
assert wrong[2, 2] == 4
assert np.array_equal(right, gathered)

# %% [markdown]
# ## Ties
#
# If two pixels are equally large, $\max$ has a *kink*, and no derivative. Along $a$ with $b=0$ fixed:

# %%
a = np.linspace(-1, 1, 9)
drawn, axes = figure(5, 2.8)
axes.plot(a, np.maximum(a, 0), label="max(a, 0)", **LINES[0])
axes.plot(a, 0 * a, label="slope 0, to the left", **LINES[1] | {"marker": ""})
axes.plot(a, a, label="slope 1, to the right", **LINES[2] | {"marker": ""})
axes.legend()
tidy(axes, "a", "max(a, 0)", "at a = 0 there are two slopes")
show(drawn, "02-a-kink")

# %% [markdown]
# Any number between the two slopes is a *subgradient* and will do for learning. But one must be chosen, and always in
# the same way. Three choices suggest themselves, and one of them is wrong:
#
# 1. the first of the equal pixels takes all (minicnn, PyTorch);
# 2. they share equally;
# 3. each of them takes all. Tempting, since `dx = dy * (x == y)` is so short. But then a gradient of 1 becomes a
#    gradient of 4 in a window of four equal pixels. Equal pixels are no rarity: after ReLU a window is often all
#    zeros.

# %%
flat = np.zeros((2, 2))
images = Tensor(flat[None, None], requires_grad=True)
nn.functional.max_pool2d(images, 2).backward(np.ones((1, 1, 1, 1)))
first = images.grad.numpy()[0, 0]
assert np.array_equal(first, [[1, 0], [0, 0]])

two_threes = np.array([[3.0, 1], [3, 2]])
show(minicnn.explain(nn.MaxPool2d(2), two_threes[None, None], at=(0, 0, 0, 0)))

each = np.ones((1, 1)) * (flat == flat.max())
direction = np.ones((2, 2))  # all four pixels grow together: the maximum grows just as fast, with slope 1
assert (first * direction).sum() == 1
assert (each * direction).sum() == 4  # the third choice says 4

# %% [markdown]
# How common are such ties? Here are random feature maps after a ReLU, in windows of $2\times2$:

# %%
rng = np.random.default_rng(0)
maps = np.maximum(rng.standard_normal((1, 1, 200, 200)), 0)
windows = maps.reshape(100, 2, 100, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
tied = (windows == windows.max(axis=1, keepdims=True)).sum(axis=1) > 1
print(f"windows with a tie: {tied.mean():.1%}")
assert abs(tied.mean() - 0.5**4) < 0.01  # those of four zeros: (1/2)^4

# %% [markdown]
# Such a window has $y=0$, and the gradient that goes to its first pixel is stopped at once by the ReLU before it,
# whose slope at values below zero is 0. That is why the choice rarely shows.
#
# ## Padding, and NaN
#
# What value should padding have? Zero would be a mistake: in a window of negative numbers the padding would win, and
# the gradient would leave the image. So outside the image $x$ counts as $-\infty$. And a NaN must win every
# comparison, or a broken number would be swept under the carpet: note that `NaN > 3` is false, so our little `pool`
# above is wrong there.

# %%
negative = -np.ones((1, 1, 3, 3))
assert (max_pool2d.forward(negative, kernel_size=3, stride=2, padding=1)[0] == -1).all()

broken = x[None, None].copy()
broken[0, 0, 1, 1] = np.nan
result, _ = max_pool2d.forward(broken, kernel_size=2)
assert np.isnan(result[0, 0, 0, 0])
assert not np.isnan(pool(broken[0, 0], 2, 2)[0][0, 0])  # ours swept it away

# %% [markdown]
# ## What it is good for
#
# The next layer has a quarter of the work. And the result forgives small movements: shift the image by one pixel, and
# a window of $s\times s$ keeps $s(s-1)$ of its pixels and gets $s$ new ones. Its maximum stays if the largest of all
# $s(s+1)$ is among those that stayed. In an image of independent random pixels each is equally likely to be the
# largest, so the chance is $\frac{s(s-1)}{s(s+1)} = \frac{s-1}{s+1}$: a third for $s=2$, a half for $s=3$. (Real
# images are smooth; there it is the neighbours that are nearly equal.)

# %%
noise = rng.standard_normal((1, 1, 600, 601))
for s in (2, 3, 4):
    here, there = (max_pool2d.forward(noise[..., shift : shift + 600], kernel_size=s)[0] for shift in (0, 1))
    print(f"window {s}x{s}: {(here == there).mean():.1%} of the maxima stay, predicted {(s - 1) / (s + 1):.1%}")
    assert abs((here == there).mean() - (s - 1) / (s + 1)) < 0.01

# %% [markdown]
# The mean of each window (*average pooling*) is linear, and spreads its gradient evenly:

# %%
images = Tensor(x[None, None], requires_grad=True)
nn.functional.avg_pool2d(images, 2).backward(dy[None, None])
even = images.grad.numpy()[0, 0]
assert np.array_equal(even, np.kron(dy / 4, np.ones((2, 2))))

drawn, axes = figure(6.4, 2.9, columns=3)
numbers(axes[0], dy, "dy")
numbers(axes[1], dx, "dx of max pooling")
numbers(axes[2], even, "dx of average pooling", form="{:.2f}")
show(drawn, "02-all-to-the-winner-or-a-share-for-each")

# %% [markdown]
# Max pooling can be checked with difference quotients wherever no two pixels tie. At a tie the two one-sided slopes
# differ, and the check only asks that the gradient lies between them; it counts such entries as *kinks*.

# %%
distinct = rng.permutation(36).reshape(1, 1, 6, 6) / 10.0
report = minicnn.gradcheck(lambda x: nn.functional.max_pool2d(x, 3, stride=2, padding=1), [distinct])
assert report.inputs[0].kinks == 0
tied = distinct.copy()
tied[0, 0, 2, 2] = tied[0, 0, 2, 3] = 9.0
report = minicnn.gradcheck(lambda x: nn.functional.max_pool2d(x, 3, stride=2, padding=1), [tied])
assert report.inputs[0].kinks == 2
print(report)

# %% [markdown]
# ## Exercises
#
# 1. `x` below is pooled by $2\times2$ windows with stride **1**. Which pixel gets the largest gradient if $dy$ is all
#    ones, and how large is it?
# 2. Two poolings of $2\times2$ with stride 2, one after the other, are one pooling. Of which window and stride? (Then
#    try two convolutions: is there a single convolution that does the same? And a ReLU between them?)
# 3. Does it matter whether one pools before the ReLU or after it? Does it matter for the result, and for the time?
# 4. Write `shared`, the second choice above: equal winners share the gradient of their window equally ($2\times2$,
#    stride 2).

# %%
x = np.array([[1, 3, 2, 1], [4, 2, 0, 5], [1, 1, 7, 2], [0, 6, 3, 3]], float)
answer_1 = None  # (row, column, gradient)
answer_2 = None  # (window, stride)
answer_3 = None  # (the result differs: True or False, the faster order: "pool, relu" or "relu, pool")
shared = None  # a function of x (H, W) and dy (P, Q) that returns dx

# %%
dx = pool_backward(np.ones((3, 3)), pool(x, 2, 1)[1], x.shape)
place = np.unravel_index(dx.argmax(), dx.shape)
assert answer_1 in (None, (*place, dx[place]))
twice = pool(pool(x, 2, 2)[0], 2, 2)[0]
assert answer_2 is None or np.array_equal(pool(x, *answer_2)[0], twice)
assert answer_3 in (None, (False, "pool, relu"))
if shared is not None:
    assert np.array_equal(shared(np.zeros((2, 2)), np.ones((1, 1))), np.full((2, 2), 0.25))
    assert np.array_equal(shared(x, dy), pool_backward(dy, winner, x.shape))  # no ties: as before
