# %% [markdown]
# # 4. The tape, built from nothing
#
# **Question: nobody ever tells `loss.backward()` what the network looks like. How does it know, and how can it be that
# a hundred lines of Python differentiate any network there is?**
#
# We build such an engine, break it in four instructive ways, train a small convolutional network with it, and then open
# minicnn's own tape, which is the same thing grown up. You need tutorials 0 (sums over paths), 1 and 3.

# %%
import inspect
from contextlib import contextmanager

import numpy as np

from minicnn import Tensor, autograd, nn, no_grad
from minicnn.data import digits
from minicnn.ops.conv2d import formula
from minicnn.study.figures import LINES, figure, show, tidy

rng = np.random.default_rng(0)

# %% [markdown]
# ## A value that remembers where it came from
#
# When an operation computes an array, we keep two things with it: its *parents* (the values it was made from) and a
# *rule*, a function that takes the gradient of the result, $dy$, and returns the gradient of each parent. That is all
# the bookkeeping there is.


# %%
class Value:
    """An array, the values it was made from, and the rule that leads back to them."""

    def __init__(self, array, parents=(), rule=None, name="leaf"):
        self.array = np.asarray(array, float)
        self.parents, self.rule, self.name = parents, rule, name
        self.grad = None

    def __repr__(self):
        return f"<{self.name} {self.array.shape}>"


def made(name, array, parents, rule):
    """The result of an operation."""
    return Value(array, parents, rule, name)


# %% [markdown]
# ## Operations: a formula forward, a formula backward
#
# Each is written down once, knowing nothing of the others. Their rules are the results of tutorials 1 and 3. Adding is
# the one place with a surprise. In `scores + bias` a bias of shape $(J,)$ meets scores of shape $(N,J)$: NumPy
# *broadcasts* it, that is, uses each number $N$ times. Whoever is used $N$ times gets $N$ gradients, and they add: the
# gradient must be summed over the axes along which it was copied.


