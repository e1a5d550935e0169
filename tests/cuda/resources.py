"""Every kernel with every set of macros that is really launched, compiled for GPUs: what it needs, as a table.

`python tests/cuda/resources.py` writes the table, `test_compiles.py` holds it to the kernels.

What is launched is found by running all operations on a GPU that computes nothing: the emulator's arrays, with kernels
that return at once. That costs no time, so whole networks can run too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import gpu_cases
import numpy as np
import nvrtc
import pytest

import minicnn
from minicnn import Tensor, models, nn, optim
from minicnn.backends import cuda, cuda_kernels
from minicnn.errors import AlgorithmError
from minicnn.ops import dropout
from minicnn.ops.registry import OPERATIONS
from minicnn.study.emulator import emulated, stand_in

PACKAGE = Path(minicnn.__file__).parent
TABLE = PACKAGE.parent / "benchmarks" / "results" / "cuda_resources.txt"
ARCHITECTURES = ("sm_80", "sm_90")
KERNEL = r"__global__\s+void\s+(?:__launch_bounds__\s*\([^{;]*?\)\s*)?(\w+)\s*\("


@dataclass
class Launched:
    """A kernel of a file, compiled with some macros; the largest block and dynamic shared memory of its launches."""

    path: Path
    name: str
    macros: tuple[tuple[str, Any], ...]
    threads: int = 0
    shared: int = 0
    needs: dict[str, nvrtc.Needs] = field(default_factory=dict)  # by architecture

    @property
    def label(self) -> str:
        """File, kernel and macros in one line."""
        macros = " ".join(f"{key}={value}" for key, value in self.macros)
        return f"{self.path.relative_to(PACKAGE).as_posix()} {self.name} {macros}".rstrip()


def kernels() -> set[tuple[Path, str]]:
    """(file, name) of every kernel that the package has."""
    files = [path for pattern in ("*.cu", "*.cuh") for path in PACKAGE.rglob(pattern)]
    return {(path, name) for path in files for name in re.findall(KERNEL, path.read_text())}


@contextmanager
def recording(found: dict[Any, Launched]) -> Iterator[None]:
    """In this block launches on "cuda" are noted in `found`, and compute nothing."""

    def function(_: Any, path: Path, name: str, macros: tuple[tuple[str, Any], ...]) -> Any:
        entry = found.setdefault((path, name, macros), Launched(path, name, macros))

        def launch(_: Any, block: tuple[int, ...], __: Any, shared_mem: int = 0) -> None:
            entry.threads = max(entry.threads, int(np.prod(block)))
            entry.shared = max(entry.shared, shared_mem)

        return launch

    def empty(shape: tuple[int, ...], dtype: Any) -> Any:
        return stand_in.ndarray(np.empty(shape, dtype))  # not filled, so large arrays cost nothing

    with pytest.MonkeyPatch.context() as patch, emulated():
        patch.setattr(cuda_kernels, "_function", function)
        patch.setattr(stand_in, "empty", empty)
        yield


def _train(algorithm: str) -> None:
    """Steps of training of a ResNet-18 on photographs: tiles may be chosen by the size of layers.

    Convolutions run by `algorithm` where it fits.
    """
    conv2d, labels = OPERATIONS["conv2d"], Tensor(np.zeros(64, np.int64)).to("cuda")
    model = models.resnet18(num_classes=1000).to("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv2d, "cuda", (algorithm, *(name for name in conv2d.cuda if name != algorithm)))
        patch.setattr(conv2d, "_choices", {})
        for batch in (1, 64):
            images = Tensor(cuda.empty_images((batch, 3, 224, 224), np.float32))
            nn.functional.cross_entropy(model(images), labels[:batch]).backward()


def launched() -> list[Launched]:
    """All kernels that the operations launch, in the order of their labels."""
    found: dict[Any, Launched] = {}
    with recording(found):
        for operation, algorithm in gpu_cases.algorithms():
            for case in gpu_cases.cases(operation):
                for dtype in (np.float32, np.float64):
                    try:
                        case.run(algorithm, dtype)
                    except AlgorithmError as error:
                        if "does not support this problem" not in str(error):
                            raise
        for dtype in (np.uint8, np.float32, np.float64):
            cuda_kernels.copy(cuda.empty((2, 3), dtype))
        for algorithm in OPERATIONS["conv2d"].cuda:
            _train(algorithm)
        _beside_the_tape()
    return sorted(found.values(), key=lambda entry: entry.label)


def _beside_the_tape() -> None:
    """What no operation on small arrays launches: optimizers, masks, large products, places of maxima and more."""
    for dtype in (np.float32, np.float64):
        w = Tensor(cuda.empty((3, 2), dtype), requires_grad=True)
        steps = (optim.SGD, optim.Adam, optim.Adamax, optim.Adagrad, optim.RMSprop)
        for optimizer in (optim.SGD([w], momentum=0.9), *(kind([w]) for kind in steps)):
            w.grad = Tensor(cuda.empty((3, 2), dtype))
            optimizer.step()
        ema = optim.EMA([w])
        ema.update()
        ema.update()
        _ = (w == 1, w < 1, w.argmax(1) == 1)
    dropout.draw_mask_for(w.array, 0.5, np.random.default_rng(0))
    large = Tensor(cuda.empty((2000, 2000), np.float32))
    for a in (large, large.T):
        _ = (a @ large, a @ large.T)


def compile_all(entries: list[Launched]) -> None:
    """Fill in what each kernel needs; raises `nvrtc.CompileError` for those that do not compile."""
    for path, macros in dict.fromkeys((entry.path, entry.macros) for entry in entries):
        code = cuda_kernels.source(path)
        for arch in ARCHITECTURES:
            try:
                needs = nvrtc.compiled(code, [f"-D{key}={value}" for key, value in macros], arch)
            except nvrtc.CompileError as error:
                raise nvrtc.CompileError(f"{path.name} with {dict(macros)} for {arch}: {error}") from None
            for entry in entries:
                if (entry.path, entry.macros) == (path, macros):
                    entry.needs[arch] = needs[entry.name]


def table(entries: list[Launched]) -> str:
    """The table as text."""
    head = f"""What each CUDA kernel needs, compiled by NVRTC {nvrtc.version()}; tests/cuda/resources.py writes this.

registers: of a thread, for {" and ".join(ARCHITECTURES)}; a multiprocessor has 65536
threads:   of the largest block that was launched
shared:    bytes of a block, static + dynamic
stack:     bytes of a thread in slow local memory
spilled:   bytes of registers that did not fit

"""
    lines = [("registers", "threads", "shared", "stack", "spilled", "kernel")]
    for entry in entries:
        needs = [entry.needs[arch] for arch in ARCHITECTURES]
        registers = " ".join(f"{n.registers:3}" for n in needs)
        shared = max(n.shared for n in needs)
        stack, spilled = (max(getattr(n, name) for n in needs) for name in ("stack", "spilled"))
        memory = f"{shared} + {entry.shared}" if entry.shared else str(shared)
        lines.append((registers, str(entry.threads), memory, str(stack), str(spilled), entry.label))
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    rows = [[cell.rjust(width) for cell, width in zip(line[:5], widths, strict=True)] + [line[5]] for line in lines]
    return head + "".join("  ".join(row) + "\n" for row in rows)


if __name__ == "__main__":
    everything = launched()
    compile_all(everything)
    TABLE.write_text(table(everything))
    print(TABLE.read_text())
