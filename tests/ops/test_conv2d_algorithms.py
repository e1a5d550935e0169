"""Every algorithm of conv2d where it may go wrong: sizes beside those of its tiles, kinds of arrays, used memory, NaN.

By-hand values, sums written out and gradients stand in test_conv2d.py.
"""

from __future__ import annotations

import functools
import gc

import determinism_work as work
import numba
import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import apply
from minicnn.backends.images import Images
from minicnn.backends.scratch import POOL
from minicnn.errors import AlgorithmError
from minicnn.gradcheck import gradcheck
from minicnn.ops import conv2d
from minicnn.ops.registry import algorithm, operation
from minicnn.ops.windows import output_size, pair

OPERATION = operation("conv2d")
ALGORITHMS = tuple(OPERATION.algorithms)
WINOGRAD = ("winograd4", "winograd2")
TILED = (*WINOGRAD, "direct")
SAME = {"padding": 1}
TOLERANCE = {
    np.float64: dict.fromkeys(OPERATION.passes, 1e-12),
    np.float32: {"forward": 5e-6, "grad_input": 5e-6, "grad_weight": 3e-5, "grad_bias": 5e-6},
}

# N, C, K, (H, W), kernel, options: 3x3 kernels of stride 1 with padding 1, which Winograd's algorithms take too
SQUARE = [
    (1, 1, 1, (1, 1)),
    (2, 3, 10, (1, 1)),
    (1, 17, 3, (2, 2)),
    (5, 10, 17, (3, 3)),
    (2, 33, 64, (5, 5)),
    (1, 64, 33, (7, 7)),
    (2, 3, 64, (13, 13)),
    (5, 64, 64, (14, 14)),  # more than one block of tiles; 980 pixels for each sum of grad_weight
    (2, 17, 10, (16, 9)),
    (1, 10, 33, (30, 30)),
    (2, 1, 17, (9, 16)),
    (5, 3, 3, (2, 13)),
    (1, 33, 1, (13, 2)),
    (2, 64, 3, (5, 30)),
    (0, 3, 10, (5, 5)),
]
PROBLEMS = [(*sizes, (3, 3), SAME) for sizes in SQUARE] + [
    # other paddings, strides and dilations of a 3x3 kernel
    (2, 10, 17, (7, 7), (3, 3), {}),
    (1, 3, 33, (5, 13), (3, 3), {"padding": 2}),
    (2, 1, 3, (3, 3), (3, 3), {"padding": 3}),
    (2, 17, 33, (14, 14), (3, 3), {"padding": 1, "stride": 2}),
    (1, 64, 10, (13, 13), (3, 3), {"padding": 1, "stride": 2}),
    (5, 10, 3, (16, 9), (3, 3), {"padding": 1, "stride": 3}),
    (1, 3, 17, (13, 7), (3, 3), {"padding": 2, "stride": (2, 1)}),
    (2, 33, 10, (7, 7), (3, 3), {"padding": (1, 0), "stride": (1, 2)}),
    (1, 10, 33, (13, 13), (3, 3), {"padding": 2, "dilation": 2}),
    (2, 3, 17, (7, 14), (3, 3), {"padding": (0, 2), "dilation": (1, 2)}),
    (1, 17, 3, (14, 7), (3, 3), {"padding": 1, "dilation": 2, "stride": 2}),
    (0, 10, 3, (7, 7), (3, 3), {"padding": 1, "stride": 2}),
    # 1x1
    (2, 64, 17, (7, 7), (1, 1), {}),
    (1, 10, 64, (13, 13), (1, 1), {}),
    (5, 3, 10, (14, 14), (1, 1), {"stride": 2}),
    (1, 33, 33, (7, 7), (1, 1), {"stride": 3}),  # most pixels of dx are under no window
    (2, 1, 3, (2, 2), (1, 1), {"padding": 1}),
    (1, 17, 1, (1, 1), (1, 1), {}),
    # 2x2, 5x5, 7x7
    (2, 3, 10, (7, 7), (2, 2), {"stride": 2}),
    (1, 17, 33, (5, 5), (2, 2), {"padding": 1}),
    (2, 10, 3, (13, 13), (2, 2), {"stride": 3, "padding": 1}),  # stride > kernel
    (1, 3, 17, (14, 14), (5, 5), {"padding": 2}),
    (2, 10, 10, (7, 7), (5, 5), {"padding": 2, "stride": 2}),
    (1, 33, 3, (5, 5), (5, 5), {}),  # one window
    (2, 3, 64, (30, 30), (7, 7), {"padding": 3, "stride": 2}),  # as a ResNet begins
    (1, 1, 17, (13, 13), (7, 7), {"padding": 3}),
    (1, 10, 1, (16, 9), (7, 7), {"padding": 3, "stride": 3}),
    # kernels that are no squares
    (2, 17, 10, (7, 7), (3, 1), {"padding": (1, 0)}),
    (1, 3, 33, (13, 14), (3, 1), {"padding": (1, 0), "stride": 2}),
    (2, 10, 17, (5, 7), (1, 5), {"padding": (0, 2)}),
    (1, 33, 3, (7, 13), (1, 5), {"padding": (0, 2), "stride": (2, 1)}),
    (1, 3, 10, (3, 13), (1, 5), {"padding": (0, 3), "dilation": (1, 2)}),
    # groups
    (2, 10, 10, (7, 7), (3, 3), {"padding": 1, "groups": 5}),
    (1, 33, 33, (5, 5), (3, 3), {"padding": 1, "groups": 33, "stride": 2}),
]
GENERAL = (2, 10, 17, (9, 7), (3, 3), {"padding": 1, "stride": 2})
PLAIN = (2, 10, 17, (9, 7), (3, 3), SAME)


