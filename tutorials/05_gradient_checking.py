# %% [markdown]
# # 5. Gradient checking, and how a check can be blind
#
# **Question: ten lines of code can test any backward pass ever written. How can the same ten lines say "all is well"
# about a gradient that is plainly wrong, and cry wolf over one that is right?**
#
# Whoever writes a backward pass should check it; whoever checks should know what the check cannot see. You need the
# gradients of tutorials 1 to 3.

# %%
import numpy as np

import minicnn
from minicnn import nn
from minicnn.ops.conv2d import formula
from minicnn.study.figures import LINES, figure, show, tidy

rng = np.random.default_rng(0)

# %% [markdown]
# ## The difference quotient, and its best step
#
# A derivative is a limit, $f'(x) = \lim_{h\to0}\frac{f(x+h)-f(x)}{h}$; so take a small $h$ and compare. How small?
# Taylor's series answers. With $f$ and its derivatives at $x$,
#
# $$f(x\pm h) = f \pm h f' + \tfrac{h^2}{2} f'' \pm \tfrac{h^3}{6} f''' + \dots$$
#
# $$\underbrace{\frac{f(x+h)-f(x)}{h}}_{\text{one-sided}} = f' + \tfrac{h}{2} f'' + \dots \qquad\qquad
#   \underbrace{\frac{f(x+h)-f(x-h)}{2h}}_{\text{central}} = f' + \tfrac{h^2}{6} f''' + \dots$$
#
# The central one is much better: $f$ and $f''$ cancel. But a computer does not know $f(x\pm h)$ exactly. It rounds,
# with a relative error of $\epsilon \approx 10^{-16}$ in float64 ($10^{-7}$ in float32), and the small difference of
# two large numbers keeps all of that error, divided by $h$:
#
# $$\text{error}(h) \;\approx\; \underbrace{\tfrac{h^2}{6}\,|f'''|}_{\text{series}}
#   + \underbrace{\epsilon\,|f| / h}_{\text{rounding}} .$$
#
# The sum is smallest where its derivative $\tfrac{h}{3}|f'''| - \epsilon |f|/h^2$ is 0, at
# $h^* = \sqrt[3]{3\epsilon\,|f/f'''|}$.
#
# So about $10^{-5}$ in float64, and then the error is near $10^{-11}$. One more trick (Richardson's): from two central
# quotients $D(h)$ and $D(h/2)$ the $h^2$ can be removed as well, $R = \frac{4D(h/2)-D(h)}{3} = f' + O(h^4)$.


# %%
def f(x):
    return np.exp(np.sin(x))


