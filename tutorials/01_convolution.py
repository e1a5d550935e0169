# %% [markdown]
# # 1. Convolution, from its formula
#
# **Question: a convolution is one line of sums. Why does its gradient contain a `+=`, zeros between the numbers, and a
# kernel that stands on its head?**
#
# We write the formula as plain loops, derive all three gradients, and see that they are convolutions themselves. From
# tutorial 0 you know the rule that does all the work: *movements along a path multiply, and where paths meet they
# add.*

# %%
import numpy as np

import minicnn
from minicnn import Tensor, nn
from minicnn.ops.conv2d import formula
from minicnn.study.figures import figure, numbers, show

rng = np.random.default_rng(0)

# %% [markdown]
# ## One formula, four additions to it
#
# Printed for one image and one channel, with indices from 1, it reads
#
# $$y_{i,j} = \sum_{k=1}^{K}\sum_{l=1}^{L} x_{i+k-1,\;j+l-1}\; w_{k,l} + b .$$
#
# Real layers add a batch of images ($n$), channels in ($c$) and out ($k$), a *stride* $\sigma$ (the kernel moves by
# $\sigma$ pixels at a time) and *padding* $\pi$ (so many rows and columns of zeros around the image). With indices
# from 0:
#
# $$y_{n,k,p,q} = b_k + \sum_{c=0}^{C-1}\sum_{r=0}^{R-1}\sum_{s=0}^{S-1}
#   x_{n,\,c,\;p\sigma+r-\pi,\;q\sigma+s-\pi}\; w_{k,c,r,s}, \qquad x = 0 \text{ outside the image.}$$
#
# Shapes: $x$ is $(N,C,H,W)$, $w$ is $(K,C,R,S)$, $b$ is $(K,)$, $y$ is $(N,K,P,Q)$. As loops, letter by letter:


# %%
def convolution(x, w, b, stride=1, padding=0):
    """y, by the formula: seven loops, no speed."""
    (N, C, H, W), (K, _, R, S) = x.shape, w.shape
    P, Q = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    y = np.empty((N, K, P, Q))
    for n, k, p, q in np.ndindex(N, K, P, Q):
        total = b[k]
        for c, r, s in np.ndindex(C, R, S):
            h, v = p * stride + r - padding, q * stride + s - padding
            if 0 <= h < H and 0 <= v < W:  # outside, x is 0
                total += x[n, c, h, v] * w[k, c, r, s]
        y[n, k, p, q] = total
    return y


x, w, b = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)
for stride, padding in [(1, 0), (1, 1), (2, 1), (3, 2)]:
    ours = convolution(x, w, b, stride, padding)
    engine = nn.functional.conv2d(Tensor(x), Tensor(w), Tensor(b), stride=stride, padding=padding)
    assert np.allclose(ours, engine.numpy(), rtol=0, atol=1e-13)

# %% [markdown]
# **The size of the output.** The last place $p$ must keep the kernel's last row inside the padded image:
# $p\sigma + R - 1 \le H + 2\pi - 1$. The largest such $p$ is $\lfloor (H+2\pi-R)/\sigma\rfloor$; places are counted
# from 0, so
#
# $$P = \left\lfloor \frac{H+2\pi-R}{\sigma} \right\rfloor + 1 .$$
#
# "Same" size at stride 1 needs $2\pi = R-1$: that is why kernels are odd.
#
# **Channels.** The sum over $c$ is inside: each output channel looks at *all* input channels, with a kernel for each.
# If $*$ stands for the one-channel formula, then $y_j = \sum_k x_k * w_{j,k} + b_j$: a matrix product whose "numbers"
# are images. (Some texts print $w_{k,j}$, input first. Frameworks store output first: $(K, C, R, S)$.) With a
# $1\times1$ kernel nothing else is left, and the convolution *is* a matrix product, at every pixel:

# %%
mixing = rng.standard_normal((4, 3))
one_by_one = convolution(x, mixing[:, :, None, None], np.zeros(4))
assert np.allclose(one_by_one, np.einsum("kc,nchw->nkhw", mixing, x))

