# %% [markdown]
# # 10. The ladder: one convolution, from the formula to the machine's limit
#
# **Question: six loops are the whole of a convolution. Compiled, they take a hundred times longer than a good library
# does. Which ideas are in between, and is there an end?**
#
# Each rung of the ladder is one idea. Most of them change *when and where* the same numbers are multiplied; one changes
# *which* numbers. We build a small version of each in NumPy, count, and then measure those of `minicnn.ops.conv2d`.

# %%
import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import minicnn
from minicnn.ops import conv2d
from minicnn.study import bench, peak, work
from minicnn.study.figures import figure, show

rng = np.random.default_rng(0)


def relative_error(found, expected):
    """The largest difference, relative to the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# %% [markdown]
# ## What there is to do
#
# For one image, $C$ channels in, $K$ out, $3\times3$ taps, stride 1, padding 1:
#
# $$ y_{k,p,q} = \sum_{c,r,s} x_{c,\,p+r-1,\,q+s-1}\; w_{k,c,r,s} , $$
#
# that is $K \cdot P Q \cdot 9C$ products, each with an addition: $18\,K C P Q$ floating point operations. All that
# *must* be moved is $x$, $w$ and $y$, once each. The ratio is the *arithmetic intensity*, in operations for each byte.

# %%
task = work.work_of("conv2d", shape=(1, 64, 28, 28), kernel=(64, 3, 3))
print(task.title)
print(f"{task.flops / 1e6:.1f} million operations, {task.bytes / 1e6:.2f} MB: {task.intensity:.0f} operations a byte")
assert task.flops == 18 * 64 * 64 * 28 * 28
assert task.bytes == 4 * (64 * 28 * 28 * 2 + 64 * 64 * 9)

# %% [markdown]
# ## Rung 0: the loops as printed
#
# In Python each of these additions is a few hundred machine instructions. Compiled (`loops`), it is a handful.


# %%
def naive(x, w):
    """(C, H, W), (K, C, 3, 3) -> (K, H, W): the formula, letter by letter."""
    (k_all, c_all), (height, width) = w.shape[:2], x.shape[1:]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.zeros((k_all, height, width), x.dtype)
    for k in range(k_all):
        for p in range(height):
            for q in range(width):
                for c in range(c_all):
                    for r in range(3):
                        for s in range(3):
                            y[k, p, q] += x[c, p + r, q + s] * w[k, c, r, s]
    return y


x, w = rng.standard_normal((4, 12, 12)), rng.standard_normal((6, 4, 3, 3))
start = time.perf_counter()
expected = naive(x, w)
each = (time.perf_counter() - start) / (6 * 4 * 9 * 144)
print(f"{each * 1e9:.0f} ns a product; the layer above would take {each * task.flops / 2:.0f} s")
assert np.allclose(expected, conv2d.forward(x[None], w, padding=1)[0])

# %% [markdown]
# ## Rung 1: one matrix product (`im2col`)
#
# Write the window under each output pixel as a column of $9C$ numbers. Side by side they are a matrix $X$ of
# $9C \times PQ$; the kernels are the rows of $W$, $K \times 9C$; and the convolution is $Y = WX$.
#
# Not one product is saved, and memory is wasted: a pixel stands in $X$ nine times. Yet it is many times faster than the
# loops, since matrix products are what computers do best. In the loops each product fetches two numbers and uses each
# of them once. In a matrix product a block of $m \times n$ results needs, for every step of the sum, $m + n$ numbers
# for $mn$ products: a number that is in a register is used again.


# %%
def columns(x):
    """(C, H, W) -> (9 C, H W): the window of each pixel as a column."""
    windows = sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))  # (C, H, W, 3, 3), no copy
    return windows.transpose(0, 3, 4, 1, 2).reshape(9 * len(x), -1)


assert np.allclose((w.reshape(6, -1) @ columns(x)).reshape(6, 12, 12), expected)
print(f"x has {x.size} numbers, its columns have {columns(x).size}")
for m, n in ((1, 1), (2, 2), (4, 8), (8, 32), (14, 32)):
    print(f"a block of {m:2} x {n:2} results: {(m + n) / (m * n):.3f} numbers fetched for a product")

# %% [markdown]
# ## Rung 2: no columns (`direct`)
#
# A core with AVX-512 can multiply and add two vectors of 16 numbers in each cycle, and load two: to keep it busy, each
# load must serve at least one multiply-add, better several. With $14 \times 32$ results in 28 of its 32 registers that
# is so. Blocks of that size are what a good matrix product is made of, and one can cut them out of the *image itself*:
# if the channels of a pixel lie side by side in memory (channels last), then the numbers under one row of the window
# are one unbroken run of $3C$ numbers, and no columns are needed at all.
#
# That is the end of the road for the formula as it stands: the machine multiplies and adds nearly all the time.
#
# ## Rung 3: a better formula (Winograd)
#
# Two neighbouring outputs of a filter with three taps, from four inputs:
#
# $$ y_0 = d_0 g_0 + d_1 g_1 + d_2 g_2, \qquad y_1 = d_1 g_0 + d_2 g_1 + d_3 g_2 . $$
#
# Six products. Winograd (1980) needs four:
#
# $$ m_1 = (d_0 - d_2)\,g_0, \quad m_2 = (d_1 + d_2)\,\tfrac{g_0+g_1+g_2}{2}, \quad
#    m_3 = (d_2 - d_1)\,\tfrac{g_0-g_1+g_2}{2}, \quad m_4 = (d_3 - d_1)\,g_2, $$
#
# $$ y_0 = m_1 + m_2 + m_3, \qquad y_1 = m_2 - m_3 + m_4 . $$
#
# (Multiply it out: in $y_0$, $m_2 + m_3 = d_1 g_1 + d_2 (g_0 + g_2)$.) Who finds such a thing? Anybody who knows that a
# polynomial of degree $n$ is known from its values at $n+1$ points.
#
# **Where it comes from.** Multiply the polynomials $g(t) = g_0 + g_1 t + g_2 t^2$ and
# $u(t) = u_0 + \dots + u_{m-1}t^{m-1}$. The product $s(t)$ has degree $m+1$, so it is known from $m+2$ values, each of
# them *one* product: $s(t_i) = g(t_i)\,u(t_i)$. With the matrix of powers $V_{ij} = t_i^j$ (all $m+2$ columns), its
# first three columns $V_g$ and its first $m$ columns $V_u$,
#
# $$ s = V^{-1}\,\bigl[(V_g\, g) \odot (V_u\, u)\bigr]
#      = \underbrace{V^{-1} \operatorname{diag}(V_g\,g)\, V_u}_{T(g)}\; u . $$
#
# One "point" may be $\infty$, where the value of a polynomial is its leading coefficient. $T(g)$ is the matrix of a
# polynomial product: column $j$ holds $g$ shifted down by $j$. What a convolution layer wants is its *transpose*,
# $y_i = \sum_r d_{i+r}\, g_r = (T(g)^\top d)_i$, and that can be read off:
#
# $$ y = V_u^\top \,\bigl[(V_g\, g) \odot (V^{-\top} d)\bigr] = A^\top\,\bigl[(G\,g) \odot (B^\top d)\bigr] . $$


# %%
def winograd_matrices(m, points):
    """A^T (m, m + 2), G (m + 2, 3), B^T (m + 2, m + 2) from m + 1 points, and infinity."""

    def powers(n):
        return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]])

    return powers(m).T, powers(3), np.linalg.inv(powers(m + 2)).T


at, g, bt = winograd_matrices(2, [0, 1, -1])
print("A^T", at.tolist(), "\nG  ", g.tolist(), "\nB^T", (bt + 0.0).tolist())
d, taps = rng.integers(-9, 9, 4), rng.integers(-9, 9, 3)
y = at @ ((g @ taps) * (bt @ d))
assert y.tolist() == [d[0:3] @ taps, d[1:4] @ taps], "whole numbers and halves: exact, nothing is rounded"

# %% [markdown]
# In two dimensions the same is done to columns, and then to rows: a tile of $(m+2)^2$ pixels gives $m^2$ outputs,
#
# $$ Y = A^\top \Bigl[ \sum_c (G\,g_c\,G^\top) \odot (B^\top d_c\,B) \Bigr] A . $$
#
# The transform of an image tile is used for all $K$ outputs, that of a kernel for all tiles, and the one back only once
# for the sum over all channels. So with many channels only the products in the middle count: $(m+2)^2$ instead of
# $9 m^2$. For each of the $(m+2)^2$ points they are a matrix product again, $K \times C$ times $C \times$ tiles, and
# everything that we know about matrix products holds.


# %%
def winograd(x, w, m, points):
    """(C, H, W), (K, C, 3, 3) -> (K, H, W), in the dtype of x; m divides H and W."""
    at, g, bt = (matrix.astype(x.dtype) for matrix in winograd_matrices(m, points))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    tiles = sliding_window_view(padded, (m + 2, m + 2), axis=(1, 2))[:, ::m, ::m]  # (C, rows, columns, m+2, m+2)
    u, v = g @ w @ g.T, bt @ tiles @ bt.T
    y = at @ np.einsum("kcij,cabij->kabij", u, v) @ at.T  # (K, rows, columns, m, m)
    return y.transpose(0, 1, 3, 2, 4).reshape(len(w), *x.shape[1:])


POINTS = {2: [0, 1, -1], 4: [0, 1, -1, 2, -2], 6: [0, 1, -1, 2, -2, 0.5, -0.5]}
for m, points in POINTS.items():
    assert relative_error(winograd(x, w, m, points), expected) < 1e-12
    print(f"F({m}x{m}, 3x3): {9 * m * m} products become {(m + 2) ** 2}, {9 * m * m / (m + 2) ** 2:.2f} times fewer")

# %% [markdown]
# ## The price
#
# Why not $m = 20$, with 7.4 times fewer? All of the above is exact only with exact numbers. The matrix of powers
# $V$ is one of the worst there are: its condition number, which says by how much $V^{-1}$ can enlarge an error, grows
# exponentially with its size. So we measure the error of float32, relative to the largest output.

# %%
x32, w32 = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 24, 24), (16, 16, 3, 3)))
exact = conv2d.forward(x32[None].astype(float), w32.astype(float), padding=1)[0]
POINTS[8] = [*POINTS[6], 4, -4]
errors = {1: relative_error((w32.reshape(16, -1) @ columns(x32)).reshape(exact.shape), exact)}
for m, points in POINTS.items():
    errors[m] = relative_error(winograd(x32, w32, m, points), exact)
    condition = np.linalg.cond(winograd_matrices(m, points)[2])
    print(f"m = {m}: condition of V {condition:8.0f}, error {errors[m]:.1e}; im2col has {errors[1]:.1e}")
better = relative_error(winograd(x32, w32, 4, [0, 0.75, -0.75, 1.5, -1.5]), exact)
print(f"m = 4 with the points 0, +-3/4, +-3/2: {better:.1e}")
assert errors[2] < errors[4] < errors[6] < errors[8]
assert errors[8] > 30 * errors[2]
assert better < errors[4], "points whose powers are more alike"

# %% [markdown]
# minicnn uses these better points, and stops at $m = 4$.
#
# ## How far is it to the end? The roofline
#
# A machine can do so many operations a second, and move so many bytes a second. Work of intensity $I$ cannot be faster
# than (Williams, Waterman, Patterson 2009)
#
# $$ \text{rate} \le \min\bigl(\text{peak},\; I \cdot \text{bandwidth}\bigr), $$
#
# a roof with a slope, where memory limits, and a flat part, where arithmetic does. Both are measured here: the peak by
# multiply-adds on numbers that stay in registers, the bandwidth by streams through arrays that no cache holds.

# %%
machine = peak.measure(steps=500, stream=2**24)
measured = bench.measure(task, rounds=1, repetitions=3, pause=0.02, machine=machine)
rows = {row.name: row for row in measured.rows}
print(f"peak {machine.flops / 1e9:.0f} GFLOP/s, memory {machine.bandwidth / 1e9:.0f} GB/s, {machine.threads} thread(s)")
for row in sorted(measured.rows, key=lambda row: -row.seconds):
    print(f"{row.name:10} {row.seconds * 1e3:8.3f} ms {row.rate / 1e9:8.1f} GFLOP/s   error {row.error:.0e}")
assert all(row.ok for row in measured.rows), "nothing wrong is timed"
fastest = min(row.seconds for row in measured.rows)
assert rows["loops"].seconds > 3 * fastest

# %%
drawn, axes = figure(9, 3.6, columns=2)
intensity = np.geomspace(0.5, 2000, 200)
axes[0].loglog(intensity, np.minimum(machine.flops, intensity * machine.bandwidth) / 1e9, "k-")
for row, marker in zip(sorted(measured.rows, key=lambda row: row.seconds), "*osD^v", strict=False):
    axes[0].plot(task.intensity, row.rate / 1e9, marker, color="black", fillstyle="none", label=row.name)
axes[0].set(xlabel="operations for each byte", ylabel="GFLOP/s (of the direct formula)")
axes[0].legend(fontsize=8, loc="lower right")
saved = [1, *(9 * m * m / (m + 2) ** 2 for m in POINTS)]
axes[1].semilogy(saved, list(errors.values()), "k-o", fillstyle="none")
for factor, m in zip(saved, errors, strict=True):
    name, place = (f"m = {m}", (4, -10)) if m > 1 else ("im2col", (6, 3))
    axes[1].annotate(name, (factor, errors[m]), place, textcoords="offset points")
axes[1].set(xlabel="times fewer products", ylabel="error in float32", xlim=(0.7, 6.8), ylim=(5e-8, 2e-3))
show(drawn, "10-roofline-and-the-price-of-winograd")

# %% [markdown]
# The operations that are counted are those of the *direct* formula, also for Winograd, which does fewer. So it may
# stand above the roof: the roof belongs to the formula, and a better formula has another one. (If other programs are
# running, all dots and the roof are lower, and in another order than on an idle machine.)
#
# This layer lies far to the right of the edge: arithmetic limits it, and it is worth working on registers and formulas.
# A ReLU does one operation for 8 bytes. There the only help is not to do it alone, but while the numbers are still in
# registers (`minicnn.fuse`).

# %%
for name in ("relu", "batch_norm"):
    small = work.work_of(name, (1, 64, 28, 28))
    roof = min(machine.flops, small.intensity * machine.bandwidth)
    print(f"{name:10}: {small.intensity:.3f} operations a byte; at most {roof / machine.flops:.1%} of the peak")
    assert small.intensity < 1 < task.intensity

# %% [markdown]
# ## Who chooses?
#
# minicnn estimates the time of each algorithm that can do a layer, and takes the best. Anybody may overrule it.

# %%
print(minicnn.algorithms("conv2d")[:6])
with minicnn.algorithm(conv2d="winograd4"):
    y = conv2d.forward(x32[None], w32, padding=1)[0]
print(f"winograd4: error {relative_error(y, exact):.1e}; ours with the same points had {better:.1e}")
assert relative_error(y, exact) < 10 * better

# %% [markdown]
# ## Exercises
#
# Replace `None` in the last cells; the assertions say whether you are right. The others are experiments: what you
# should find stands in brackets.
#
# 1. $F(m, r)$: $m$ outputs of $r$ taps, in one dimension. How many products does Winograd's way need? (Give
#    `winograd_matrices` the number of taps, instead of 3, and try $F(3, 2)$. How are its matrices related to those of
#    $F(2, 3)$? $A$ and $G$ change places.)
# 2. What is the intensity of a $1\times1$ convolution with 16 channels in and out, of a large image? Where does it lie
#    on the roofline of your machine?
# 3. One pixel, in one channel, is NaN, and lies in one tile only. How many outputs of a channel are NaN by the formula,
#    how many by Winograd with $m = 4$?
# 4. Count the multiply-adds for one tile, $C = K = 64$ and $m = 4$: those of the 36 products for all channels, and the
#    transforms of the image and of the result, as dense matrix products. (That of the kernels is done once for all
#    tiles.) What is left of the factor 4? (In truth more, since many entries of the matrices are 0 or 1.)
# 5. Choose other points for $m = 6$, and make the error smaller. (An open game: powers of two keep the matrices exact,
#    points near 1 keep $V$ tame. $0, \pm1, \pm2, \pm\frac58$ save a quarter.)

# %%
answer_1 = None  # a function of (m, r)
answer_2 = None  # operations a byte
answer_3 = None  # (by the formula, by Winograd)
answer_4 = None  # the factor that is left

# %%
assert answer_1 is None or all(answer_1(m, r) == m + r - 1 for m in (2, 3, 4) for r in (2, 3, 5))
assert answer_2 is None or np.isclose(
    answer_2, work.work_of("conv2d", (1, 16, 128, 128), (16, 1, 1), padding=0).intensity, rtol=0.02
)
spoiled = x32[:4, :12, :12].copy()
spoiled[0, 2, 2] = np.nan
many = [int(np.isnan(y[0]).sum()) for y in (naive(spoiled, w), winograd(spoiled, w, 4, POINTS[4]))]
assert answer_3 in (None, tuple(many))
transforms = (6 * 6 * 6 + 6 * 6 * 6) * 64 + (4 * 6 * 6 + 4 * 6 * 4) * 64  # B^T d B of each c, A^T m A of each k
assert answer_4 is None or np.isclose(answer_4, 9 * 16 * 64 * 64 / (36 * 64 * 64 + transforms), rtol=0.02)
