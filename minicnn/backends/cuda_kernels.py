"""CUDA kernels: reading `.cu` files, compiling them with their macros, and launching them with checked arguments.

::

    forward = kernel(relu_folder / "relu.cu", "relu_forward", REAL="float")
    forward.over(y.size, x, y, y.size)                  # one thread a number
    forward((blocks_x, blocks_y), (256,), x, y, y.size)  # or as many blocks and threads as one wants

A file's `#include "name.cuh"` lines are replaced by those files (from its own folder, then from this one): CuPy's cache
of compiled kernels looks only at the text that it is given. `#line` keeps errors pointing at the right lines.

CuPy hands arguments over as they are: a Python float where the kernel has a `float` would be read as half of a double,
and an array's strides are not looked at. So the types are read from the kernel's own signature: numbers are converted
to them, and arrays must have that dtype and be C-contiguous.
"""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends import clocks, cuda
from minicnn.backends.arrays import Array
from minicnn.errors import DeviceError, DTypeError

HERE = Path(__file__).parent
THREADS = 256  # of a block, where a kernel does not care
OPTIONS = ("-std=c++17",)

DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "bool": np.bool_,
    "unsigned char": np.uint8,
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
CACHED = 0.1  # seconds; what takes less was compiled before, and is in the cache of CuPy or of the emulator
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


