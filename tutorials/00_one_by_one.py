# %% [markdown]
# # 0. A convolution, one number at a time
#
# **Question: a network turns nine pixels and four weights into one loss. What does it mean that a single pixel "has
# the gradient 5", and can we find that 5 with a pencil?**
#
# Yes: with nothing but the chain rule for single numbers. Here every number is a node of a graph, and every gradient
# is worked out twice: by hand, and by minicnn. You need to know what a derivative is, and a little Python.

# %%
import numpy as np

import minicnn
from minicnn import Tensor, nn
from minicnn.study.figures import figure, numbers, show

# %% [markdown]
# ## The smallest convolution that shows everything
#
# An image $x$ of $3\times3$ pixels, a kernel $w$ of $2\times2$ weights, a bias $b$. The kernel lies on the image in
# $2\times2$ places; at each of them we multiply the numbers that lie on top of each other, and add up:
#
# $$y_{p,q} \;=\; b + \sum_{r=0}^{1}\sum_{s=0}^{1} x_{p+r,\,q+s}\; w_{r,s} .$$
#
# (Books often count from 1 and print $x_{i+k-1,\,j+l-1}\,w_{k,l}$. That is the same formula: put $i = p+1$, $j = q+1$,
# $k = r+1$, $l = s+1$.)
#
# The numbers are small and whole, so that nothing here needs a computer:

# %%
x = np.array([[1, 2, 0], [0, 1, 3], [2, 1, 1]], float)
w = np.array([[1, -1], [2, 0]], float)
b = 1.0

y = np.empty((2, 2))
for p in range(2):
    for q in range(2):
        y[p, q] = b + sum(x[p + r, q + s] * w[r, s] for r in range(2) for s in range(2))

assert y[0, 0] == 1 + 1 * 1 + 2 * (-1) + 0 * 2 + 1 * 0 == 0
assert np.array_equal(y, [[0, 5], [4, 1]])

# %% [markdown]
# Somebody wants the outputs $t = \begin{pmatrix}1&3\\4&0\end{pmatrix}$ instead. How wrong we are is one number, the
# *loss*:
#
# $$L = \tfrac12\sum_{p,q} (y_{p,q}-t_{p,q})^2 .$$

# %%
t = np.array([[1, 3], [4, 0]], float)
loss = 0.5 * ((y - t) ** 2).sum()
assert loss == 0.5 * ((-1) ** 2 + 2**2 + 0**2 + 1**2) == 3

# %% [markdown]
# ## Every number becomes a node
#
# minicnn's `Tensor` usually wraps a large array; nothing keeps us from wrapping single numbers. Each `*`, `+`, `-` and
# `**` below is recorded: what was computed, and from what. That record is called the *tape*.

# %%
X = [[Tensor(number, requires_grad=True) for number in row] for row in x]
W = [[Tensor(number, requires_grad=True) for number in row] for row in w]
B = Tensor(np.float64(b), requires_grad=True)


def output(p, q):
    """y[p,q] from single numbers: four products and four sums."""
    total = B
    for r in range(2):
        for s in range(2):
            total = total + X[p + r][q + s] * W[r][s]
    return total


Y = [[output(p, q) for q in range(2)] for p in range(2)]
squares = [(Y[p][q] - t[p, q]) ** 2 for p in range(2) for q in range(2)]
L = (squares[0] + squares[1] + squares[2] + squares[3]) * 0.5
assert L.item() == loss


def nodes(end):
    """All recorded operations that lead to `end`."""
    found, waiting = set(), [end.node]
    while waiting:
        node = waiting.pop()
        if node is not None and not isinstance(node, Tensor) and node not in found:
            found.add(node)
            waiting.extend(node.parents)
    return found


print(len(nodes(L)), "operations on single numbers")
assert len(nodes(L)) == 4 * (4 + 4) + 4 * 2 + 3 + 1  # products and sums; errors and squares; their sum; half of it

