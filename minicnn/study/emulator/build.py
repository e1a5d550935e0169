"""Compiles CUDA C++ for the CPU with g++, and launches it, with the calling convention of `cupy.RawModule`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.errors import DeviceError
from minicnn.files import write_atomically

HERE = Path(__file__).parent
HEADER, SCHEDULER = HERE / "cuda.h", HERE / "scheduler.cpp"
SANITIZERS = {"thread": "thread", "address": "address,undefined", "undefined": "undefined"}  # g++'s names
COMPILER = ("g++", "-std=c++17", "-g1", "-fPIC", "-w", "-fno-strict-aliasing")  # -g1: lines, for messages
DEFAULT_SHARED = 48 << 10  # bytes a kernel gets without asking

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\(([^{;]*?)\)\s*)?(\w+)\s*\(')
_ALIGNED = r"(?:__align__\s*\(\d+\)\s*)?"
DYNAMIC = re.compile(r"\bextern\s+__shared__\s+" + _ALIGNED + r"([\w:]+(?:\s+\w+)*?)\s+(\w+)\s*\[\s*\]\s*;")
SHARED = re.compile(
    r"\b__shared__\s+" + _ALIGNED + r"([\w:]+(?:\s+\w+)*?(?:\s*<[^;>]*>)?)\s+(\w+)\s*((?:\[[^\]]*\]\s*)*);"
)

_running = threading.Lock()  # the scheduler has one set of fibers


class EmulatorError(DeviceError):
    """A kernel that does not compile, or that breaks a rule of the GPU."""


class Module:
    """The kernels of one `.cu` text.

    Parameters
    ----------
    code : str
        CUDA C++; kernels are `extern "C"`.
    options : sequence of str
        Macros, `"-DTILE=8"`; other options are for the GPU's compiler.
    sanitize : str
        Watch the kernels with g++'s sanitizers: `"thread"` finds races, `"undefined"` misaligned vectors and numbers
        out of range, `"address"` these and indices out of arrays. The process must have been started with the
        sanitizer's library (see `sanitizer_library`), but for "undefined". What they find ends the process.
    """

    def __init__(self, code: str, options: Sequence[str] = (), sanitize: str = "") -> None:
        if sanitize and sanitize not in SANITIZERS:
            raise EmulatorError("no such sanitizer", called="emulator", seen=sanitize, rule=", ".join(SANITIZERS))
        _check_loaded(sanitize)
        found = KERNEL.findall(COMMENT.sub("", code))
        self._names = [name for _, name in found]
        code = DYNAMIC.sub(r"\1 *&\2 = (\1 *&)emulator::dynamic_shared;", code)
        code = SHARED.sub(r"auto &\2 = emulator::shared<\1 \3, __COUNTER__>();", code)
        kernels = "".join(f"EMULATED_KERNEL({name}, {bounds or 1024})\n" for bounds, name in found)
        macros = [option for option in options if option.startswith("-D")]
        text = f'#line 1 "kernel.cu"\n{code}\n#line 1 "kernels"\n{kernels}'
        self._library = ctypes.CDLL(str(_built(text, macros, sanitize)))

    def function(self, name: str) -> Function:
        """The kernel of that name."""
        if name not in self._names:
            raise EmulatorError(f"no kernel is named {name}", called="emulator", seen=", ".join(self._names) or "none")
        return Function(self._library, name)


class Function:
    """One kernel; calling it runs it, on NumPy arrays."""

    def __init__(self, library: Any, name: str) -> None:
        self.name = name
        self._launch = getattr(library, f"launch_{name}")
        self._launch.restype = ctypes.c_char_p
        text = getattr(library, f"signature_{name}")
        text.restype = ctypes.c_char_p
        self._letters = re.findall(r"\*?[^*]", text().decode())
        self.max_dynamic_shared_size_bytes = DEFAULT_SHARED

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0, schedule: int = 0
    ) -> None:
        """Run all threads; arrays are NumPy arrays of which only the address is looked at, as on a GPU."""
        cells = [self._cell(i, value) for i, value in enumerate(arguments)]
        if len(cells) != len(self._letters):
            raise EmulatorError(
                "not as many arguments as parameters",
                called=self.name,
                seen=str(len(cells)),
                rule=str(len(self._letters)),
            )
        if shared > self.max_dynamic_shared_size_bytes:
            raise EmulatorError(
                "more shared memory than the kernel may have",
                called=self.name,
                seen=f"{shared} bytes",
                rule=f"at most {self.max_dynamic_shared_size_bytes}",
                hint="set max_dynamic_shared_size_bytes first",
            )
        dims = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
        pointers = (ctypes.c_void_p * max(1, len(cells)))(*(cell.ctypes.data for cell in cells))
        with _running:
            error = self._launch(dims, ctypes.c_size_t(shared), pointers, ctypes.c_int(schedule))
        if error:
            raise EmulatorError(error.decode(), called=self.name)

    def _cell(self, i: int, value: Any) -> np.ndarray:
        """The memory from which parameter i is read: a number, or an array's address."""
        wanted = self._letters[i] if i < len(self._letters) else ""
        if isinstance(value, np.ndarray) and value.ndim:
            letter, cell = "*" + value.dtype.char.replace("q", "l"), np.array(value.ctypes.data, np.uint64)
        else:  # as CuPy: a Python int has 64 bits, a Python float is a double
            cell = np.asarray(value)
            letter = cell.dtype.char.replace("q", "l")
            if isinstance(value, np.uintp) and not value and wanted.startswith("*"):  # a null pointer
                letter = wanted
        if letter != wanted:
            raise EmulatorError(
                f"argument {i} has another type than the parameter",
                called=self.name,
                seen=letter,
                rule=wanted or "no parameter",
                hint="NumPy's letters; * is an array",
            )
        return cell