# %%
def summed_to(gradient, shape):
    """Undo broadcasting: the sum over all axes along which an array of that shape was copied."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    copied = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return gradient.sum(axis=copied, keepdims=True)


def add(a, b):
    def rule(dy):
        return summed_to(dy, a.array.shape), summed_to(dy, b.array.shape)

    return made("add", a.array + b.array, (a, b), rule)


def multiply(a, b):  # number by number: d(ab) = b da + a db
    def rule(dy):
        return summed_to(dy * b.array, a.array.shape), summed_to(dy * a.array, b.array.shape)

    return made("multiply", a.array * b.array, (a, b), rule)


def matmul(a, b):
    return made("matmul", a.array @ b.array, (a, b), lambda dy: (dy @ b.array.T, a.array.T @ dy))


def relu(x):
    return made("relu", np.maximum(x.array, 0), (x,), lambda dy: (dy * (x.array > 0),))


def total(x):
    return made("total", x.array.sum(), (x,), lambda dy: (np.broadcast_to(dy, x.array.shape),))


# %% [markdown]
# A graph to play with. The value `a` is used twice, by `b` and by `c`:

# %%
x = Value([1.0, 2.0])
a = multiply(x, Value(3.0))
b = multiply(a, a)
c = add(a, b)
L = total(c)
print(L, "comes from", L.parents, "which comes from", L.parents[0].parents)

# %% [markdown]
# ## Going back: the order is everything
#
# $L$ hands gradients to its parents, they to theirs, and so on. But *when* may a value hand its gradient on? Only when
# the gradient is **complete**: when all values that used it have been visited. Here `a` must wait for both `c` and `b`.
#
# Such an order is called *reverse topological*. Depth-first search finds it: put a value on the list after everything
# it was made from; then read the list backwards. (Proof: a parent is on the list before its child. Backwards, every
# child comes before its parents, so all users of a value have been visited before it.)


# %%
def topological(end):
    """All values that lead to `end`, each after the values it was made from."""
    found, seen = [], set()

    def visit(value):
        if id(value) not in seen:
            seen.add(id(value))
            for parent in value.parents:
                visit(parent)
            found.append(value)

    visit(end)
    return found


def backward(end):
    """The gradient of `end` with respect to every value that leads to it."""
    values = topological(end)
    for value in values:
        value.grad = None
    end.grad = np.ones(end.array.shape)
    for value in reversed(values):
        if value.rule is not None:
            for parent, gradient in zip(value.parents, value.rule(value.grad), strict=True):
                parent.grad = gradient if parent.grad is None else parent.grad + gradient


backward(L)
# by hand: L = sum of 3x + 9x^2, so dL/dx = 3 + 18x
assert np.array_equal(x.grad, 3 + 18 * x.array)

# %% [markdown]
# The `+` is tutorial 0's: where paths meet, they add. Each user of a value brings one term; the value keeps the sum,
# and does not care who brought what. The picture shows the graph, with the number of each visit:

# %%
order = [value for value in reversed(topological(L)) if value.parents]
drawn, axes = figure(7.5, 2.8)
boxes = {"x": (x, 0, 0), "a = 3x": (a, 2, 0), "b = a·a": (b, 4, 1), "c = a + b": (c, 6, 0), "L": (L, 8, 0)}
for text, (value, column, row) in boxes.items():
    note = f"grad {value.grad + 0.0}" + (f"\nvisit {order.index(value) + 1}" if value in order else "")
    axes.text(column, row, text, ha="center", va="center", bbox={"boxstyle": "round,pad=0.5", "facecolor": "0.92"})
    axes.text(column, row + (0.75 if row else -0.75), note, ha="center", va="center", fontsize=8)
for start, end in [
    ("x", "a = 3x"),
    ("a = 3x", "b = a·a"),
    ("a = 3x", "c = a + b"),
    ("b = a·a", "c = a + b"),
    ("c = a + b", "L"),
]:
    arrow = {"arrowstyle": "->", "shrinkA": 28, "shrinkB": 28}
    axes.annotate("", boxes[end][1:], boxes[start][1:], arrowprops=arrow)
axes.set_xlim(-1, 9)
axes.set_ylim(-1.4, 2.2)
axes.set_axis_off()
show(drawn, "04-the-order-of-the-visits")

# %% [markdown]
# ## Four ways to break it
#
# **1. The wrong order.** "Start at the end; visit parents as they are met" sounds reasonable. It visits `a` before `b`,
# and what `b` brings later is never handed on:


# %%
def backward_as_met(end):
    """WRONG: visits values in the order in which they are met."""
    end.grad = np.ones(end.array.shape)
    waiting, seen = [end], {id(end)}
    while waiting:
        value = waiting.pop(0)
        for parent, gradient in zip(value.parents, value.rule(value.grad) if value.rule else (), strict=True):
            parent.grad = gradient if parent.grad is None else parent.grad + gradient
            if id(parent) not in seen:
                seen.add(id(parent))
                waiting.append(parent)


for value in topological(L):
    value.grad = None
backward_as_met(L)
assert np.array_equal(x.grad, [3, 3])  # the path through b is missing: 18x
assert np.array_equal(a.grad, 1 + 2 * a.array)  # a itself has it, but had already handed its gradient on

# %% [markdown]
# **2. `=` in the place of `+`.** Then the last user wins, as in tutorials 1 and 2.
#
# **3. `+=` in the place of `a + b`.** In NumPy `parent.grad += gradient` changes the array *in place*. But the rule
# of `add` hands the *same* array to both parents. The second gradient that one parent receives then appears in the
# other's:

# %%
u, v = Value([1.0]), Value([1.0])
w = add(u, v)
end = total(add(w, multiply(u, Value(5.0))))
backward(end)
assert (u.grad, v.grad) == (6, 1)

shared = np.ones(1)
u.grad = v.grad = shared  # what the rule of add did for w
u.grad += 5.0  # what multiply brings, added in place
assert (u.grad, v.grad) == (6, 6)  # v never met a 5

# %% [markdown]
# **4. A changed array.** The rule of `multiply` reads the arrays when we go *back*. If somebody has changed them since,
# the gradient is that of another function, and nobody complains. Between forward and backward, change nothing in place.
# (minicnn's tape keeps arrays and not copies of them, too: copies would double the memory.)

# %%
u, v = Value([2.0]), Value([3.0])
end = total(multiply(u, v))
v.array[...] = 100.0
backward(end)
assert u.grad == 100  # d(2 * 3)/du was 3

u, v = Tensor(np.array([2.0]), requires_grad=True), Tensor(np.array([3.0]))
product = u * v
v.array[...] = 100.0
product.backward()
assert u.grad.item() == 100

# %% [markdown]
# ## What the tape costs: `no_grad`
#
# Every result keeps its parents alive, and these theirs. As long as somebody holds the loss, *all* arrays in between
# stay in memory: that is what makes training need so much more memory than predicting. Where no gradient is wanted,
# recording is switched off, and each array is freed as soon as the next one is made.

# %%
RECORDING = True


@contextmanager
def not_recording():
    """In this block, results forget where they came from."""
    global RECORDING
    before, RECORDING = RECORDING, False
    try:
        yield
    finally:
        RECORDING = before


def made(name, array, parents, rule):  # noqa: F811 # from here on this one is used
    """The result of an operation, with its past if that is wanted."""
    return Value(array, parents, rule, name) if RECORDING else Value(array, name=name)


def held(end):
    """How many numbers the graph of `end` keeps alive."""
    return sum(value.array.size for value in topological(end))


def chain(x, steps=20):
    for _ in range(steps):
        x = relu(x)
    return x


start = Value(np.ones(1000))
assert held(chain(start)) == 21 * 1000
with not_recording():
    assert held(chain(start)) == 1000

# %% [markdown]
# ## A convolutional network on our own tape
#
# Three operations are missing. Their mathematics stands in tutorials 1 and 3; here they get a rule each. Note what each
# rule keeps: $x$ for the gradient of $w$, and $w$ for that of $x$.


# %%
def convolution(x, w):
    """Without padding, stride 1; the formula's own three passes, from minicnn."""
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}

    def rule(dy):
        dx = formula.grad_input(dy, w.array, x_shape=x.array.shape, **options)
        return dx, formula.grad_weight(dy, x.array, w_shape=w.array.shape, **options)

    return made("convolution", formula.forward(x.array, w.array, None, **options), (x, w), rule)