# %% [markdown]
# ## By hand: three questions
#
# A *gradient* answers: if I move this number by a tiny $\varepsilon$, how many $\varepsilon$ does $L$ move? Write
# $dy_{p,q}$ for $\partial L/\partial y_{p,q}$, and so on: "$d$ of a number" is always the derivative *of the loss*.
#
# **1. The outputs.** In $L$ only one term contains $y_{p,q}$, and $\frac{d}{dy}\frac12(y-t)^2 = y-t$:
#
# $$dy_{p,q} = y_{p,q}-t_{p,q}, \qquad dy = \begin{pmatrix}-1&2\\0&1\end{pmatrix}.$$
#
# **2. A weight.** $w_{r,s}$ takes part in *all four* outputs. In $y_{p,q}$ it is multiplied by $x_{p+r,q+s}$, so when
# it moves by $\varepsilon$, $y_{p,q}$ moves by $x_{p+r,q+s}\,\varepsilon$, and $L$ by $dy_{p,q}$ times that. All four
# movements happen, so they add up:
#
# $$dw_{r,s} = \sum_{p,q} dy_{p,q}\; x_{p+r,\,q+s}.$$
#
# For instance $dw_{0,0} = (-1)\cdot1 + 2\cdot2 + 0\cdot0 + 1\cdot1 = 4$. The bias is multiplied by 1 in every output:
# $db = \sum_{p,q} dy_{p,q} = 2$.
#
# **3. A pixel.** The pixel $x_{h,k}$ is used by output $(p,q)$ where $h = p+r$ and $k = q+s$ for some place $(r,s)$ of
# the kernel, and is multiplied by $w_{r,s}$ there:
#
# $$dx_{h,k} = \sum_{r,s} dy_{h-r,\,k-s}\; w_{r,s} \qquad\text{over those } (r,s) \text{ for which the output exists.}$$
#
# A corner pixel is used once, an edge pixel twice, and the pixel in the middle four times:
#
# $$dx_{1,1} = dy_{1,1}w_{0,0} + dy_{1,0}w_{0,1} + dy_{0,1}w_{1,0} + dy_{0,0}w_{1,1}
#            = 1\cdot1 + 0\cdot(-1) + 2\cdot2 + (-1)\cdot0 = 5 .$$
#
# There is the 5. Now let the tape do all of them, and compare with our pencil:

# %%
L.backward(retain_graph=True)  # keep the graph: we shall walk through it ourselves

dy = y - t
dw = np.array([[4, 1], [3, 6]])
dx = np.array([[-1, 3, -2], [-2, 5, -1], [0, 2, 0]])
assert all(W[r][s].grad.item() == dw[r, s] for r, s in np.ndindex(2, 2))
assert all(X[h][k].grad.item() == dx[h, k] for h, k in np.ndindex(3, 3))
assert B.grad.item() == 2

drawn, axes = figure(9, 3.6, columns=3, rows=2)
for place, (values, title) in enumerate([(x, "x"), (w, "w"), (y, "y"), (dx, "dx"), (dw, "dw"), (dy, "dy")]):
    numbers(axes.flat[place], values, title)
show(drawn, "00-numbers-above-and-their-gradients-below")

# %% [markdown]
# ## One gradient is a sum over paths
#
# Follow the middle pixel to the loss. Four paths lead there, one through each output. Along a path, small movements
# are *multiplied* (that is the chain rule); where paths meet again, they are *added*.

# %%
drawn, axes = figure(7.5, 3.4)
axes.text(0, 0, "$x_{1,1}=1$", ha="center", va="center", bbox={"boxstyle": "round", "facecolor": "0.85"})
axes.text(6, 0, "$L=3$", ha="center", va="center", bbox={"boxstyle": "round", "facecolor": "0.85"})
for row, (p, q) in enumerate(np.ndindex(2, 2)):
    height, r, s = 1.5 - row, 1 - p, 1 - q
    axes.annotate("", (2.55, height), (0.5, 0), arrowprops={"arrowstyle": "->"})
    axes.annotate("", (5.6, 0), (3.45, height), arrowprops={"arrowstyle": "->"})
    middle = f"$y_{{{p},{q}}}={y[p, q]:g}$"
    axes.text(3, height, middle, ha="center", va="center", bbox={"boxstyle": "round", "facecolor": "1"})
    white = {"facecolor": "1", "edgecolor": "none", "pad": 1}
    axes.text(1.55, height * 0.52, f"$w_{{{r},{s}}}={w[r, s]:g}$", ha="center", va="center", fontsize=9, bbox=white)
    axes.text(4.5, height * 0.52, f"$dy_{{{p},{q}}}={dy[p, q]:g}$", ha="center", va="center", fontsize=9, bbox=white)
    axes.text(6.7, height, f"${w[r, s]:g}\\cdot({dy[p, q]:g})={w[r, s] * dy[p, q] + 0.0:g}$", va="center")
axes.text(6.7, -2.2, "sum: $dx_{1,1}=5$", va="center")
axes.set_xlim(-0.7, 8.4)
axes.set_ylim(-2.5, 2)
axes.set_axis_off()
show(drawn, "00-four-paths-from-a-pixel-to-the-loss")


# %% [markdown]
# The tape knows the *local* derivatives of each operation (`node.gradients`: of a product $a\cdot c$ they are $c$ and
# $a$; of a sum, 1 and 1). That is enough to walk along every path ourselves and multiply:


# %%
def paths(node, product=1.0):
    """Each path from the loss back to a leaf, with the product of the local derivatives along it."""
    if isinstance(node, Tensor):
        yield node, product
        return
    for parent, derivative in zip(node.parents, node.gradients(np.ones(())), strict=True):
        if parent is not None:  # a constant, such as t
            yield from paths(parent, product * float(derivative))


found = list(paths(L.node))
of_middle = [product + 0.0 for leaf, product in found if leaf is X[1][1]]
print("paths to the middle pixel:", of_middle)
assert sorted(of_middle) == [0, 0, 1, 4]
assert sum(of_middle) == X[1][1].grad.item() == 5