# %% [markdown]
# **The name.** In mathematics a convolution turns the kernel around, and what we compute is called
# *cross-correlation*. All frameworks say convolution and do not turn it; a learned kernel does not mind. Remember the
# turned kernel, though: it comes back below, uninvited.

# %%
signal, kernel = np.array([1.0, 2, 3, 4]), np.array([1.0, 0, -1])
network = convolution(signal[None, None, None], kernel[None, None, None], [0.0])[0, 0, 0]
assert np.array_equal(network, np.correlate(signal, kernel, "valid"))
assert np.array_equal(network, np.convolve(signal, kernel[::-1], "valid"))

# %% [markdown]
# Here is one channel with padding 1 and stride 2. The framed window makes the framed output; the window of its right
# neighbour starts two columns further, so the two share a column. Keep an eye on that.

# %%
image = np.arange(1.0, 26).reshape(5, 5)
sharp = np.array([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]])
result = convolution(image[None, None], sharp[None, None], [0.0], stride=2, padding=1)[0, 0]

drawn, axes = figure(9, 3.4, columns=3)
numbers(axes[0], np.pad(image, 1), "x, padded", marked=[(r, 2 + s) for r, s in np.ndindex(3, 3)])
numbers(axes[1], sharp, "w")
numbers(axes[2], result, "y, stride 2", marked=[(0, 1)])
show(drawn, "01-a-window-with-stride-2-and-padding-1")
assert result[0, 1] == 5 * 3 - 2 - 4 - 8 == 1  # the row above is padding

# %% [markdown]
# ## Three gradients
#
# Let $dy_{n,k,p,q} = \partial L/\partial y_{n,k,p,q}$ be known. The chain rule, in full, for any number $\theta$:
#
# $$\frac{\partial L}{\partial\theta} = \sum_{n,k,p,q} dy_{n,k,p,q}\,\frac{\partial y_{n,k,p,q}}{\partial\theta}.$$
#
# Only $\partial y/\partial\theta$ is left to find. The formula is linear in $b$, in $w$ and in $x$, so we read it off:
#
# * $\partial y_{n,k,p,q}/\partial b_j = 1$ if $j=k$, else 0. Hence $\displaystyle db_k = \sum_{n,p,q} dy_{n,k,p,q}$.
# * $\partial y_{n,k,p,q}/\partial w_{j,c,r,s} = x_{n,c,p\sigma+r-\pi,q\sigma+s-\pi}$ if $j=k$, else 0. Hence
#   $\displaystyle dw_{k,c,r,s} = \sum_{n,p,q} dy_{n,k,p,q}\; x_{n,\,c,\;p\sigma+r-\pi,\;q\sigma+s-\pi}$.
# * $\partial y_{n,k,p,q}/\partial x_{n,c,h,v} = w_{k,c,r,s}$ if there is a place $(r,s)$ of the kernel with
#   $h = p\sigma+r-\pi$ and $v = q\sigma+s-\pi$, else 0.
#
# The last one can be turned into a program in two ways.
#
# ### Scatter: why `+=`
#
# Go through the outputs. Output $(n,k,p,q)$ hands $dy_{n,k,p,q}\,w_{k,c,r,s}$ back to every number that it read. A
# pixel that several windows read gets something from each, and *where paths meet, they add*:


# %%
def scatter(dy, w, x_shape, stride=1, padding=0):
    """dx: each output sends its gradient back to its window."""
    (N, C, H, W), (_, _, R, S) = x_shape, w.shape
    dxp = np.zeros((N, C, H + 2 * padding, W + 2 * padding))
    for n, k, p, q in np.ndindex(dy.shape):
        h, v = p * stride, q * stride
        dxp[n, :, h : h + R, v : v + S] += dy[n, k, p, q] * w[k]
    return dxp[:, :, padding : padding + H, padding : padding + W]  # what went to the padding is lost