def sanitizer_library(sanitize: str) -> str:
    """What LD_PRELOAD must name when the process starts, so that kernels can be watched."""
    name = {"thread": "libtsan.so", "address": "libasan.so"}[sanitize]
    return os.path.realpath(_run(["g++", f"-print-file-name={name}"]).strip())


def _check_loaded(sanitize: str) -> None:
    """Raise unless the process was started for this sanitizer; else the loader would refuse it, or end the process."""
    if sanitize in ("thread", "address"):
        library, loaded = sanitizer_library(sanitize), os.environ.get("LD_PRELOAD", "")
        if library not in loaded:
            raise EmulatorError(
                "the sanitizer's library is not loaded",
                called="emulator",
                seen=f"LD_PRELOAD={loaded!r}",
                hint=f"start Python with LD_PRELOAD={library}",
            )


def _built(code: str, macros: Sequence[str], sanitize: str) -> Path:
    """The shared library of a text, from the cache or compiled."""
    key = _key(code, *macros, sanitize)
    library = _cache() / f"{key}.so"
    if library.exists():
        return library
    flags = [f"-fsanitize={SANITIZERS[sanitize]}", "-fno-sanitize-recover=all", "-O1"] if sanitize else ["-O2"]
    with tempfile.TemporaryDirectory() as folder:
        text, made = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        text.write_text(code)
        include = ["-x", "c++", "-include", str(_header(flags)), *macros, str(text)]
        _run([*COMPILER, *flags, "-shared", *include, "-x", "none", str(_scheduler(sanitize)), "-o", str(made)])
        write_atomically(library, made.read_bytes())
    return library


def _header(flags: Sequence[str]) -> Path:
    """A copy of `cuda.h` with what g++ makes of it beside it (`.gch`), which saves half of the time of each kernel."""
    header = _cache() / f"{_key(*flags)}.h"
    ahead = header.with_name(f"{header.name}.gch")
    if not ahead.exists():
        write_atomically(header, HEADER.read_bytes())
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / ahead.name
            _run([*COMPILER, *flags, "-x", "c++-header", str(header), "-o", str(made)])
            write_atomically(ahead, made.read_bytes())
    return header


def _scheduler(sanitize: str) -> Path:
    """The compiled scheduler, which all kernels share."""
    kind = ["-DWITH_SANITIZER"] * bool(sanitize) + ["-DWITH_TSAN"] * (sanitize == "thread")
    compiled = _cache() / f"{_key(*kind)}.o"
    if not compiled.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "scheduler.o"
            _run([*COMPILER, "-O2", *kind, "-c", str(SCHEDULER), "-o", str(made)])
            write_atomically(compiled, made.read_bytes())
    return compiled


def _key(*texts: str) -> str:
    parts = (*texts, COMPILER, HEADER.read_text(), SCHEDULER.read_text())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _cache() -> Path:
    root = os.environ.get("MINICNN_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minicnn"
    try:
        (base / "emulator").mkdir(parents=True, exist_ok=True)
        return base / "emulator"
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"minicnn-emulator-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _run(command: Sequence[str]) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # not the compiler's
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        raise EmulatorError(
            "no C++ compiler", called="emulator", rule="g++ compiles the kernels for the CPU", hint="install g++"
        ) from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise EmulatorError("the kernel does not compile", called="emulator", seen="; ".join(errors[:5]))
    return done.stdout
