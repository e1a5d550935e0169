"""Compiles CUDA C++ for a GPU that need not be there, with the flags of CuPy, and reads what each kernel needs.

NVRTC is NVIDIA's compiler as a library; the extra `test` installs it (56 MB). It needs no GPU and no driver.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FLAGS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")  # as cupy.RawModule


class CompileError(Exception):
    """What the compiler said."""


@dataclass(frozen=True)
class Needs:
    """What one kernel takes of a GPU: registers of a thread; bytes, of a block or of a thread."""

    registers: int
    shared: int
    stack: int
    spilled: int


@functools.cache
def _library() -> tuple[Any, str]:
    """NVRTC, and the folder of CUDA's headers (`cuda_bf16.h`); raises ImportError or OSError with the true reason."""
    from cuda import pathfinder

    try:
        found = pathfinder.load_nvidia_dynamic_lib("nvrtc")
    except pathfinder.DynamicLibNotFoundError as error:
        raise OSError(f"NVRTC is not installed: pip install 'minicnn[test]' ({str(error).splitlines()[0]})") from None
    library = ctypes.CDLL(found.abs_path)
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library, pathfinder.find_nvidia_header_directory("cudart")


def missing() -> str:
    """Why nothing can be compiled here; "" if it can."""
    try:
        _library()
    except (ImportError, OSError) as error:
        return str(error)
    return ""


def version() -> str:
    """Version of NVRTC: "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _library()[0].nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compiled(code: str, options: Sequence[str], arch: str) -> dict[str, Needs]:
    """What each kernel of the text needs on that architecture ("sm_90"); raises `CompileError` with the log."""
    library, headers = _library()
    program = ctypes.c_void_p()

    def call(name: str, *arguments: Any) -> None:
        result = getattr(library, f"nvrtc{name}")(*arguments)
        if result:
            raise CompileError(library.nvrtcGetErrorString(result).decode())

    def log() -> str:
        size = ctypes.c_size_t()
        call("GetProgramLogSize", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        call("GetProgramLog", program, text)
        return text.value.decode()

    flags = [*FLAGS, f"-arch={arch}", f"-I{headers}", *options]
    call("CreateProgram", ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
    try:
        try:
            call("CompileProgram", program, len(flags), (ctypes.c_char_p * len(flags))(*map(str.encode, flags)))
        except CompileError as error:
            raise CompileError(f"{error}: {log()}") from None
        return _needs(log())
    finally:
        call("DestroyProgram", ctypes.byref(program))


def _needs(log: str) -> dict[str, Needs]:
    """The report of ptxas, by kernel."""

    def number(pattern: str, report: str) -> int:
        return sum(map(int, re.findall(pattern, report)))

    reports = re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry function|\Z)", log, re.DOTALL)
    return {
        name: Needs(
            number(r"Used (\d+) registers", report),
            number(r"(\d+) bytes smem", report),
            number(r"(\d+) bytes stack frame", report),
            number(r"(\d+) bytes spill", report),
        )
        for name, report in reports
    }