dy = rng.standard_normal(convolution(x, w, b, 2, 1).shape)
dx = scatter(dy, w, x.shape, 2, 1)
assert np.allclose(
    dx, formula.grad_input(dy, w, x_shape=x.shape, stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=1)
)

# %% [markdown]
# With `=` instead of `+=` the last window to write would win. How many windows read a pixel is itself a scatter, of
# ones with a kernel of ones. Windows that do not overlap need no sum; all others do.

# %%
drawn, axes = figure(9, 3.3, columns=3)
for place, stride in enumerate((1, 2, 3)):
    P = (7 - 3) // stride + 1
    uses = scatter(np.ones((1, 1, P, P)), np.ones((1, 1, 3, 3)), (1, 1, 7, 7), stride)[0, 0]
    numbers(axes[place], uses, f"windows that read a pixel\n3x3 kernel, stride {stride}")
    assert uses.sum() == 9 * P * P  # every output reads nine pixels
    assert (uses.max() > 1) == (stride < 3)
show(drawn, "01-how-many-windows-read-a-pixel")

# %% [markdown]
# ### Gather: why the kernel is turned
#
# Now sit on a pixel and collect. At stride 1 the condition $h = p + r - \pi$ says $p = h + \pi - r$, so
#
# $$dx_{n,c,h,v} = \sum_{k,r,s} dy_{n,\,k,\;h+\pi-r,\;v+\pi-s}\; w_{k,c,r,s} .$$
#
# Look at the signs. In the forward pass the image's index *grows* with $r$; here the index of $dy$ *falls*. A pixel
# was read by the window above-left of it through the kernel's *last* row and column. To read this as a convolution of
# our kind, count the kernel from its other end, $r' = R-1-r$ and $s' = S-1-s$:
#
# $$dx_{n,c,h,v} = \sum_{k,r',s'} dy_{n,\,k,\;h+r'-(R-1-\pi),\;v+s'-(S-1-\pi)}\;\;
#   \underbrace{w_{k,c,\,R-1-r',\,S-1-s'}}_{\text{turned by } 180^\circ} .$$
#
# This is our formula again: image $dy$, padding $R-1-\pi$, the kernel turned, and its two channel axes exchanged (we
# now sum over $k$). With $\pi=0$ the padding is $R-1$, so that every overlap counts, also of a single number: such a
# correlation is called *full*.


# %%
def turned(w):
    """(K, C, R, S) -> (C, K, R, S), each kernel by 180 degrees."""
    return w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


square = rng.standard_normal((4, 3, 3, 3))
for padding in (0, 1, 2):
    dy = rng.standard_normal(convolution(x, square, b, 1, padding).shape)
    gathered = convolution(dy, turned(square), np.zeros(3), stride=1, padding=3 - 1 - padding)
    assert np.allclose(gathered, scatter(dy, square, x.shape, 1, padding))

# %% [markdown]
# ### Stride: why there are zeros between
#
# A convolution of stride $\sigma$ is one of stride 1 of which only every $\sigma$-th row and column is kept. The
# thrown away outputs do not reach the loss: their gradient is **0**. So write $dy$ into an array of the size that
# stride 1 would have made, at every $\sigma$-th place, zeros between, and go on as before. (Rows at the end that no
# window ever reached get zeros as well: the division in $P$ rounded down.)


# %%
def with_zeros_between(dy, size, stride):
    """dy as if the stride had been 1; `size` is the output's size at stride 1."""
    wide = np.zeros((*dy.shape[:2], *size))
    wide[:, :, ::stride, ::stride] = dy
    return wide


for stride, padding in [(2, 0), (2, 1), (3, 1)]:
    dy = rng.standard_normal(convolution(x, square, b, stride, padding).shape)
    size = (6 + 2 * padding - 3 + 1, 5 + 2 * padding - 3 + 1)
    gathered = convolution(with_zeros_between(dy, size, stride), turned(square), np.zeros(3), padding=2 - padding)
    assert np.allclose(gathered, scatter(dy, square, x.shape, stride, padding))