def full(options) -> dict:
    """Options as the passes of an algorithm get them."""
    least = {"stride": 1, "padding": 0, "dilation": 1}
    steps = {name: pair(options.get(name, value), name, "", least=value) for name, value in least.items()}
    return {**steps, "groups": options.get("groups", 1)}


def draw(problem, dtype=np.float64, seed=0) -> list[np.ndarray]:
    """x, w, b and dy."""
    n, c, k, size, kernel, options = problem
    o, rng = full(options), np.random.default_rng(seed)
    out = [output_size(size[a], kernel[a], o["stride"][a], o["padding"][a], o["dilation"][a]) for a in (0, 1)]
    shapes = (n, c, *size), (k, c // o["groups"], *kernel), (k,), (n, k, *out)
    return [rng.standard_normal(shape).astype(np.float32).astype(dtype) for shape in shapes]


def calls(x, w, b, dy, options) -> dict:
    """For each pass: the arrays, the options, and the call of the public function."""
    o = full(options)
    return {
        "forward": ((x, w, b), o, lambda: conv2d.forward(x, w, b, **options)),
        "grad_input": ((dy, w), {"x_shape": x.shape, **o}, lambda: conv2d.grad_input(dy, w, x.shape, **options)),
        "grad_weight": ((dy, x), {"w_shape": w.shape, **o}, lambda: conv2d.grad_weight(dy, x, w.shape, **options)),
        "grad_bias": ((dy,), {}, lambda: conv2d.grad_bias(dy)),
    }


def passes(name, arrays, options) -> dict[str, np.ndarray]:
    """The results of all passes that the algorithm supports."""
    results = {}
    with algorithm(conv2d=name):
        for pass_name, (given, o, call) in calls(*arrays, options).items():
            if not OPERATION.algorithm(name).broken_rule(OPERATION.problem(pass_name, given, o)):
                results[pass_name] = call()
    return results


@functools.cache
def expected(index: int) -> dict[str, np.ndarray]:
    """What formula gives in float64."""
    return passes("formula", draw(PROBLEMS[index]), PROBLEMS[index][-1])


def problems_of(name: str) -> list:
    """Those that Winograd's algorithms support, or both kinds."""
    return [PLAIN] if name in WINOGRAD else [PLAIN, GENERAL]


BOTH = [
    pytest.param(name, problem, id=f"{name}-{i}") for name in ALGORITHMS for i, problem in enumerate(problems_of(name))
]


# ---- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(PROBLEMS)), ids=[" ".join(map(str, problem)) for problem in PROBLEMS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_against_the_formula_in_float64(name, dtype, index):
    problem = PROBLEMS[index]
    arrays = draw(problem, dtype)
    results = passes(name, arrays, problem[-1])
    if name in ("im2col", "loops", "formula") or index < len(SQUARE):
        assert set(results) == set(OPERATION.passes)
    for pass_name, result in results.items():
        assert result.dtype == dtype
        assert_close(result.astype(np.float64), expected(index)[pass_name], rtol=TOLERANCE[dtype][pass_name], atol=0.0)
    if problem[-1].get("groups", 1) == 1 or name not in TILED:
        with algorithm(conv2d=name):
            if "forward" in results:
                without = conv2d.forward(*arrays[:2], **problem[-1])
                assert_close(without + arrays[2][:, None, None], results["forward"], rtol=1e-6, atol=0.0)


def test_every_algorithm_has_problems_that_it_supports_in_every_pass():
    for name in ALGORITHMS:
        found = [set(passes(name, draw(problem), problem[-1])) for problem in (PLAIN, PROBLEMS[0])]
        assert found == [set(OPERATION.passes)] * 2


# ---- arrays of any kind ---------------------------------------------------------------------------------------------


def offset(a: np.ndarray, more: int) -> np.ndarray:
    """The same numbers, `more` bytes after an aligned place."""
    return np.frombuffer(bytes(more) + a.tobytes(), a.dtype, offset=more).reshape(a.shape)


KINDS = {
    "channels last": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim == 4 else a,
    "images": lambda a: Images.of(a).array if a.ndim == 4 else a,
    "a part of images": lambda a: Images.of(np.repeat(a, 2, 0)).array[::2] if a.ndim == 4 else a,
    "pixels of larger images": lambda a: (
        Images.of(np.pad(a, [(0, 0)] * 2 + [(1, 2)] * 2, mode="edge")).array[:, :, 1:-2, 1:-2] if a.ndim == 4 else a
    ),
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "every second row": lambda a: np.repeat(a, 2, axis=-2)[..., ::2, :] if a.ndim > 1 else a,
    "Fortran order": np.asfortranarray,
    "read only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "one element off": lambda a: offset(a, a.itemsize),
    "one byte off": lambda a: offset(a, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "problem"), BOTH)
def test_arrays_of_any_kind(name, problem, kind):
    for dtype in (np.float32, np.float64) if name in TILED else (np.float32,):
        arrays = draw(problem, dtype)
        plain = passes(name, arrays, problem[-1])
        given = [KINDS[kind](a) for a in arrays]
        assert all(np.array_equal(one, other) for one, other in zip(given, arrays, strict=True))
        found = passes(name, given, problem[-1])
        assert set(found) == set(plain)
        for pass_name, result in found.items():
            assert_close(result, plain[pass_name], rtol=2e-6 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("kind", ["as drawn", "images"])
@pytest.mark.parametrize(("name", "problem"), BOTH)
def test_inputs_keep_every_byte_and_results_have_memory_of_their_own(name, problem, kind):
    arrays = [KINDS[kind](a) if kind in KINDS else a for a in draw(problem, np.float32)]
    behind = [found.flat for found in (Images.behind(a) for a in arrays if a.ndim == 4) if found is not None]
    assert len(behind) == (3 if kind == "images" else 0)
    before = [a.tobytes() for a in (*arrays, *behind)]
    for result in passes(name, arrays, problem[-1]).values():
        result += 1
    assert [a.tobytes() for a in (*arrays, *behind)] == before


# ---- memory that is used again --------------------------------------------------------------------------------------


def spoil() -> None:
    """Working memory that waits for its next use is full of NaN."""
    gc.collect()
    for key, buffers in POOL._buffers.items():
        for buffer in buffers:
            if key[0] == "scratch":
                buffer.fill(np.nan)


def spoil_pixels(*shapes) -> None:
    """And so are pixels of images that nobody holds any more."""
    for shape in shapes:
        images = [Images(shape, np.float32) for _ in range(3)]
        for one in images:
            one.array[...] = np.nan


@pytest.mark.parametrize(("name", "problem"), BOTH)
def test_what_a_buffer_held_before_does_not_matter(name, problem):
    arrays = draw(problem, np.float32)
    first = {key: a.tobytes() for key, a in passes(name, arrays, problem[-1]).items()}
    n, _, k, size, kernel, options = problem
    for other in ((n, 12, k - 2, size, kernel, options), (n + 1, 9, 23, (11, 6), kernel, options)):
        others = draw(other, np.float32, seed=1)
        passes(name, others, options)
        spoil()
        spoil_pixels(arrays[0].shape, arrays[3].shape)
        passes(name, [np.full_like(a, np.nan) for a in arrays], options)  # 0 * NaN in spare channels too
        assert {key: a.tobytes() for key, a in passes(name, arrays, options).items()} == first


@pytest.mark.parametrize("index", [3, 7, 8, 15, 16, 18, 21, 31, 38])
@pytest.mark.parametrize("name", TILED)
def test_the_halo_and_spare_channels_of_results_are_zero(name, index):
    arrays = draw(PROBLEMS[index], np.float32)
    for _ in range(2):
        results = passes(name, arrays, PROBLEMS[index][-1])
        for pass_name in ("forward", "grad_input"):
            if pass_name in results:
                images = Images.behind(results[pass_name])
                rest = images.flat[: images.shape[0] * images.image].copy()
                rest = rest.reshape(-1, images.rows, images.columns, images.channels)
                _, c, h, w = images.shape
                rest[:, 1 : h + 1, 1 : w + 1, :c] = 0
                assert not rest.any()
        spoil()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("index", [4, 5, 7, 9, 18, 24, 29, 39])
@pytest.mark.parametrize("name", ALGORITHMS[:-1])
def test_threads_do_not_change_a_bit(name, index):
    arrays = draw(PROBLEMS[index], np.float32)
    found = []
    for count in (1, 2, 2):
        with work.threads(count):
            results = passes(name, arrays, PROBLEMS[index][-1])
        found.append({key: np.ascontiguousarray(a).tobytes() for key, a in results.items()})
        spoil()
    assert found[0] == found[1] == found[2]


# ---- what is not supported ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kernel", "options", "rule", "would"),
    [
        *(
            row
            for name in WINOGRAD
            for row in [
                (name, (3, 3), {"stride": 2, "padding": 1}, "stride must be (1, 1)", "direct, "),
                (name, (3, 3), {}, "padding must be (1, 1)", "direct, "),
                (name, (3, 3), {"padding": (1, 2)}, "padding must be (1, 1)", "direct, "),
                (name, (3, 3), {"dilation": 2, "padding": 1}, "dilation must be (1, 1)", "direct, "),
                (name, (3, 1), {"padding": 1}, "the kernel must be 3x3", "direct, "),
                (name, (3, 3), {"groups": 2, "padding": 1}, "groups must be 1", ""),
            ]
        ),
        ("direct", (3, 3), {"groups": 2}, "groups must be 1", ""),
    ],
)
def test_a_problem_that_is_not_supported(name, kernel, options, rule, would):
    given = calls(*draw((1, 4, 6, (7, 8), kernel, options)), options)
    with algorithm(conv2d=name):
        for pass_name in ("forward", "grad_input", "grad_weight"):
            with pytest.raises(AlgorithmError) as caught:
                given[pass_name][2]()
            text = str(caught.value)
            assert text.startswith(f"conv2d.{pass_name}: algorithm {name!r} does not support this problem; seen shapes")
            hint = "" if pass_name == "grad_input" and "dilation" in options and "stride" in options else would
            assert text.endswith(f"; rule: {rule}; hint: {hint}im2col, loops, formula would do")
            assert "\n" not in text
        given["grad_bias"][2]()


def test_direct_has_no_grad_input_with_stride_and_dilation():
    options = {"stride": 2, "dilation": 2}
    given = calls(*draw((1, 4, 6, (9, 9), (3, 3), options)), options)
    with algorithm(conv2d="direct"):
        assert given["forward"][2]().shape == (1, 6, 3, 3)
        assert given["grad_weight"][2]().shape == (6, 4, 3, 3)
        with pytest.raises(AlgorithmError, match="rule: stride or dilation must be 1 in grad_input; hint: im2col, "):
            given["grad_input"][2]()


# ---- NaN and infinity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "problem"), BOTH)
@pytest.mark.parametrize("place", ["the first", "in the middle", "the last"])
def test_nan_and_infinity(name, problem, bad, place):
    """In x and dy: where the formula has them. Winograd's transforms spread them over a tile at most."""
    if name == "formula":
        return
    arrays = draw(problem)
    for a in (arrays[0], arrays[3]):
        at = {"the first": 0, "in the middle": a[0].size // 2 + 3, "the last": a.size - 1}[place]
        a.reshape(-1)[at] = bad
    with np.errstate(invalid="ignore"):  # inf - inf
        right = passes("formula", arrays, problem[-1])
    for pass_name, result in passes(name, arrays, problem[-1]).items():
        there = np.isfinite(right[pass_name])
        if name not in WINOGRAD or pass_name == "grad_bias":
            assert_close(result, right[pass_name], rtol=1e-12, nan_ok=True)
            continue
        assert not np.isfinite(result[~there]).any()
        if pass_name == "grad_weight":  # all 9 taps of a pair of channels are made of the same numbers
            touched = np.broadcast_to((~there).any(axis=(2, 3), keepdims=True), there.shape)
        else:
            m, touched = int(name[-1]), np.zeros_like(there)
            for n, k, p, q in np.argwhere(~there):
                touched[n, k, p // m * m :, q // m * m :][:m, :m] = True
        assert not there.all()
        assert_close(result[~touched], right[pass_name][~touched], rtol=1e-11)


# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *((name, (2, 2, 3, (5, 4), (3, 3), SAME)) for name in TILED),
        ("direct", (1, 3, 2, (6, 5), (3, 2), {"stride": (2, 1), "padding": (1, 2)})),
        ("direct", (1, 2, 3, (6, 7), (2, 3), {"dilation": (2, 1), "padding": 1})),
    ],
)
def test_gradients(name, problem):
    x, w, b, _ = draw(problem)
    with algorithm(conv2d=name), work.passes_that_run() as seen:
        report = gradcheck(lambda x, w, b: apply("conv2d", x, w, b, **problem[-1]), [x, w, b])
    assert [row.checked for row in report.inputs] == [x.size, w.size, b.size]
    assert {chosen for op, chosen, _ in seen if op == "conv2d"} == {name}
