"""Convolution: the window of an output, the outputs that used a pixel, all places where a weight was used.

Letters as in `minicnn.ops.conv2d`: x (N, C, H, W), w (K, C/G, R, S), b (K,), y (N, K, P, Q).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.ops import conv2d
from minicnn.ops.registry import algorithm
from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.notation import Math, affine, at, equals, plus, sum_over, times
from minicnn.study.explain.rounding import WINOGRAD
from minicnn.study.explain.terms import block, counted

ROW, COLUMN = "p·σ+r·δ−π", "q·σ+s·δ−π"
X_GENERAL = at("x", "n", "c", ROW, COLUMN)


@explains("conv2d", "y")
def forward(asked: Asked) -> Answer:
    """y[n,k,p,q]: the bias, and the window of x times the kernel k."""
    n, k, p, q = asked.index
    options, channels, first = _grouped(asked, k)
    kernel = asked.shape("w")[2:]
    c, r, s = (axis.ravel() for axis in np.indices((channels, *kernel)))
    rows, columns = (
        place * options["stride"][a] - options["padding"][a] for a, place in enumerate((p, q))
    )  # of the window's corner
    places = rows + r * options["dilation"][0], columns + s * options["dilation"][1]
    x = asked.column("x", n, first + c, *places, padded=True)
    w = asked.column("w", k, c, r, s)
    blocks = [block("products", x, w)]
    general, here = sum_over("c,r,s", times(X_GENERAL, at("w", "k", "c", "r", "s"))), _window(asked, n, k, p, q)
    if asked.has("b"):
        blocks.insert(0, block("bias", asked.column("b", k)))
        general, here = plus(at("b", "k"), general), plus(at("b", k), here)
    answer = Answer(equals(at("y", "n", "k", "p", "q"), general), equals(at("y", n, k, p, q), here), blocks)
    spans = [f"{start}..{start + options['dilation'][a] * (kernel[a] - 1)}" for a, start in enumerate((rows, columns))]
    answer.words = (
        f"x: {asked.source('x')} {asked.shape('x')}, channels {first}..{first + channels - 1}, rows {spans[0]}, "
        f"columns {spans[1]}; w: {asked.source('w')} {asked.shape('w')}, kernel {k}"
    )
    _by(answer, asked, "forward", ("x", "w", "b"), {}, lambda: _reach_forward(asked, x.index, k))
    return answer


@explains("conv2d", "grad x")
def grad_input(asked: Asked) -> Answer:
    """dx[n,c,h,w]: all outputs whose windows held this pixel, each with the weight that it was multiplied by."""
    n, c, height, width = asked.index
    options = _options(asked)
    many, kernels = asked.shape("w")[1], asked.shape("w")[0] // options["groups"]
    group, inner = divmod(c, many)
    k, r, s = (axis.ravel() for axis in np.indices((kernels, *asked.shape("w")[2:])))
    first = group * kernels
    k = k + first
    out, used = meeting(options, (height, width), (r, s), asked.shape("y")[2:])
    k, r, s, p, q = (axis[used] for axis in (k, r, s, *out))
    dy, w = asked.column("dy", n, k, p, q), asked.column("w", k, inner, r, s)
    where = "p·σ=h+π−r·δ, q·σ=v+π−s·δ"
    product = times(at("dy", "n", "k", "p", "q"), at("w", "k", "c", "r", "s"))
    places = meeting_text(options, ("p", height, "r"), ("q", width, "s"))
    answer = Answer(
        equals(at("dx", "n", "c", "h", "v"), sum_over(f"k,r,s: {where}", product)),
        equals(
            at("dx", n, c, height, width),
            sum_over(
                f"k={first}..{first + kernels - 1}, {taps(asked)}: {places}",
                times(at("dy", n, "k", "p", "q"), at("w", "k", inner, "r", "s")),
            ),
        ),
        [block("outputs that used this pixel", dy, w)],
    )
    pixels = {(int(a), int(b)) for a, b in zip(p, q, strict=True)}
    answer.words = (
        f"{asked.source('x')} at {asked.at} stood in the windows of {counted(len(pixels), 'output place')} in "
        f"each of {counted(kernels, 'channel')}; each output's gradient comes back with the weight that it met there"
    )
    if not len(k):
        answer.notes.append("no window held this pixel: its gradient is 0")
    options_of = {"x_shape": asked.shape("x")}
    _by(answer, asked, "grad_input", ("dy", "w"), options_of, lambda: _reach_input(asked))
    return answer


@explains("conv2d", "grad w")
def grad_weight(asked: Asked) -> Answer:
    """dw[k,c,r,s]: all places where this weight was used, each with the pixel that it met."""
    k, c, r, s = asked.index
    options, _, first = _grouped(asked, k)
    many, _, out_h, out_w = asked.shape("y")
    n, p, q = (axis.ravel() for axis in np.indices((many, out_h, out_w)))
    starts = [
        tap * options["dilation"][a] - options["padding"][a] for a, tap in enumerate((r, s))
    ]  # of the places that this weight meets
    rows, columns = (place * options["stride"][a] + starts[a] for a, place in enumerate((p, q)))
    dy, x = asked.column("dy", n, k, p, q), asked.column("x", n, first + c, rows, columns, padded=True)
    here = [affine(starts[a], letter, options["stride"][a]) for a, letter in enumerate("pq")]
    answer = Answer(
        equals(
            at("dw", "k", "c", "r", "s"),
            sum_over("n,p,q", times(at("dy", "n", "k", "p", "q"), X_GENERAL)),
        ),
        equals(
            at("dw", k, c, r, s),
            sum_over(
                f"n=0..{many - 1}, p=0..{out_h - 1}, q=0..{out_w - 1}",
                times(at("dy", "n", k, "p", "q"), at("x", "n", first + c, *here)),
            ),
        ),
        [block("uses of this weight", dy, x)],
        words=f"{asked.source('w')} at {asked.at} was used once for each of {many} x {out_h} x {out_w} outputs "
        f"of channel {k}; each output's gradient comes back with the pixel of {asked.source('x')} that the weight met",
    )
    options_of = {"w_shape": asked.shape("w")}
    _by(answer, asked, "grad_weight", ("dy", "x"), options_of, lambda: _reach_weight(asked, k, first + c))
    return answer


@explains("conv2d", "grad b")
def grad_bias(asked: Asked) -> Answer:
    """db[k]: the bias went into every output of its channel."""
    return bias_of_channel(asked)


def bias_of_channel(asked: Asked) -> Answer:
    """db[k] = sum_{n,p,q} dy[n,k,p,q]; shared with the transposed convolution."""
    (k,) = asked.index
    many, _, out_h, out_w = asked.shape("y")
    n, p, q = (axis.ravel() for axis in np.indices((many, out_h, out_w)))
    over = f"n=0..{many - 1}, p=0..{out_h - 1}, q=0..{out_w - 1}"
    return Answer(
        equals(at("db", "k"), sum_over("n,p,q", at("dy", "n", "k", "p", "q"))),
        equals(at("db", k), sum_over(over, at("dy", "n", k, "p", "q"))),
        [block("outputs", asked.column("dy", n, k, p, q))],
        words=f"{asked.source('b')} at {asked.at} went into each of the {many * out_h * out_w} outputs of channel {k}",
    )


# ---- options, formulas ----------------------------------------------------------------------------------------------


def _options(asked: Asked) -> dict[str, Any]:
    """Stride, padding and dilation as pairs, and groups."""
    given = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **asked.options}
    return conv2d.check_shapes(asked.shape("x"), asked.shape("w"), **given)[0]


def _grouped(asked: Asked, k: int) -> tuple[dict[str, Any], int, int]:
    """The options, the number of channels that kernel k sees, and the first of them."""
    options = _options(asked)
    channels = asked.shape("w")[1]
    return options, channels, k // (asked.shape("w")[0] // options["groups"]) * channels


def _window(asked: Asked, n: int, k: int, p: int, q: int) -> Math:
    """The sum with this index filled in."""
    options, channels, first = _grouped(asked, k)
    rows, columns = (
        affine(place * options["stride"][a] - options["padding"][a], letter, options["dilation"][a])
        for a, (place, letter) in enumerate(((p, "r"), (q, "s")))
    )
    over = f"c=0..{channels - 1}, {taps(asked)}"
    x = at("x", n, affine(first, "c"), rows, columns)
    return sum_over(over, times(x, at("w", k, "c", "r", "s")))


def letters(options: dict[str, Any]) -> str:
    """What the Greek letters of the formula are here."""
    pairs = (("σ", "stride"), ("π", "padding"), ("δ", "dilation"))
    said = [f"{sign} is the {name}, {options[name][0]} x {options[name][1]}" for sign, name in pairs]
    return "; ".join(said) + (f"; {options['groups']} groups" if options.get("groups", 1) > 1 else "")


def taps(asked: Asked) -> str:
    """All places in the kernel: `r=0..2, s=0..2`."""
    return ", ".join(f"{letter}=0..{size - 1}" for letter, size in zip("rs", asked.shape("w")[2:], strict=True))


def meeting(
    options: dict[str, Any], place: tuple[int, int], taps: tuple[np.ndarray, np.ndarray], sizes: tuple[int, ...]
) -> tuple[list[np.ndarray], np.ndarray]:
    """The windows (rows and columns) that meet a place by these taps, and for which taps there is one.

    A window meets it where window · stride = place + padding − tap · dilation.
    """
    windows, there = [], np.ones(len(taps[0]), bool)
    for a, tap in enumerate(taps):
        start = place[a] + options["padding"][a] - tap * options["dilation"][a]
        windows.append(start // options["stride"][a])
        there &= (start % options["stride"][a] == 0) & (start >= 0) & (windows[a] < sizes[a])
    return windows, there


def meeting_text(options: dict[str, Any], *axes: tuple[str, int, str]) -> str:
    """For each axis where a window's place meets a number by a tap: `p·2=5−r`."""
    said = []
    for (window, place, tap), stride, border, spread in zip(
        axes, options["stride"], options["padding"], options["dilation"], strict=True
    ):
        left, right = (
            letter if factor == 1 else f"{letter}·{factor}" for letter, factor in ((window, stride), (tap, spread))
        )
        said.append(f"{left}={place + border}−{right}")
    return ", ".join(said)