uses = np.array([[sum(leaf is X[h][k] for leaf, _ in found) for k in range(3)] for h in range(3)])
assert np.array_equal(uses, [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
assert len(found) == 4 * (4 + 4 + 1)  # four outputs; in each, four pixels, four weights, one bias

# %% [markdown]
# ## Why nobody computes it path by path
#
# In $u_1 = u_0+u_0$, $u_2 = u_1+u_1$, ... each step doubles the number of paths. After 10 steps there are
# $2^{10} = 1024$ of them, but only 10 nodes. *Backpropagation* is the observation that all paths through a node share
# what comes after it: visit each node **once**, after everything that uses it, and hand on a sum. The work is that of
# the forward pass, a small number of times; not the number of paths.

# %%
start = Tensor(np.float64(1), requires_grad=True)
u = start
for _ in range(10):
    u = u + u
assert len(nodes(u)) == 10
assert len(list(paths(u.node))) == 2**10
u.backward()
assert start.grad.item() == 2**10

# %% [markdown]
# ## The same by arrays
#
# In real networks a node is a whole operation on arrays, and its local rule is formulas 2 and 3 above, for all indices
# at once. Our 44 nodes of single numbers become a handful, and the numbers are the same.

# %%
images = Tensor(x[None, None], requires_grad=True)  # (N, C, H, W): one image, one channel
kernel = Tensor(w[None, None], requires_grad=True)  # (K, C, R, S): one kernel, one channel
bias = Tensor(np.array([b]), requires_grad=True)
L_arrays = 0.5 * ((nn.functional.conv2d(images, kernel, bias) - t) ** 2).sum()
L_arrays.backward()

assert L_arrays.item() == loss
assert np.array_equal(images.grad.numpy()[0, 0], dx)
assert np.array_equal(kernel.grad.numpy()[0, 0], dw)
assert bias.grad.item() == 2

# %% [markdown]
# And whenever you wonder where a number comes from, ask. `minicnn.explain` takes any network and any index; it writes
# down the formula, finds the terms in the arrays of the run, adds them up, and compares the sum with what the engine
# computed. Compare it with what you did by pencil:

# %%
model = nn.Sequential(nn.Conv2d(1, 1, 2).double())
model[0].weight.array[...], model[0].bias.array[...] = w, b


def half_squares(y, t):
    return 0.5 * ((y - t) ** 2).sum()


explained = minicnn.explain(
    model, x[None, None], t[None, None], layer="0", at=(0, 0, 1, 1), grad="x", loss_function=half_squares
)
show(explained)
assert sorted(term.value for term in explained.terms) == [0, 0, 1, 4]

# %% [markdown]
# Finally, the meaning that we started from: move the middle pixel by $\varepsilon$, and $L$ moves by $5\,\varepsilon$,
# up to a term in $\varepsilon^2$. The loss is quadratic in the pixel, so here even that term is known: it is
# $\frac12\sum_{r,s} w_{r,s}^2\,\varepsilon^2 = 3\,\varepsilon^2$.

# %%
for step in (0.5, 0.25, -0.125):
    moved = x.copy()
    moved[1, 1] += step
    windows = np.array([[b + (moved[p : p + 2, q : q + 2] * w).sum() for q in range(2)] for p in range(2)])
    assert 0.5 * ((windows - t) ** 2).sum() - loss == 5 * step + 3 * step**2

# %% [markdown]
# ## Exercises
#
# Replace each `None`; the assertion below says whether you are right. All can be done with a pencil.
#
# 1. Somebody doubles the kernel, $w \to 2w$, and changes $t$ such that $y - t$ stays as it was. What is $dx_{1,1}$
#    now? And $dw_{0,0}$?
# 2. Two corner pixels have the gradient 0: $dx_{2,0}$ and $dx_{2,2}$. Each is a single product; which factor is zero,
#    `"dy"` or `"w"`? (Only one of the two can be mended by another target $t$.)
# 3. How many paths lead from the middle pixel of a $5\times5$ image through a $3\times3$ kernel to the loss? And from
#    the middle of a $7\times7$ image through two $3\times3$ convolutions, one after the other?
# 4. Gradient descent moves against the gradient: $w \leftarrow w - \eta\,dw$, $b \leftarrow b-\eta\,db$. What does the
#    first-order prediction $-\eta\,(\lVert dw\rVert^2 + db^2)$ say that the loss changes by, for $\eta = 0.01$? (Then
#    try it: the loss falls a little less. Which term of the series explains that?)

# %%
answer_1 = None  # (dx of the middle pixel, dw at (0, 0))
answer_2 = None  # (the factor of dx[2,0] that is zero, that of dx[2,2])
answer_3 = None  # (paths through one convolution, paths through two)
answer_4 = None

# %%
assert answer_1 in (None, (2 * dx[1, 1], dw[0, 0]))
assert answer_2 in (None, ("dy" if dy[1, 0] == 0 else "w", "dy" if dy[1, 1] == 0 else "w"))
assert answer_3 in (None, (3 * 3, (2 + 3 + 2) ** 2))
assert answer_4 is None or np.isclose(answer_4, -0.01 * ((dw**2).sum() + dy.sum() ** 2))
