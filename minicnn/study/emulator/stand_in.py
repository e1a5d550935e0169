"""What stands in for CuPy: memory of the "GPU" and its arrays, with just the part of CuPy that minicnn uses.

The arrays are strict where CuPy's are: they do not turn into NumPy arrays by themselves, so code that mixes host and
GPU fails here as it would there. They are stricter where CuPy would lend its own kernels: they have no arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicnn.study.emulator.build import DEFAULT_SHARED, Function, Module

schedule: ContextVar[int] = ContextVar("schedule", default=0)
sanitizer: ContextVar[str] = ContextVar("sanitizer", default="")


class ndarray:  # noqa: N801 (CuPy's name)
    """An array on the emulated GPU: a view of host memory that only kernels and copies touch."""

    __array_ufunc__ = None
    __slots__ = ("__weakref__", "_host")

    def __init__(self, host: np.ndarray) -> None:
        self._host = host

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._host.__array_interface__, "version": 3}

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._host.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element of an axis to the next."""
        return self._host.strides

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self._host.dtype

    @property
    def ndim(self) -> int:
        """How many axes."""
        return self._host.ndim

    @property
    def size(self) -> int:
        """How many numbers."""
        return self._host.size

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self._host.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self._host.nbytes

    @property
    def flags(self) -> Any:
        """Whether it is C-contiguous."""
        return SimpleNamespace(c_contiguous=bool(self._host.flags.c_contiguous))

    @property
    def base(self) -> Any:
        """Something if the memory is another array's."""
        return self._host.base

    def __len__(self) -> int:
        return len(self._host)

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(self._host[_basic(index)])  # with "..." a view also where no axis is left

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[_basic(index)] = value._host if isinstance(value, ndarray) else _number(value)

    def reshape(self, *shape: Any) -> ndarray:
        """The same memory in another shape; of arrays that are not contiguous a copy, as CuPy."""
        return ndarray(self._host.reshape(*shape))

    def transpose(self, *axes: Any) -> ndarray:
        """The same memory with its axes in another order."""
        return ndarray(self._host.transpose(*axes))

    def view(self, dtype: Any) -> ndarray:
        """The same memory as numbers of another type."""
        return ndarray(self._host.view(dtype))

    def fill(self, value: Any) -> None:
        """Set all numbers."""
        self._host.fill(value)

    def copy(self) -> ndarray:
        """A copy, C-contiguous."""
        return ndarray(np.array(self._host, order="C", copy=True))

    def get(self) -> np.ndarray:
        """A copy on the host."""
        return np.array(self._host, copy=True)

    def item(self) -> Any:
        """The one number, on the host."""
        return self._host.item()


def _basic(index: Any) -> tuple[Any, ...]:
    """The index as a tuple with an Ellipsis; arrays of places are left to kernels."""
    entries = index if isinstance(index, tuple) else (index,)
    for entry in entries:
        if not (entry is None or entry is Ellipsis or isinstance(entry, (int, np.integer, slice))):
            raise TypeError(f"the emulator has no indexing by {type(entry).__name__}")
    return entries if any(entry is Ellipsis for entry in entries) else (*entries, ...)


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")  # as CuPy
    return value


class OutOfMemoryError(MemoryError):
    """More memory wanted than the emulated GPU has."""


CAPACITY = 8 << 30  # bytes: of one array


def empty(shape: Sequence[int], dtype: Any = np.float64) -> ndarray:
    """New memory, full of NaN (or of other nonsense), so that what no kernel wrote is seen."""
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    if count * dtype.itemsize > CAPACITY:
        raise OutOfMemoryError
    memory = np.full(count * dtype.itemsize, 0xFF, np.uint8)
    return ndarray(memory.view(dtype).reshape(shape))


def asarray(array: np.ndarray) -> ndarray:
    """A copy of a host's array."""
    if array.nbytes > CAPACITY:
        raise OutOfMemoryError
    return ndarray(np.array(array, copy=True))


def asnumpy(array: ndarray) -> np.ndarray:
    """A copy on the host."""
    return array.get()


class RawModule:
    """CUDA kernels from text, as `cupy.RawModule`."""

    def __init__(self, *, code: str, options: Sequence[str] = ()) -> None:
        self._code, self._options = code, options
        self._modules: dict[str, Module] = {}  # by sanitizer

    def get_function(self, name: str) -> RawKernel:
        """The kernel of that name, compiled."""
        self.function(name)
        return RawKernel(self, name)

    def function(self, name: str) -> Function:
        """The kernel, compiled with the sanitizer that is in force."""
        watch = sanitizer.get()
        if watch not in self._modules:
            self._modules[watch] = Module(self._code, self._options, watch)
        return self._modules[watch].function(name)


class RawKernel:
    """A kernel, as `cupy.RawKernel`."""

    max_dynamic_shared_size_bytes = DEFAULT_SHARED

    def __init__(self, module: RawModule, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, grid: Any, block: Any, arguments: Sequence[Any], shared_mem: int = 0) -> None:
        """Run it."""
        function = self._module.function(self._name)
        function.max_dynamic_shared_size_bytes = self.max_dynamic_shared_size_bytes
        function(grid, block, [_host(value) for value in arguments], shared_mem, schedule.get())


def _host(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")  # as CuPy
    if not isinstance(value, ndarray):
        return value
    return value._host if value.ndim else value._host.reshape(1)


cuda = SimpleNamespace(
    Stream=SimpleNamespace(null=SimpleNamespace(synchronize=lambda: None)),
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=SimpleNamespace(memGetInfo=lambda: (CAPACITY, CAPACITY)),
)