small = np.array([[1.0, 2], [3, 4]])
corner = np.array([[1.0, 10, 0], [0, 0, 0], [0, 0, 100]])
wide = with_zeros_between(small[None, None], (4, 4), 2)  # 6 rows: at stride 1 there would be 4 outputs
spread = convolution(wide, turned(corner[None, None]), [0.0], padding=2)
drawn, axes = figure(10, 3, columns=4)
numbers(axes[0], small, "dy, stride 2")
numbers(axes[1], np.pad(wide[0, 0], 2), "zeros between, and around")
numbers(axes[2], corner[::-1, ::-1], "w, turned")
numbers(axes[3], spread[0, 0], "dx")
show(drawn, "01-the-gradient-of-a-strided-convolution")
assert np.array_equal(spread, scatter(small[None, None], corner[None, None], (1, 1, 6, 6), 2))
assert not spread[..., 5, :].any()  # the sixth row: no window of stride 2 reaches it

# %% [markdown]
# Look at the figure: four copies of $w$ stand in $dx$, **upright**, each multiplied by its $dy$, and the overlaps are
# added. Scatter puts upright kernels down; gather reads through a turned one. Same numbers, two points of view. (A CPU
# or GPU prefers to gather: no two threads then write to the same place.)
#
# ### The gradient of the weights is a convolution too
#
# In $dw_{k,c,r,s} = \sum_{n,p,q} dy_{n,k,p,q}\,x_{n,c,p\sigma+r-\pi,\dots}$ it is $dy$ that slides over the image, and
# consecutive entries of it fall on pixels $\sigma$ apart: a kernel with holes, whose distance is called *dilation*.
# The roles of the axes change: the sum now runs over $n$, so the batch plays the channels.

# %%
dy = rng.standard_normal(convolution(x, square, b, 2, 1).shape)
options = {"stride": (1, 1), "padding": (1, 1), "dilation": (2, 2), "groups": 1}
slid = formula.forward(x.transpose(1, 0, 2, 3), dy.transpose(1, 0, 2, 3), None, **options)  # (C, K, ...)
dw = slid[:, :, :3, :3].transpose(1, 0, 2, 3)  # places beyond 3x3: rows that no window reached

by_hand = np.zeros_like(square)
padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
for n, k, p, q in np.ndindex(dy.shape):
    by_hand[k] += dy[n, k, p, q] * padded[n, :, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3]
assert np.allclose(dw, by_hand)

# %% [markdown]
# ## The whole story in one matrix
#
# For fixed $w$, every output is a weighted sum of pixels: $y = Mx$ with one row an output and one column a pixel. Then
# $dx = M^{\mathsf T} dy$, for any linear map: row $p$ of $M$ says what output $p$ reads, and column $h$ (a row of
# $M^{\mathsf T}$) says who reads pixel $h$. A column holds the kernel from its last number to its first: the turn by
# $180^\circ$ is what transposing does to a banded matrix.

# %%
kernel = np.array([[1.0, 2], [3, 4]])[None, None]
pixels = np.eye(16).reshape(16, 1, 4, 4)  # 16 images, each with a single 1: their outputs are the columns
M = convolution(pixels, kernel, [0.0]).reshape(16, 9).T
drawn, axes = figure(7, 4.2)
numbers(axes, np.where(M == 0, np.nan, M), "M of a 2x2 kernel (1 2 / 3 4) on 4x4 pixels: a row for each output")
show(drawn, "01-a-convolution-as-a-matrix")

dy = rng.standard_normal((1, 1, 3, 3))
assert np.allclose((M.T @ dy.ravel()).reshape(1, 1, 4, 4), scatter(dy, kernel, (1, 1, 4, 4)))
column = M[:, 5]  # pixel (1, 1), which all four numbers of the kernel read
assert np.array_equal(column[column > 0], [4, 3, 2, 1])

# %% [markdown]
# That gives the quickest test of any backward pass of a linear operation, without derivatives: for random $x$ and
# $dy$, $\langle dy,\, Mx\rangle = \langle M^{\mathsf T}dy,\, x\rangle$.

