"""Transposed convolution: which pixels laid their kernels onto an output, and the other way round.

Letters as in `minicnn.ops.conv_transpose2d`: x (N, C, H, W), w (C, K/G, R, S), b (K,), y (N, K, P, Q).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.ops import conv_transpose2d
from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.conv2d import bias_of_channel, letters, meeting, meeting_text, taps
from minicnn.study.explain.notation import affine, at, equals, plus, sum_over, times
from minicnn.study.explain.rounding import WINOGRAD
from minicnn.study.explain.terms import block

LAID = "p=h·σ+r·δ−π, q=v·σ+s·δ−π"


@explains("conv_transpose2d", "y")
def forward(asked: Asked) -> Answer:
    """y[n,k,p,q]: all pixels whose kernels reach this place."""
    n, k, p, q = asked.index
    options = _options(asked)
    groups = options["groups"]
    channels, kernels = asked.shape("w")[0] // groups, asked.shape("w")[1]
    group, inner = divmod(k, kernels)
    c, r, s = (axis.ravel() for axis in np.indices((channels, *asked.shape("w")[2:])))
    c = c + group * channels
    pixels, used = meeting(options, (p, q), (r, s), asked.shape("x")[2:])
    c, r, s, h, v = (axis[used] for axis in (c, r, s, *pixels))
    blocks = [block("products", asked.column("x", n, c, h, v), asked.column("w", c, inner, r, s))]
    product = times(at("x", "n", "c", "h", "v"), at("w", "c", "k", "r", "s"))
    here = times(at("x", n, "c", "h", "v"), at("w", "c", inner, "r", "s"))
    over = f"c={group * channels}..{(group + 1) * channels - 1}, {taps(asked)}: "
    over += meeting_text(options, ("h", p, "r"), ("v", q, "s"))
    general, filled = sum_over(f"c,h,v,r,s: {LAID}", product), sum_over(over, here)
    if asked.has("b"):
        blocks.insert(0, block("bias", asked.column("b", k)))
        general, filled = plus(at("b", "k"), general), plus(at("b", k), filled)
    answer = Answer(
        equals(at("y", "n", "k", "p", "q"), general),
        equals(at("y", *asked.index), filled),
        blocks,
        words=f"x: {asked.source('x')} {asked.shape('x')}: each pixel lays its kernel, times its value, onto y",
    )
    return _rounded(asked, answer, ("x", n), ("w", (slice(None), inner)))


@explains("conv_transpose2d", "grad x")
def grad_input(asked: Asked) -> Answer:
    """dx[n,c,h,v]: all outputs that this pixel's kernel reached."""
    n, c, h, v = asked.index
    options = _options(asked)
    channels, kernels = asked.shape("w")[0] // options["groups"], asked.shape("w")[1]
    group = c // channels
    k, r, s = (axis.ravel() for axis in np.indices((kernels, *asked.shape("w")[2:])))
    p, q = (
        pixel * options["stride"][a] + tap * options["dilation"][a] - options["padding"][a]
        for a, (pixel, tap) in enumerate(((h, r), (v, s)))
    )
    dy = asked.column("dy", n, k + group * kernels, p, q, padded=True)
    product = times(at("dy", "n", "k", "p", "q"), at("w", "c", "k", "r", "s"))
    places = [
        affine(pixel * options["stride"][a] - options["padding"][a], tap, options["dilation"][a])
        for a, (pixel, tap) in enumerate(((h, "r"), (v, "s")))
    ]
    over = f"k=0..{kernels - 1}, {taps(asked)}"
    here = times(at("dy", n, affine(group * kernels, "k"), *places), at("w", c, "k", "r", "s"))
    answer = Answer(
        equals(at("dx", "n", "c", "h", "v"), sum_over(f"k,r,s: {LAID}", product)),
        equals(at("dx", *asked.index), sum_over(over, here)),
        [block("outputs that this pixel reached", dy, asked.column("w", c, k, r, s))],
        words=f"{asked.source('x')} at {asked.at} laid its kernel onto y; what fell outside of y is cut off",
    )
    return _rounded(asked, answer, ("dy", n), ("w", c))


@explains("conv_transpose2d", "grad w")
def grad_weight(asked: Asked) -> Answer:
    """dw[c,k,r,s]: all pixels, each with the output that this weight carried it to."""
    c, inner, r, s = asked.index
    options = _options(asked)
    channels, kernels = asked.shape("w")[0] // options["groups"], asked.shape("w")[1]
    k = c // channels * kernels + inner
    many, _, height, width = asked.shape("x")
    n, h, v = (axis.ravel() for axis in np.indices((many, height, width)))
    p, q = (
        pixel * options["stride"][a] + tap * options["dilation"][a] - options["padding"][a]
        for a, (pixel, tap) in enumerate(((h, r), (v, s)))
    )
    dy = asked.column("dy", n, k, p, q, padded=True)
    product = times(at("x", "n", "c", "h", "v"), at("dy", "n", "k", "p", "q"))
    places = [
        affine(tap * options["dilation"][a] - options["padding"][a], letter, options["stride"][a])
        for a, (letter, tap) in enumerate((("h", r), ("v", s)))
    ]
    over = f"n=0..{many - 1}, h=0..{height - 1}, v=0..{width - 1}"
    answer = Answer(
        equals(at("dw", "c", "k", "r", "s"), sum_over(f"n,h,v: {LAID}", product)),
        equals(at("dw", *asked.index), sum_over(over, times(at("x", "n", c, "h", "v"), at("dy", "n", k, *places)))),
        [block("uses of this weight", asked.column("x", n, c, h, v), dy)],
        words=f"{asked.source('w')} at {asked.at} was used once for each pixel of channel {c}",
    )
    return _rounded(asked, answer, ("dy", (slice(None), k)), ("x", (slice(None), c)))


@explains("conv_transpose2d", "grad b")
def grad_bias(asked: Asked) -> Answer:
    """db[k]: the bias went into every output of its channel."""
    return bias_of_channel(asked)


def _options(asked: Asked) -> dict[str, Any]:
    given = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1, **asked.options}
    return conv_transpose2d.check_shapes(asked.shape("x"), asked.shape("w"), **given)[0]


def _rounded(asked: Asked, answer: Answer, *factors: tuple[str, Any]) -> Answer:
    """It runs by conv2d's algorithms: for 3x3 kernels of stride 1 that may be Winograd's, whose errors are larger.

    They are relative to the largest numbers of the first factor's planes times the absolute sums of the second's.
    """
    options = _options(asked)
    answer.notes.append(letters(options))
    plain = options["stride"] == (1, 1) and options["dilation"] == (1, 1) and options["groups"] == 1
    if plain and asked.shape("w")[2:] == (3, 3) and asked.dtype == np.float32:
        near, far = (np.abs(asked.array(name)[planes]) for name, planes in factors)
        reach = float((near.max(axis=(1, 2)) * far.sum(axis=(1, 2), dtype=np.float64)).sum())
        answer.factor, answer.magnitude = WINOGRAD[4], max(sum(b.magnitude for b in answer.blocks), reach)
    return answer