def reshape(x, shape):
    return made("reshape", x.array.reshape(shape), (x,), lambda dy: (dy.reshape(x.array.shape),))


def cross_entropy(scores, labels):
    """The mean of -log softmax(scores)[label]; its gradient is (p - q) / N."""
    shifted = scores.array - scores.array.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_image = np.arange(len(labels)), labels
    true = np.zeros_like(log_p)
    true[one_image] = 1
    return made(
        "cross_entropy", -log_p[one_image].mean(), (scores,), lambda dy: (dy * (np.exp(log_p) - true) / len(labels),)
    )


# %%
source = digits()
images, labels = source.images[:100, None] / 255, source.labels[:100]
w1, w2 = 0.3 * rng.standard_normal((6, 1, 3, 3)), 0.02 * rng.standard_normal((6 * 36, 10))
parameters = {"w1": Value(w1), "b1": Value(np.zeros((6, 1, 1))), "w2": Value(w2), "b2": Value(np.zeros(10))}


def network(images):
    """Convolution, bias, ReLU, flatten, linear: (N, 1, 8, 8) -> scores (N, 10)."""
    hidden = relu(add(convolution(Value(images), parameters["w1"]), parameters["b1"]))
    return add(matmul(reshape(hidden, (len(images), -1)), parameters["w2"]), parameters["b2"])


loss = cross_entropy(network(images), labels)
backward(loss)
print([value.name for value in topological(loss) if value.parents])

# %% [markdown]
# The same network on minicnn's tape. The names are the frameworks' names; the gradients are the same numbers.

# %%
theirs = {name: Tensor(value.array.copy(), requires_grad=True) for name, value in parameters.items()}
hidden = nn.functional.relu(nn.functional.conv2d(Tensor(images), theirs["w1"]) + theirs["b1"])
their_loss = nn.functional.cross_entropy(hidden.flatten(1) @ theirs["w2"] + theirs["b2"], labels)
their_loss.backward()
assert np.isclose(loss.array, their_loss.item())
for name, value in parameters.items():
    assert np.allclose(value.grad, theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12), name

# %% [markdown]
# And it learns, on an engine that we know every line of:

# %%
losses = []
for _ in range(60):
    loss = cross_entropy(network(images), labels)
    losses.append(float(loss.array))
    backward(loss)
    for value in parameters.values():
        value.array -= 0.5 * value.grad  # in place, but after the way back: fault 4 does not apply
with not_recording():
    right = (network(images).array.argmax(axis=1) == labels).mean()
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, right: {right:.0%} of the images it learned from")
assert abs(losses[0] - np.log(10)) < 0.1
assert right > 0.95

drawn, axes = figure(5, 2.6)
axes.plot(losses, **LINES[0] | {"marker": ""})
tidy(axes, "step", "loss", "100 digits, on a tape of our own")
show(drawn, "04-our-own-tape-learns")

# %% [markdown]
# ## minicnn's tape, side by side
#
# | ours | `minicnn/autograd.py` | why it is different |
# |---|---|---|
# | `Value` | `Tensor`, and its `Node` | a tensor may be dropped while the graph still needs its node |
# | `value.parents` | `node.parents` | those that want no gradient are left out: no work for constants |
# | `value.rule` | `operation.backward(needs, saved, dy)` | what is saved has names and can be looked at |
# | `add`, `relu`, ... | `apply("add", a, b)` | the mathematics is in `minicnn/ops`; the tape knows none of it |
# | `topological`, recursive | `_reverse_topological`, with a stack | Python's recursion ends at about a thousand |
# | `parent.grad + gradient` | `_plus`, `Tensor.add_grad` | gradients of leaves also add up over several `backward` |
# | everything stays | `node.saved = None` after use | memory is given back during the way back |
# | `not_recording` | `no_grad` | the same |
#
# Look at a node of it:

# %%
node = their_loss.node
while node.operation.name != "conv2d":  # the first parent of each leads to the convolution
    print(node)
    node = node.parents[0]
print(node, "saved:", node.saved)
assert node.saved is None  # released by backward

again = nn.functional.conv2d(Tensor(images), theirs["w1"])
print("before backward:", {key: value for key, value in again.node.saved.items() if value is None or key == "options"})
assert again.node.saved["w"] is None  # the images want no gradient, so w need not be kept
with no_grad():
    assert nn.functional.conv2d(Tensor(images), theirs["w1"]).node is None

lines = inspect.getsource(autograd).splitlines()
print(len(lines), "lines in minicnn/autograd.py; `backward`, its heart, has", end=" ")
print(len(inspect.getsource(Tensor.backward).splitlines()))

# %% [markdown]
# Read it now (`minicnn/autograd.py`): you know everything that is in it.
#
# ## Exercises
#
# 1. Give the tape `exp`. The rule needs the *result*: which array should it keep, so that nothing is computed twice?
# 2. Give it `maximum(a, b)`, number by number, the first winning ties.
# 3. `chain(start, 2000)` and `topological` of it: what happens, and why? Write `topological_with_stack` without
#    recursion.
# 4. Find the smallest graph on which `backward_as_met` fails: how many operations does it have?

# %%
exp = None  # a function of a Value
maximum = None  # a function of two Values of the same shape
topological_with_stack = None  # a function of a Value
answer_4 = None  # a number of operations

# %%
if exp is not None:
    x = Value([0.0, 1.0, -2.0])
    backward(total(exp(multiply(x, x))))
    assert np.allclose(x.grad, 2 * x.array * np.exp(x.array**2))
if maximum is not None:
    x, y = Value([1.0, 5.0, 2.0]), Value([3.0, 4.0, 2.0])
    backward(total(maximum(x, y)))
    assert np.array_equal(x.grad, [0, 1, 1])
    assert np.array_equal(y.grad, [1, 0, 0])
if topological_with_stack is not None:
    found = topological_with_stack(chain(start, 5000))
    assert len(found) == 5001
    position = {id(value): place for place, value in enumerate(topological_with_stack(L))}
    assert all(position[id(p)] < position[id(v)] for v in topological(L) for p in v.parents)
if answer_4 is not None:
    x = Value([1.0])
    y = multiply(x, Value(3.0))  # y is used twice, the second time by way of relu
    backward_as_met(add(y, relu(y)))
    assert x.grad == 3  # 6 is right
    assert answer_4 == 3