class Kernel:
    """A compiled CUDA kernel.

    Attributes
    ----------
    name : str
    parameters : list of (dtype, bool)
        Type of each parameter, and whether it is a pointer to such numbers.
    """

    def __init__(self, path: Path, name: str, macros: tuple[tuple[str, Any], ...]) -> None:
        self.path = path
        self.name = name
        self.macros = macros
        self.parameters = signature(source(path), name, dict(macros))

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any, shared: int = 0) -> None:
        """Launch `grid` blocks of `block` threads; does nothing where an axis of the grid is empty."""
        if 0 in grid:
            return
        values = self._checked(arguments)
        function = _function(cuda.library(), self.path, self.name, self.macros)
        if shared > 48 << 10:
            function.max_dynamic_shared_size_bytes = shared
        function(grid, block, values, shared_mem=shared)

    def over(self, count: int, *arguments: Any, threads: int = THREADS) -> None:
        """Launch one thread for each of `count` numbers, and a few for nothing: the kernel looks whether it is one."""
        self((-(-count // threads),), (threads,), *arguments)

    def _checked(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(arguments) != len(self.parameters):
            raise DTypeError(
                "a kernel was given too many or too few arguments",
                called=self.name,
                seen=str(len(arguments)),
                rule=str(len(self.parameters)),
            )
        return tuple(
            self._pointer(i, value, dtype) if pointer else dtype.type(value)
            for i, (value, (dtype, pointer)) in enumerate(zip(arguments, self.parameters, strict=True))
        )

    def _pointer(self, i: int, value: Any, dtype: np.dtype) -> Any:
        if value is None:  # a null pointer, for what is left out
            return np.uintp(0)
        strided = isinstance(value, Strided)
        array = value.array if strided else value
        seen = ""
        if isinstance(array, np.ndarray) or not hasattr(array, "__cuda_array_interface__"):
            raise DeviceError(
                f"argument {i} is not on the GPU", called=self.name, seen=type(array).__name__, hint='use .to("cuda")'
            )
        if array.dtype != dtype:
            seen = f"{array.dtype} for {dtype}"
        elif not strided and not array.flags.c_contiguous:
            seen = f"shape {array.shape}, strides {array.strides}"
        if seen:
            rule = "the dtype of the kernel's parameter, C-contiguous"
            raise DTypeError(f"argument {i} does not fit the kernel", called=self.name, seen=seen, rule=rule)
        return array


class Strided:
    """An argument of any strides, for kernels that are told them."""

    def __init__(self, array: Array) -> None:
        self.array = array


def kernel(path: Path, name: str, **macros: Any) -> Kernel:
    """The kernel of that name in a `.cu` file, compiled with `macros` when it is first launched."""
    return _kernel(path, name, tuple(sorted(macros.items())))


@functools.cache
def _kernel(path: Path, name: str, macros: tuple[tuple[str, Any], ...]) -> Kernel:
    return Kernel(path, name, macros)


@functools.cache
def _module(library: Any, path: Path, macros: tuple[tuple[str, Any], ...]) -> Any:
    defines = tuple(f"-D{key}={value}" for key, value in macros)
    return library.RawModule(code=source(path), options=OPTIONS + defines)


@functools.cache
def _function(library: Any, path: Path, name: str, macros: tuple[tuple[str, Any], ...]) -> Any:
    start = time.perf_counter()
    found = _module(library, path, macros).get_function(name)
    seconds = time.perf_counter() - start
    if seconds > CACHED:
        for clock in clocks.RUNNING:
            clock.add(f"{path.parent.name}.{name}", seconds)
    return found


# ---- text of kernels -------------------------------------------------------------------------------------------------

INCLUDE = re.compile(r'^\s*#include\s+"([\w.]+)"\s*$')


@functools.cache
def source(path: Path) -> str:
    """The text of a `.cu` file with the files that it includes, each once, written out."""
    return "".join(_lines(path, set()))


def _lines(path: Path, seen: set[Path]) -> list[str]:
    seen.add(path)
    lines = [f'#line 1 "{path.name}"\n']
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            lines.append(line + "\n")
            continue
        inner = next(folder / found[1] for folder in (path.parent, HERE) if (folder / found[1]).exists())
        if inner not in seen:
            lines += _lines(inner, seen)
        lines.append(f'#line {number + 1} "{path.name}"\n')
    return lines


def signature(text: str, name: str, macros: dict[str, Any]) -> list[tuple[np.dtype, bool]]:
    """Type of each parameter of a kernel, and whether it is a pointer, from its declaration."""
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    form = r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^{;]*?\)\s*)?' + name + r"\s*\(([^)]*)\)"
    found = re.search(form, plain)
    if found is None:
        raise DeviceError(f"no kernel is named {name}", called="cuda", rule='extern "C" __global__ void name(...)')
    parameters = found[1]
    for word, meaning in re.findall(r"^#define (\w+) (\w.*)$", plain, flags=re.MULTILINE):  # lists of parameters
        parameters = re.sub(rf"\b{word}\b", meaning, parameters)
    return [_parameter(text, macros) for text in parameters.split(",")]


def _parameter(text: str, macros: dict[str, Any]) -> tuple[np.dtype, bool]:
    words = re.sub(r"\b(const|__restrict__|restrict)\b", " ", text).replace("*", " * ").split()
    kind = " ".join(str(macros.get(word, word)) for word in words[:-1] if word != "*")
    return np.dtype(DTYPES[kind]), "*" in words


# ---- what operations share -------------------------------------------------------------------------------------------


def real(x: Array) -> str:
    """The C name of the dtype of x."""
    return REALS[x.dtype]


def type_name(dtype: Any) -> str:
    """The C name of any dtype that kernels know."""
    name = NAMES.get(np.dtype(dtype))
    if name is None:
        rule = ", ".join(map(str, NAMES))
        raise DTypeError("the GPU has no kernels for this dtype", called="cuda", seen=str(dtype), rule=rule)
    return name


def contiguous(x: Array) -> Array:
    """x, or a C-contiguous copy of it."""
    return x if x.flags.c_contiguous else copy(x)


def channels_last(x: Array) -> Array:
    """Images (N, C, H, W) as a C-contiguous array (N, H, W, C): a view where they lie so, else a copy."""
    return contiguous(x.transpose(0, 2, 3, 1))


def line(x: Array) -> Array:
    """All numbers of x in the order of memory: a view where they lie without gaps, else a copy in row-major order."""
    ordered = x.transpose(cuda.memory_order(x))
    return contiguous(ordered if ordered.flags.c_contiguous else x).reshape(-1)


def lines(first: Array, *others: Array) -> tuple[Array, list[Array]]:
    """An empty result like `first`, and the numbers of the result and all arrays in one order, as lines.

    Returns
    -------
    y, [line of y, line of first, line of each other]
    """
    order = cuda.memory_order(first)
    y = cuda.empty_like(first)
    return y, [contiguous(x.transpose(order)).reshape(-1) for x in (y, first, *others)]


MOST_AXES = 6


def copy(x: Array) -> Array:
    """A C-contiguous copy of x, which may have any strides."""
    y = cuda.empty(x.shape, x.dtype)
    copy_into(y, x)
    return y


WORDS = {1: ("unsigned char", np.uint8), 4: ("unsigned", np.uint32), 8: ("long long", np.int64)}


def copy_into(y: Array, x: Array) -> None:
    """y[...] = x, on the GPU; both may have any strides, and x is repeated to the shape of y as in NumPy."""
    shape, (y_steps, x_steps) = merged_steps(y.shape, [steps(y, y.shape), steps(x, y.shape)])
    ones, zeros = (1,) * (MOST_AXES - len(shape)), (0,) * (MOST_AXES - len(shape))
    word, raw = WORDS[x.dtype.itemsize]
    move = kernel(HERE / "copy.cu", "copy", WORD=word)
    whole = Strided(y.view(raw)), Strided(x.view(raw))
    move.over(math.prod(shape), *whole, *ones, *shape, *zeros, *y_steps, *zeros, *x_steps)


def merged(shape: tuple[int, ...], arrays: list[Array]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """A shape and the steps (in numbers) of arrays of that shape, with axes joined that lie together in all of them.

    Raises
    ------
    DeviceError
        If more than six axes are left.
    """
    return merged_steps(shape, [steps(x, shape) for x in arrays])


def steps(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps of x, in numbers, along the axes of `shape`: 0 where x is repeated to it, as in NumPy."""
    own = (0 if size == 1 else stride // x.itemsize for size, stride in zip(x.shape, x.strides, strict=True))
    return (0,) * (len(shape) - x.ndim) + tuple(own)


def merged_steps(
    shape: tuple[int, ...], steps: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """As `merged`, of arrays whose steps are given."""
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in steps]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        own = [each[axis] for each in steps]
        if sizes and all(s[-1] == step * size for s, step in zip(kept, own, strict=True)):
            sizes[-1] *= size
            for s, step in zip(kept, own, strict=True):
                s[-1] = step
        else:
            sizes.append(size)
            for s, step in zip(kept, own, strict=True):
                s.append(step)
    if len(sizes) > MOST_AXES:
        raise DeviceError("too many axes for the GPU", called="cuda", seen=f"shape {shape}", rule=f"{MOST_AXES} axes")
    return tuple(sizes), [tuple(s) for s in kept]