# %%
dy = rng.standard_normal(convolution(x, square, b, 2, 1).shape)
forward = convolution(x, square, np.zeros(4), 2, 1)
assert np.isclose((dy * forward).sum(), (scatter(dy, square, x.shape, 2, 1) * x).sum())

# %% [markdown]
# ## And the engine
#
# minicnn has the same three passes many times over, from these loops to Winograd's algorithm in vector registers
# (tutorial 10). All are held against the formula, and the formula against difference quotients (tutorial 5):

# %%
report = minicnn.gradcheck(
    lambda x, w, b: nn.functional.conv2d(x, w, b, stride=2, padding=1), [x[:, :, :4, :4], square, b], sample=30
)
print(report)

single = [array.astype(np.float32) for array in (x, square, b)]
reference = convolution(x, square, b, 1, 1)
print(f"\n{'algorithm':12} largest error in float32")
for name in ("formula", "loops", "im2col", "direct", "winograd2"):
    with minicnn.algorithm(conv2d=name):
        error = np.abs(minicnn.ops.conv2d.forward(*single, padding=1) - reference).max()
    print(f"{name:12} {error:.1e}")
    assert error < 1e-5

# %% [markdown]
# With stride and padding, who used a pixel, and through which weight? `minicnn.explain` lists it for any number of any
# network. Take the pixel (2, 3) under a $3\times3$ kernel with stride 2 and padding 1. In the padded image it stands at
# (3, 4), and the figure above (in the middle) says that two windows read it:

# %%
minicnn.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False).double())
explained = minicnn.explain(
    model, image[None, None], 0, layer="0", at=(0, 0, 2, 3), grad="x", loss_function=lambda y, _: (y**2).sum()
)
show(explained)
assert len(explained.terms) == 2

# %% [markdown]
# ## Exercises
#
# Replace `None`; the assertions say whether you are right.
#
# 1. An image of $224\times224$ meets a kernel of $7\times7$ with stride 2 and padding 3 (the first layer of
#    ResNet-18). How many rows has the output? And with padding 2, is it still half of the image?
# 2. That layer has 64 kernels over 3 channels, and a bias each. How many numbers does it learn, and how many
#    multiplications does it need for one image?
# 3. An image with 10 rows, a kernel with 3 rows, stride 4, no padding. Which rows have gradient zero, whatever $dy$
#    is?
# 4. With dilation $\delta$ the kernel's place $r$ reads row $p\sigma + r\delta - \pi$. Derive the padding with which
#    $dy$ must be correlated (stride 1) to get $dx$. Write a function of R, δ and π.
# 5. Which two of the axes of $w$ does `turned` exchange, and why must it? (Try without: there are 4 channels of $dy$,
#    and Python's error says that the kernel has only 3.)

# %%
answer_1 = None  # (rows of the output with padding 3, rows with padding 2)
answer_2 = None  # (numbers learned, multiplications)
answer_3 = None  # a set of rows, counted from 0
answer_4 = None  # a function, such as: lambda R, dilation, padding: R + dilation - padding

# %%
assert answer_1 in (None, ((224 + 6 - 7) // 2 + 1, (224 + 4 - 7) // 2 + 1))
assert answer_2 in (None, (64 * 3 * 7 * 7 + 64, 112 * 112 * 64 * 3 * 7 * 7))
reached = scatter(np.ones((1, 1, 2, 1)), np.ones((1, 1, 3, 1)), (1, 1, 10, 1), 4)[0, 0, :, 0]
assert answer_3 is None or answer_3 == set(np.flatnonzero(reached == 0))
if answer_4 is not None:
    same = {"stride": (1, 1), "dilation": (2, 2), "groups": 1}
    dy = rng.standard_normal(formula.forward(x, square, None, padding=(1, 1), **same).shape)
    mine = formula.forward(dy, turned(square), None, padding=(answer_4(3, 2, 1),) * 2, **same)
    assert np.allclose(mine, formula.grad_input(dy, square, x_shape=x.shape, padding=(1, 1), **same))