# ---- algorithms: Winograd's numbers are larger than the terms, its errors too ----------------------------------------


def _by(answer: Answer, asked: Asked, pass_name: str, names: tuple[str, ...], options: dict, reach: Any) -> None:
    """Enter the algorithm that ran, and what its rounding is relative to."""
    op = asked.step.operation
    arrays = [asked.array(name) if name == "dy" or asked.has(name) else None for name in names]
    where = asked.step.output.device
    problem = op.problem(pass_name, arrays, {**options, **_options(asked)})
    problem = type(problem)(op.name, pass_name, problem.shapes, problem.dtype, where, problem.options)
    with algorithm(**asked.step.algorithms):
        answer.algorithm = op.pick(problem).name
    answer.notes.append(letters(_options(asked)))
    if "winograd" in answer.algorithm:
        answer.factor = WINOGRAD[2 if answer.algorithm.endswith("2") else 4]
        answer.magnitude = max(sum(b.magnitude for b in answer.blocks), reach())
    if answer.algorithm in ("cuda_tf32", "cuda_bf16"):  # factors rounded to 10 and 7 bits
        answer.factor = 2.0**13 if answer.algorithm == "cuda_tf32" else 2.0**16


def _reach_forward(asked: Asked, index: np.ndarray, k: int) -> float:
    """Sum over channels of the largest pixel in the tile around the window times the kernel's absolute sum.

    A tile of 6 x 6 pixels holds the window; where in the tile it lies, the output's place alone does not say.
    """
    n, low, high = int(index[0, 0]), index.min(axis=0), index.max(axis=0)
    x = asked.array("x")
    rows, columns = (slice(max(0, int(low[a]) - 3), int(high[a]) + 4) for a in (2, 3))
    near = np.abs(x[n, int(low[1]) : int(high[1]) + 1, rows, columns]).max(axis=(1, 2), initial=0.0)
    return float((near * np.abs(asked.array("w")[k]).sum(axis=(1, 2))).sum(dtype=np.float64))


def _reach_input(asked: Asked) -> float:
    """The same for dx: Winograd computes it as a convolution of dy."""
    n, c, height, width = asked.index
    dy, w = asked.array("dy"), asked.array("w")
    rows, columns = (slice(max(0, place - 6), place + 7) for place in (height, width))
    near = np.abs(dy[n, :, rows, columns]).max(axis=(1, 2), initial=0.0)
    return float((near * np.abs(w[:, c]).sum(axis=(1, 2))).sum(dtype=np.float64))


def _reach_weight(asked: Asked, k: int, c: int) -> float:
    """For dw: in each tile all gradients meet all pixels."""
    dy, x = np.abs(asked.array("dy")[:, k]), np.abs(asked.array("x")[:, c])
    return float((dy.sum(axis=(1, 2), dtype=np.float64) * x.max(axis=(1, 2))).sum())