def central(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


at = np.float64(1.0)
exact = np.cos(at) * f(at)
steps = 2.0 ** -np.arange(1, 47)
errors = {
    "one-sided": abs((f(at + steps) - f(at)) / steps - exact),
    "central": abs(central(f, at, steps) - exact),
    "Richardson": abs((4 * central(f, at, steps / 2) - central(f, at, steps)) / 3 - exact),
    "central, float32": abs(central(f, np.float32(1), steps.astype(np.float32)).astype(float) - exact),
}
for power, name in ((1, "one-sided"), (2, "central"), (4, "Richardson")):
    slope = np.log2(errors[name][2] / errors[name][4]) / 2  # for each halving of h
    print(f"{name:18} error ~ h^{slope:.2f}; the best step is {steps[errors[name].argmin()]:.0e}")
    assert abs(slope - power) < 0.2
assert 1e-6 < steps[errors["central"].argmin()] < 1e-4
assert errors["central"].min() < 1e-10
assert errors["central, float32"][steps > 1e-4].min() > 1e-7

drawn, axes = figure(6.5, 3.8)
for style, (name, error) in zip(LINES, errors.items(), strict=True):
    shown = slice(0, 16) if "32" in name else slice(None)
    axes.loglog(steps[shown], np.maximum(error[shown], 1e-16), label=name, markevery=4, **style)
axes.legend(loc="lower left")
tidy(axes, "step h", "error of the difference quotient", "long steps miss the curve, short ones drown in rounding")
show(drawn, "05-the-v-of-the-step-size")

# %% [markdown]
# ## From numbers to arrays
#
# A layer has many outputs, a derivative needs one. Choose any array $g$ of the output's shape, let $L = \sum g\cdot y$;
# then $\partial L/\partial y = g$. The backward pass gets $g$ as its "upstream gradient" and must return
# $\partial L/\partial x$, which difference quotients give entry by entry. In ten lines:


# %%
def check(forward, backward, x, g, h=1e-5):
    """The largest error of `backward` beside the largest gradient; gradients below 1e-3 are rounding."""
    analytic = backward(x, g)
    numeric = np.empty_like(analytic)
    for i in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[i] = h
        numeric[i] = (g * (forward(x + nudge) - forward(x - nudge))).sum() / (2 * h)
    return np.abs(analytic - numeric).max() / max(np.abs(analytic).max(), np.abs(numeric).max(), 1e-3)


# %% [markdown]
# Two calls of the forward pass for each entry; backpropagation gives all entries in one go. That is why we
# differentiate by backpropagation, and only *check* by differences.


# %%
def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def softmax_backward(z, g):
    p = softmax(z)
    return p * (g - (g * p).sum())


z, random = rng.standard_normal(6), rng.standard_normal(6)
error = check(softmax, softmax_backward, z, random)
print(f"softmax: {error:.1e}")
assert error < 1e-8

# %% [markdown]
# ## Six ways to be blind
#
# Now we plant bugs, and see which checks find them. Each entry of the list is: a wrong backward pass, a careless check
# that lets it through, and a careful one that does not.
#
# **1. An upstream gradient of ones.** `y.sum().backward()` is so convenient. But probabilities always sum to 1: with
# $g = 1$, $L$ is constant, and the right gradient is zero. So a backward pass that returns *nothing but zeros* passes.
#
# **2. The same for batch norm**, whose outputs always sum to 0 (tutorial 6). A backward pass which forgets that the
# variance depends on $x$ passes with ones.

# %%
ones = np.ones(6)


def normalise(x):
    return (x - x.mean()) / x.std()


def forgets_the_variance(x, g):
    return (g - g.mean()) / x.std()


planted = {
    "softmax: returns zeros": (
        check(softmax, lambda z, g: 0 * z, z, ones),
        check(softmax, lambda z, g: 0 * z, z, random),
    ),
    "batch norm: forgets the variance": (
        check(normalise, forgets_the_variance, z, ones),
        check(normalise, forgets_the_variance, z, random),
    ),
}

# %% [markdown]
# **3. Symmetric weights.** $dx = W^{\mathsf T} g$; who forgets to transpose is not found out by a symmetric $W$
# (identity, all ones, ...). A matrix that is not square would not even have run: choose odd shapes, all sizes
# different.
#
# **4. A symmetric kernel.** Who forgets to turn the kernel (tutorial 1) is not found out by a blur.

# %%
W = rng.standard_normal((6, 6))
symmetric = W + W.T
planted["linear: forgets to transpose"] = (
    check(lambda x: symmetric @ x, lambda x, g: symmetric @ g, z, random),
    check(lambda x: W @ x, lambda x, g: W @ g, z, random),
)


def slide(w):
    return lambda x: np.correlate(x, w, "valid")


def not_turned(w):
    return lambda x, g: np.correlate(g, w, "full")  # np.convolve(g, w, "full") would turn it


few = rng.standard_normal(4)
blur, slope = np.array([1.0, 2, 1]), np.array([1.0, 2, 5])
planted["convolution: kernel not turned"] = (
    check(slide(blur), not_turned(blur), z, few),
    check(slide(slope), not_turned(slope), z, few),
)

# %% [markdown]
# **5. A size of one, or a zero.** With a batch of one image, a forgotten $\frac1N$ is invisible. With weights that
# start at zero, $dx = W^{\mathsf T} g = 0$ whatever one writes. And with *closed* ReLUs zero equals zero:

# %%
batch = rng.standard_normal((4, 3))
planted["mean: forgets to divide by N"] = (
    check(lambda x: x.mean(axis=0), lambda x, g: np.tile(g, (len(x), 1)), batch[:1], random[:3]),
    check(lambda x: x.mean(axis=0), lambda x, g: np.tile(g, (len(x), 1)), batch, random[:3]),
)
planted["relu: returns the wrong sign"] = (
    check(lambda x: np.maximum(x, 0), lambda x, g: -g * (x > 0), -np.abs(z), random),
    check(lambda x: np.maximum(x, 0), lambda x, g: -g * (x > 0), z, random),
)

# %% [markdown]
# **6. One number for everything.** A single norm over all parameters, $\|\text{tape}-\text{differences}\| / \|\dots\|$,
# hides what is small: if the weights' gradients are in the thousands, a bias whose gradient is wrong by a factor of two
# adds nothing to it. Compare each array on its own scale.

# %%
tape = {"w": 1e4 * rng.standard_normal(1000), "b": np.array([2e-3])}
truth = {"w": tape["w"], "b": np.array([1e-3])}
everything = [np.concatenate(list(gradients.values())) for gradients in (tape, truth)]
planted["bias: wrong by a factor of 2"] = (
    np.linalg.norm(everything[0] - everything[1]) / np.linalg.norm(everything[1]),
    max(np.abs(tape[name] - truth[name]).max() / np.abs(tape[name]).max() for name in tape),
)

print(f"{'planted bug':34} {'careless check':>15} {'careful check':>15}")
for name, (careless, careful) in planted.items():
    print(f"{name:34} {careless:15.1e} {careful:15.1e}")
    assert careless < 1e-7 < 1e-2 < careful

# %% [markdown]
# **What no gradient check can see.** It compares the backward pass with *your* forward pass. If the forward pass
# computes something else than you meant, and the backward pass is its true derivative, all is consistent, and wrong.
# The forward pass needs a test of its own: against the formula.

# %%
error = check(lambda z: softmax(2 * z), lambda z, g: 2 * softmax_backward(2 * z, g), z, random)
assert error < 1e-8  # a perfect gradient, of something that is not the softmax
assert not np.allclose(softmax(2 * z), softmax(z))

# %% [markdown]
# ## False alarms
#
# **float32.** The same right gradient, checked in float32, looks wrong, at any step; and a tolerance that is wide
# enough to let it pass would let real mistakes pass as well. Check in float64, train in float32.

# %%
for dtype in (np.float64, np.float32):
    found = [
        check(softmax, softmax_backward, z.astype(dtype), random.astype(dtype), dtype(h)) for h in (1e-2, 1e-3, 1e-5)
    ]
    print(dtype.__name__, "errors of a right gradient at h = 1e-2, 1e-3, 1e-5:", *map("{:.0e}".format, found))
    assert (min(found) < 1e-9) == (dtype is np.float64)

# %% [markdown]
# **Kinks.** ReLU and max pooling have corners. If $x$ and $x \pm h$ lie on different sides of one, the quotient is a
# mixture of two slopes, and the gradient of the tape, though right, disagrees:

# %%
close = np.linspace(-3e-5, 3e-5, 61)
drawn, axes = figure(6, 2.8)
axes.plot(close, close > 0, label="derivative of relu", **LINES[0] | {"marker": ""})
for style, h in zip(LINES[1:], (1e-5, 2e-6), strict=False):
    axes.plot(close, central(lambda x: np.maximum(x, 0), close, h), label=f"central, h = {h:g}", markevery=6, **style)
axes.legend()
tidy(axes, "x", "slope", "within h of a corner the quotient is neither slope")
show(drawn, "05-a-corner")
assert np.isclose(central(lambda x: np.maximum(x, 0), 3e-6, 1e-5), 0.65)  # the right slope is 1
assert np.isclose(central(lambda x: np.maximum(x, 0), 3e-6, 2e-6), 1)  # a shorter step does not cross

# %% [markdown]
# Is that rare? A value that is standard normal lies within $h$ of 0 with probability $2h\,\varphi(0) \approx 0.8\,h$.
# That is tiny for one ReLU. But one weight of a first layer moves *all* pixels of a feature map: of $10^5$ ReLUs
# behind it, with $h=10^{-5}$, on the average 0.8 are that near to their corner. So more than half of the weights
# ($1-e^{-0.8} = 55\%$) meet at least one. The error that this makes is small beside the sum of all terms, but no
# longer $10^{-10}$. Do not loosen the tolerance: *shorten the step*, and see whether the disagreement goes away. And
# if $x$ sits *on* the corner, ask only that the gradient lies between the two slopes.

# %%
crossings = (np.abs(rng.standard_normal((200, 100_000), dtype=np.float32)) < 1e-5).sum(axis=1)
print(
    f"of 100000 ReLUs, {crossings.mean():.2f} are near their corner; in {(crossings > 0).mean():.0%} of the cases, some"
)
assert abs((crossings > 0).mean() - (1 - np.exp(-0.8))) < 0.12
assert abs(crossings.mean() - 0.8) < 0.25

# %% [markdown]
# **Chance.** A network with dropout is another function at each call; the differences are noise. Fix the seed, or check
# in evaluation mode.
#
# ## minicnn's check
#
# `minicnn.gradcheck` knows all this: float64 only, a random $g$ that is nowhere near 0, Richardson's quotient at
# several steps, each array on its own scale, corners told from mistakes, and it refuses what cannot be checked. Plant
# a bug in its convolution (an algorithm of one's own, used in the place of the built-in one), and see:


# %%
def unturned(dy, w, **options):
    return formula.grad_input(dy, np.ascontiguousarray(w[:, :, ::-1, ::-1]), **options)


minicnn.register_algorithm("conv2d", "not turned", grad_input=unturned)
x, w = rng.standard_normal((1, 2, 4, 5)), rng.standard_normal((3, 2, 3, 2))
print(minicnn.gradcheck(nn.functional.conv2d, [x, w]))
try:
    with minicnn.algorithm(conv2d="not turned"):
        minicnn.gradcheck(nn.functional.conv2d, [x, w])
except AssertionError as error:
    print("\nwith the planted bug:", error)
else:
    raise AssertionError("the bug was not found")

with minicnn.algorithm(conv2d="not turned"):  # and blind again, with a symmetric kernel
    assert minicnn.gradcheck(nn.functional.conv2d, [x, np.ones((3, 2, 3, 3))])
minicnn.unregister_algorithm("conv2d", "not turned")

# %%
report = minicnn.gradcheck(nn.functional.relu, [np.array([0.0, -1.0, 2.0])])  # one value sits on the corner
print(report)
assert report.inputs[0].kinks == 1

refused = {
    "chance": lambda: minicnn.gradcheck(lambda x: nn.functional.dropout(x, 0.5), [np.ones(50)]),
    "float32": lambda: minicnn.gradcheck(nn.functional.relu, [np.ones(3, np.float32)]),
    "all corners": lambda: minicnn.gradcheck(nn.functional.relu, [np.zeros(3)]),
}
for name, careless in refused.items():
    try:
        careless()
    except minicnn.MinicnnError as error:
        print(f"{name}: {str(error).splitlines()[0]}")
    else:
        raise AssertionError(f"{name} was not refused")

# %% [markdown]
# ## Exercises
#
# 1. For the one-sided quotient the error is about $\frac h2|f''| + 2\epsilon|f|/h$. Which power of $\epsilon$ is the
#    best step proportional to, and which power the smallest error?
# 2. ResNet-18 has 11,689,512 parameters. How many forward passes does a full check by central differences take?
# 3. The backward pass below is wrong in one place. For arrays of which length does `check` not see it, whatever the
#    numbers are? Then mend it.
# 4. The *complex step*: $f'(x) \approx \operatorname{Im} f(x+ih)/h$. Show by Taylor's series that its error is
#    $O(h^2)$ and that nothing is subtracted. So how small may $h$ be? Try it on `f` above, with $h = 10^{-100}$.


# %%
def squared_norm_times(x):
    """y_i = x_i * sum of x_k^2"""
    return x * (x**2).sum()


def squared_norm_times_backward(x, g):
    return g * (x**2).sum() + 2 * g * x**2  # wrong: the second term


answer_1 = None  # (power of the step, power of the error)
answer_2 = None
answer_3 = None  # a length
mended = None  # a function of (x, g)
answer_4 = None  # the derivative of f at 1, by a complex step

# %%
assert answer_1 in (None, (1 / 2, 1 / 2))
assert answer_2 in (None, 2 * 11_689_512)
if answer_3 is not None:
    assert check(squared_norm_times, squared_norm_times_backward, z[:answer_3], random[:answer_3]) < 1e-7
if mended is not None:
    assert check(squared_norm_times, mended, z, random) < 1e-7
assert answer_4 is None or abs(answer_4 - exact) < 1e-15
