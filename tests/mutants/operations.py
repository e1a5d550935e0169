"""Wrong mathematics: one pass of one operation, wrong in the same way in all its algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np
from mutants.mutant import in_pass, mutant

from minicnn.ops import windows
from minicnn.ops.registry import operation

Array = Any


def with_option(**changes: Any) -> Any:
    """The right function with options that somebody forgot."""
    return lambda right: lambda *arrays, **options: right(*arrays, **{**options, **changes})


def times(factor: float) -> Any:
    """A factor too many."""
    return lambda right: lambda *arrays, **options: right(*arrays, **options) * factor


def swapped(option: str) -> Any:
    """The vertical and the horizontal value exchanged."""
    return lambda right: lambda *arrays, **options: right(*arrays, **{**options, option: options[option][::-1]})


# ---- conv2d ---------------------------------------------------------------------------------------------------------

in_pass(
    "conv2d: kernel flipped in forward",
    "conv2d",
    "forward",
    lambda f: lambda x, w, b, **o: f(x, w[:, :, ::-1, ::-1], b, **o),
)
in_pass("conv2d: bias forgotten", "conv2d", "forward", lambda f: lambda x, w, b, **o: f(x, w, None, **o))
in_pass(
    "conv2d: bias added twice",
    "conv2d",
    "forward",
    lambda f: lambda x, w, b, **o: f(x, w, None if b is None else 2 * b, **o),
)
in_pass(
    "conv2d: flip of the kernel missing in grad_input",
    "conv2d",
    "grad_input",
    lambda f: lambda dy, w, **o: f(dy, w[:, :, ::-1, ::-1], **o),
)
in_pass(
    "conv2d: dy ignored in grad_weight",
    "conv2d",
    "grad_weight",
    lambda f: lambda dy, x, **o: f(np.ones_like(dy), x, **o),
)
in_pass(
    "conv2d: dy ignored in grad_input", "conv2d", "grad_input", lambda f: lambda dy, w, **o: f(np.ones_like(dy), w, **o)
)
in_pass(
    "conv2d: only the first image in grad_weight",
    "conv2d",
    "grad_weight",
    lambda f: lambda dy, x, **o: f(dy[:1], x[:1], **o),
)
in_pass(
    "conv2d: grad_weight divided by the batch",
    "conv2d",
    "grad_weight",
    lambda f: lambda dy, x, **o: f(dy, x, **o) / max(1, len(x)),
)
in_pass("conv2d: grad_bias as a mean", "conv2d", "grad_bias", lambda f: lambda dy: f(dy) / max(1, dy.shape[2]))
in_pass(
    "conv2d: kernel axes swapped in grad_weight",
    "conv2d",
    "grad_weight",
    lambda f: (
        lambda dy, x, **o: (lambda dw: np.ascontiguousarray(np.swapaxes(dw, 2, 3)).reshape(dw.shape))(f(dy, x, **o))
    ),
)


@mutant("conv2d: the remainder is lost in grad_input", "ops/test_conv2d", "conv2d")
def _(patch: Any) -> None:
    def make(right: Any) -> Any:
        def wrong(dy: Array, w: Array, **options: Any) -> Array:
            dx = right(dy, w, **options).copy()
            dx[:, :, -1] = 0  # as if the last row of the image were never under a window
            return dx

        return wrong

    for name in operation("conv2d").algorithms:
        passes = operation("conv2d").algorithm(name).passes
        patch.setitem(passes, "grad_input", make(passes["grad_input"]))


@mutant("conv2d: padding with ones", "ops/test_conv2d")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import formula, im2col, loops

    for module in (formula, im2col, loops):
        patch.setattr(module, "pad", lambda x, padding: windows.pad(x, padding, 1.0))


def tiled(patch: Any, pass_name: str, make: Any, *names: str) -> None:
    """A wrong pass in the algorithms that have no windows of their own, or in those named."""
    for name in names or ("winograd4", "winograd2", "direct"):
        passes = operation("conv2d").algorithm(name).passes
        patch.setitem(passes, pass_name, make(passes[pass_name]))


@mutant("conv2d: a halo of ones", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import formula

    def make(right: Any) -> Any:
        def wrong(x: Array, w: Array, b: Array, *, padding: Any, **options: Any) -> Array:
            ones = windows.pad(np.zeros_like(x), padding, 1.0)
            return right(x, w, b, padding=padding, **options) + formula.forward(
                ones, w, None, padding=(0, 0), **options
            )

        return wrong

    tiled(patch, "forward", make)


@mutant("conv2d: a wrong number in a matrix of Winograd's", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    from minicnn.backends.cpu import lanes_of
    from minicnn.ops.conv2d import winograd

    right = winograd.transform

    def wrong(m: int, w: Array, adjoint: bool, u: Array) -> None:
        right(m, w, adjoint, u)
        k, c = (-(-size // 16) * 16 for size in (w.shape[:2][::-1] if adjoint else w.shape[:2]))
        wide = winograd.panel_vectors(k, w.dtype) * lanes_of(w.dtype)
        step = c * wide + winograd.SKEW
        u[: k // wide * (m + 2) ** 2 * step].reshape(k // wide, m + 2, m + 2, step)[:, 1] *= 1.001  # a row of G

    patch.setattr(winograd, "transform", wrong)


@mutant("conv2d: spare channels are not zeroed", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import direct, winograd

    def wrong(b: Any, y: Any) -> Array:
        bias = np.ones(y.channels, y.flat.dtype)
        bias[: y.shape[1]] = 0 if b is None else b
        return bias

    for module in (direct, winograd):
        patch.setattr(module, "padded_bias", wrong)


@mutant("conv2d: the bias of the panel before", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import direct, winograd

    def make(right: Any) -> Any:
        def wrong(b: Any, y: Any) -> Array:
            bias = right(b, y)
            bias[: y.shape[1] // 16 * 16] = np.roll(bias[: y.shape[1] // 16 * 16], 16)
            return bias

        return wrong

    for module in (direct, winograd):
        patch.setattr(module, "padded_bias", make(module.padded_bias))


@mutant("conv2d: kernels are not turned in grad_input of the tiled algorithms", "ops/test_conv2d_algorithms", "conv2d")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import direct, winograd

    transform, pack = winograd.transform, direct.pack_weights

    def turned(w: Array, adjoint: bool) -> Array:
        return w[:, :, ::-1, ::-1] if adjoint else w

    patch.setattr(winograd, "transform", lambda m, w, adjoint, u: transform(m, turned(w, adjoint), adjoint, u))
    patch.setattr(
        direct,
        "pack_weights",
        lambda w, packed, layout, adjoint, *rest: pack(turned(w, adjoint), packed, layout, adjoint, *rest),
    )


@mutant("conv2d: the last, overlapping tile stands one pixel to the left", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import direct

    def make(right: Any) -> Any:
        def wrong(*arrays: Array, **options: Any) -> Array:
            y = right(*arrays, **options)
            q = y.shape[3]
            rows = direct.tile_rows(q)
            if q % rows:
                y[:, :, :, q - rows - 1 : q - 1] = y[:, :, :, q - rows :].copy()
            return y

        return wrong

    tiled(patch, "forward", make, "direct")


@mutant("conv2d: the last row of tiles is lost where it is not whole", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    def make(right: Any) -> Any:
        def wrong(x: Array, *arrays: Any, **options: Any) -> Array:
            y = right(x, *arrays, **options)
            if y.shape[2] > 4 and y.shape[2] % 4:
                y[:, :, y.shape[2] // 4 * 4 :] = 0
            return y

        return wrong

    for pass_name in ("forward", "grad_input"):
        tiled(patch, pass_name, make, "winograd4")


@mutant("conv2d: remainder classes of stride 2 exchanged", "ops/test_conv2d_algorithms", "conv2d")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import direct

    right = direct._remainder

    def wrong(axis: int, i: int, *shapes: Any) -> Any:
        here = right(axis, i, *shapes)
        stride = shapes[2][axis]
        return here if stride == 1 else here._replace(first=right(axis, (i + 1) % stride, *shapes).first)

    patch.setattr(direct, "_remainder", wrong)


@mutant("conv2d: pixels that no window sees keep what the memory held", "ops/test_conv2d_algorithms")
def _(patch: Any) -> None:
    def make(right: Any) -> Any:
        def wrong(dy: Array, w: Array, *, stride: Any, **options: Any) -> Array:
            dx = right(dy, w, stride=stride, **options)
            if stride[0] > w.shape[2]:
                dx[:, :, w.shape[2] :: stride[0]] = 1e-3
            return dx

        return wrong

    tiled(patch, "grad_input", make, "direct")


@mutant("conv2d: the cheapest runs whether it fits or not", "ops/test_registry")
def _(patch: Any) -> None:
    op = operation("conv2d")
    patch.setattr(op, "choose", lambda problem: min(op.algorithms, key=lambda name: op.cost(name, problem)))


@mutant("conv2d: a choice is remembered for other options too", "ops/test_registry")
def _(patch: Any) -> None:
    right = type(operation("conv2d")).problem

    def wrong(self: Any, pass_name: str, arrays: Any, options: Any) -> Any:
        problem = right(self, pass_name, arrays, options)
        remembered = self._choices
        key = (pass_name, problem.shapes)
        for known in list(remembered):
            if known[:2] == key:
                full = (pass_name, problem.shapes, problem.dtype, problem.device, *problem.options.items())
                remembered.setdefault(full, remembered[known])
        return problem

    patch.setattr(type(operation("conv2d")), "problem", wrong)


@mutant("conv2d: groups see the wrong channels", "ops/test_conv2d")
def _(patch: Any) -> None:
    def make(right: Any) -> Any:
        def wrong(x: Array, w: Array, b: Array, **options: Any) -> Array:
            return right(x[:, ::-1] if options["groups"] > 1 else x, w, b, **options)

        return wrong

    for name in operation("conv2d").algorithms:
        passes = operation("conv2d").algorithm(name).passes
        patch.setitem(passes, "forward", make(passes["forward"]))


@mutant("conv2d: dilation ignored where the shapes allow it", "ops/test_conv2d")
def _(patch: Any) -> None:
    from minicnn.ops.conv2d import formula

    right = formula._window
    patch.setattr(
        formula,
        "_window",
        lambda p, q, kernel, stride, dilation: (
            (slice(p * stride[0], p * stride[0] + kernel[0]), slice(q * stride[1], q * stride[1] + kernel[1]))
            if dilation != (1, 1)
            else right(p, q, kernel, stride, dilation)
        ),
    )


@mutant("conv2d: the last block of pixels is lost in im2col", "ops/test_conv2d")
def _(patch: Any) -> None:
    passes = operation("conv2d").algorithm("im2col").passes
    right = passes["forward"]

    def wrong(x: Array, w: Array, b: Array, **options: Any) -> Array:
        y = right(x, w, b, **options).copy()
        pixels = y.shape[2] * y.shape[3]
        if pixels > 256:
            y.reshape(*y.shape[:2], pixels)[:, :, 256:] = 0
        return y

    patch.setitem(passes, "forward", wrong)


# ---- transposed convolution -----------------------------------------------------------------------------------------

in_pass(
    "conv_transpose2d: kernel flipped in forward",
    "conv_transpose2d",
    "forward",
    lambda f: lambda x, w, b, **o: f(x, np.ascontiguousarray(w[:, :, ::-1, ::-1]), b, **o),
)
in_pass(
    "conv_transpose2d: kernel flipped in grad_input",
    "conv_transpose2d",
    "grad_input",
    lambda f: lambda dy, w, **o: f(dy, np.ascontiguousarray(w[:, :, ::-1, ::-1]), **o),
)
in_pass(
    "conv_transpose2d: dy ignored in grad_weight",
    "conv_transpose2d",
    "grad_weight",
    lambda f: lambda dy, x, **o: f(np.ones_like(dy), x, **o),
)
in_pass("conv_transpose2d: grad_bias as a mean", "conv_transpose2d", "grad_bias", times(0.5))


@mutant("conv_transpose2d: output_padding is a border of bias", "ops/test_conv_transpose2d", "conv_transpose2d")
def _(patch: Any) -> None:
    def make(right: Any) -> Any:
        def wrong(x: Array, w: Array, b: Array | None, *, output_padding: Any, **options: Any) -> Array:
            y = np.array(right(x, w, b, output_padding=output_padding, **options))
            for axis, more in ((2, output_padding[0]), (3, output_padding[1])):
                border = np.moveaxis(y, axis, 0)[y.shape[axis] - more :]
                border[...] = 0
            return y

        return wrong

    for name in operation("conv_transpose2d").algorithms:
        passes = operation("conv_transpose2d").algorithm(name).passes
        patch.setitem(passes, "forward", make(passes["forward"]))


@mutant("conv_transpose2d: the pixels that are not there are forgotten", "ops/test_conv_transpose2d")
def _(patch: Any) -> None:
    from minicnn.ops.conv_transpose2d import adjoint

    def repeated(x: Array, stride: Any, output_padding: Any) -> Array:
        more = [output_padding[a] // stride[a] for a in (0, 1)]
        return np.pad(x, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="edge")

    patch.setattr(adjoint, "_longer", repeated)


# ---- pooling --------------------------------------------------------------------------------------------------------


def last_tie(right: Any) -> Any:
    """Pools the image turned around: of several maxima the last one wins, without padding at least."""

    def wrong(x: Array, **options: Any) -> Any:
        y, winner = right(x, **options)
        if any(options["padding"]) or options["ceil_mode"] or x.size == 0:
            return y, winner
        height, width = x.shape[2:]
        r, s = options["kernel_size"]
        for n, c, p, q in np.ndindex(*y.shape):
            for i, j in np.ndindex(r, s):
                h = p * options["stride"][0] + i * options["dilation"][0]
                v = q * options["stride"][1] + j * options["dilation"][1]
                if h < height and v < width and x[n, c, h, v] == y[n, c, p, q]:
                    winner[n, c, p, q] = h * width + v
        return y, winner

    return wrong


def zero_padding(right: Any) -> Any:
    """Zeros around the image may win."""

    def wrong(x: Array, **options: Any) -> Any:
        y, winner = right(x, **options)
        return (np.maximum(y, y.dtype.type(0)) if any(options["padding"]) else y), winner

    return wrong


def swallow_nan(right: Any) -> Any:
    """NaN never wins."""

    def wrong(x: Array, **options: Any) -> Any:
        return right(np.where(np.isnan(x), x.dtype.type(-np.inf), x), **options)

    return wrong


in_pass("max_pool2d: the last tie wins", "max_pool2d", "forward", last_tie)
in_pass("max_pool2d: padding with zeros", "max_pool2d", "forward", zero_padding)
in_pass("max_pool2d: NaN swallowed", "max_pool2d", "forward", swallow_nan)
in_pass(
    "max_pool2d: the gradient goes one pixel beside the winner",
    "max_pool2d",
    "grad_input",
    lambda f: lambda dy, winner, **o: f(dy, np.maximum(winner - 1, 0), **o),
)
in_pass(
    "max_pool2d: dy ignored",
    "max_pool2d",
    "grad_input",
    lambda f: lambda dy, winner, **o: f(np.ones_like(dy), winner, **o),
)
in_pass(
    "max_pool2d: the gradient is overwritten where windows share a winner",
    "max_pool2d",
    "grad_input",
    lambda f: lambda dy, winner, **o: np.clip(f(dy, winner, **o), dy.min(initial=0), dy.max(initial=0)),
)
in_pass("avg_pool2d: padding never counts", "avg_pool2d", "forward", with_option(count_include_pad=False))
in_pass(
    "avg_pool2d: divisor without padding in grad_input",
    "avg_pool2d",
    "grad_input",
    with_option(count_include_pad=False),
)
in_pass("avg_pool2d: padding axes swapped in grad_input", "avg_pool2d", "grad_input", swapped("padding"))
in_pass("adaptive_avg_pool2d: gradient not divided", "adaptive_avg_pool2d", "grad_input", times(2.0))

# ---- batch norm -----------------------------------------------------------------------------------------------------

in_pass(
    "batch_norm: mean and variance are constants in training", "batch_norm", "grad_input", with_option(training=False)
)
in_pass(
    "batch_norm: weight forgotten in grad_input",
    "batch_norm",
    "grad_input",
    lambda f: lambda dy, x, weight, *rest, **o: f(dy, x, None, *rest, **o),
)
in_pass(
    "batch_norm: unbiased variance",
    "batch_norm",
    "statistics",
    lambda f: lambda x: (lambda mean, var, n: (mean, var * n / max(1, n - 1)))(*f(x), x.size // x.shape[1]),
)
in_pass(
    "batch_norm: x not normalised in grad_weight",
    "batch_norm",
    "grad_weight",
    lambda f: lambda dy, x, mean, inv_std: f(dy, x, np.zeros_like(mean), inv_std),
)


@mutant("batch_norm: biased running variance", "ops/test_batch_norm")
def _(patch: Any) -> None:
    from minicnn.ops import batch_norm

    right = batch_norm.update_running

    def wrong(
        running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float = 0.1
    ) -> Any:
        return right(running_mean, running_var, mean, var * (count - 1) / count, count, momentum)

    patch.setattr(batch_norm, "update_running", wrong)


@mutant("batch_norm: momentum the other way round", "ops/test_batch_norm")
def _(patch: Any) -> None:
    from minicnn.ops import batch_norm

    right = batch_norm.update_running
    patch.setattr(
        batch_norm, "update_running", lambda rm, rv, m, v, n, momentum=0.1: right(rm, rv, m, v, n, 1 - momentum)
    )


# ---- dense and small operations -------------------------------------------------------------------------------------

in_pass(
    "linear: grad_weight transposed twice over",
    "linear",
    "grad_weight",
    lambda f: lambda dy, x, **o: f(dy[..., ::-1], x, **o),
)
in_pass("linear: grad_bias as a mean", "linear", "grad_bias", times(0.5))
in_pass(
    "matmul: rows of a reversed in grad_b", "matmul", "grad_b", lambda f: lambda dy, a, **o: f(dy, a[..., ::-1, :], **o)
)
in_pass(
    "softmax: gradient of the diagonal alone", "softmax", "grad_input", lambda f: lambda dy, y, **o: dy * y * (1 - y)
)
in_pass(
    "log_softmax: the gradient forgets the sum",
    "log_softmax",
    "grad_input",
    lambda f: lambda dy, y, **o: dy - np.exp(y),
)
in_pass(
    "cross_entropy: label smoothing off in the gradient",
    "cross_entropy",
    "grad_input",
    with_option(label_smoothing=0.0),
)
in_pass(
    "cross_entropy: ignored labels count in the gradient",
    "cross_entropy",
    "grad_input",
    lambda f: lambda *a, **o: (lambda dx: np.where(dx == 0, dx.dtype.type(0.1), dx))(f(*a, **o)),
)
in_pass(
    "cross_entropy: class weights forgotten",
    "cross_entropy",
    "forward",
    lambda f: lambda x, target, weight=None, **o: f(x, target, None, **o),
)
in_pass("mse: the factor 2 is missing", "mse", "grad_input", times(0.5))
in_pass("mse: the target's gradient has the sign of x's", "mse", "grad_target", times(-1.0))
in_pass("relu: the gradient passes everywhere", "relu", "grad_input", lambda f: lambda dy, y: dy.copy())
in_pass("relu: a leak", "relu", "forward", lambda f: lambda x: np.maximum(x, x.dtype.type(0.01) * x))
in_pass("relu: NaN swallowed", "relu", "forward", lambda f: lambda x: np.where(np.isnan(x), x.dtype.type(0), f(x)))
in_pass("dropout: the gradient is not scaled", "dropout", "grad_input", lambda f: lambda dy, mask, **o: dy * mask)
in_pass("sigmoid: y forgotten", "sigmoid", "grad_input", lambda f: lambda dy, y: dy * y)
in_pass("tanh: y not squared", "tanh", "grad_input", lambda f: lambda dy, y: dy * (1 - np.abs(y)))
in_pass(
    "max: the last of several maxima takes the gradient",
    "max",
    "grad_input",
    lambda f: (
        lambda dy, x, y, **o: f(dy, x, y, **o) if x.ndim < 1 or o["dim"] is None else np.roll(f(dy, x, y, **o), 1, -1)
    ),
)


@mutant("index: repeated places are overwritten", "ops/test_shape", "index")
def _(patch: Any) -> None:
    right = operation("index").backward

    def wrong(needs: Any, saved: Any, dy: Array) -> Any:
        (dx,) = right(needs, saved, dy)
        return (None if dx is None else np.clip(dx, dy.min(initial=0), dy.max(initial=0)),)

    patch.setattr(operation("index"), "backward", wrong)


@mutant("concatenate: gradients in the wrong order", "ops/test_shape", "concatenate")
def _(patch: Any) -> None:
    right = operation("concatenate").backward
    patch.setattr(
        operation("concatenate"),
        "backward",
        lambda needs, saved, dy: tuple(None if g is None else g[::-1] for g in right(needs, saved, dy)),
    )


@mutant("div: the sign of the divisor's gradient", "ops/test_elementwise", "div")
def _(patch: Any) -> None:
    right = operation("div").backward

    def wrong(needs: Any, saved: Any, dy: Array) -> Any:
        da, db = right(needs, saved, dy)
        return da, None if db is None else -db

    patch.setattr(operation("div"), "backward", wrong)


# ---- rnn, lstm, gru -------------------------------------------------------------------------------------------------

in_pass(
    "rnn: the gradient of the initial state is that of the first one",
    "rnn",
    "grad_steps",
    lambda f: lambda dh, h, w_hh, **o: (lambda da, _: (da, da[-1 if o["reverse"] else 0]))(*f(dh, h, w_hh, **o)),
)
in_pass(
    "lstm: the gradients of two gates exchanged",
    "lstm",
    "grad_steps",
    lambda f: (
        lambda *arrays, **o: (
            lambda da, *states: (da.reshape(*da.shape[:2], 4, -1)[:, :, [1, 0, 2, 3]].reshape(da.shape), *states)
        )(*f(*arrays, **o))
    ),
)
in_pass(
    "gru: the reset gate forgotten on the way back",
    "gru",
    "grad_steps",
    lambda f: lambda *arrays, **o: (lambda da, du, dh0: (da, da, dh0))(*f(*arrays, **o)),
)
