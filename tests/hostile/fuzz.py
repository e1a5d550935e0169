"""Read randomly changed weights files: `python tests/hostile/fuzz.py --mutations 5000 --seed 0`.

Every format has a small sound file; each of its mutations follows from the seed, the format and a number, and is read
in a process of its own kind: one that dies or does not come back is named by these three, and the next one goes on.
A mutation is refused by an error of minicnn, or read; where checksums cover what was changed, it is read as it was.
`--format F --number N` repeats one, with its traceback, and keeps the file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import hdf5_files
import home_files
import mutations
import networks
import numpy as np
import onnx_files
import values
from making import t

from minicnn import weights
from minicnn.cli.weights import _foreign
from minicnn.errors import MinicnnError
from minicnn.models.importing import import_weights
from minicnn.training.state import State
from minicnn.weights.importers import as_float32, read_foreign
from minicnn.weights.importers.hdf5_objects import lookup3

MOST_SECONDS, MOST_BYTES, HUNG, MOST_DEATHS = 1.0, 100_000_000, 10, 20


@cache
def state() -> dict[str, np.ndarray]:
    """Arrays of several shapes and dtypes."""
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.standard_normal((4, 3, 3, 3)).astype("f4"),
        "bn1.running_var": rng.random(4).astype("f4"),
        "bn1.num_batches_tracked": np.array(7),
        "layer1.0.conv1.weight": rng.standard_normal((4, 4, 3, 3)).astype("f4"),
        "fc.weight": rng.standard_normal((3, 4)).astype("f4"),
    }


def _hdf5(**options: Any) -> bytes:
    storages: list[dict[str, Any]] = [
        {"chunks": True, "fletcher32": True},
        {},
        {},
        {"chunks": (2, 2, 3, 3), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": True, "compression": "lzf"},
    ]

    def fill(file: Any) -> None:
        for (name, array), storage in zip(state().items(), storages, strict=True):
            file.create_dataset(name.replace(".", "/"), data=array, **storage)

    return hdf5_files.made(fill, **options)


def _keras() -> bytes:
    def fill(file: Any) -> None:
        file.attrs["layer_names"] = ["conv1", "fc"]
        for layer, array in (("conv1", state()["conv1.weight"]), ("fc", state()["fc.weight"])):
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/kernel:0".encode()])
            group.create_dataset(f"{layer}/kernel:0", data=array)

    return hdf5_files.made(fill)


def _onnx() -> bytes:
    tensors = [
        onnx_files.tensor(array.shape, {"f": 1, "i": 7}[array.dtype.kind], array.tobytes(), name=name)
        for name, array in state().items()
    ]
    numbers = onnx_files.sized(5, bytes(range(1, 7)))
    tensors.append(onnx_files.tensor((2, 3), onnx_files.INT32, None, numbers, "packed"))
    epsilon = onnx_files.sized(5, onnx_files.sized(1, "epsilon") + b"\x15" + np.float32(1e-5).tobytes())
    nodes = onnx_files.node("Conv", ("x", "conv1.weight")) + onnx_files.node("Gemm", ("z", "fc.weight"), ("logits",))
    nodes += onnx_files.node("BatchNormalization", ("y", "a", "b", "c", "bn1.running_var"), ("z",), epsilon)
    return onnx_files.model(*tensors, nodes=nodes)


def _safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    header, rows = {}, b""
    for name, array in arrays.items():
        dtype = {"f": "F32", "i": "I64"}[array.dtype.kind]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(rows), len(rows) + array.nbytes]}
        rows += array.tobytes()
    return values.safetensors(json.dumps(header), rows)


def _npz(**packed: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **state())
    return file.getvalue()


def _checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.h5"
        State({f"model.{name}": array for name, array in state().items()}, {"position": {"epoch": 3}}).save(path)
        return path.read_bytes()


SOUND = {
    "torch zip": lambda: t.as_zip(state()),
    "torch stream": lambda: t.as_stream(state()),
    "torch tar": lambda: t.as_tar(state()),
    "safetensors": lambda: _safetensors(state()),
    "npz": _npz,
    "npz packed": partial(_npz, packed=True),
    "onnx": _onnx,
    "keras": _keras,
    "hdf5": _hdf5,
    "hdf5 latest": partial(_hdf5, libver="latest"),
    "home": home_files.sound,
    "checkpoint": _checkpoint,
    "import safetensors": networks.safetensors,
    "import keras": networks.keras,
    "import onnx": networks.onnx,
}
STRUCTURE = {
    "torch zip": mutations.of_zip,
    "torch stream": mutations.of_pickle,
    "torch tar": mutations.of_tar,
    "safetensors": mutations.of_safetensors,
    "npz": mutations.of_zip,
    "npz packed": mutations.of_zip,
    "onnx": mutations.of_onnx,
    "keras": mutations.of_used_bytes,
    "hdf5": mutations.of_used_bytes,
    "hdf5 latest": partial(mutations.of_hdf5, lookup3=lookup3),
    "home": partial(mutations.of_hdf5, lookup3=lookup3),
    "checkpoint": partial(mutations.of_hdf5, lookup3=lookup3),
    "import safetensors": mutations.of_safetensors,
    "import keras": mutations.of_used_bytes,
    "import onnx": mutations.of_onnx,
}
CHECKED = ("torch zip", "npz", "npz packed", "home", "checkpoint")  # formats whose checksums cover the values
VALUES: dict[str, Callable[[], np.ndarray]] = {  # an array that a checksum covers
    "torch zip": lambda: state()["fc.weight"],
    "npz": lambda: state()["fc.weight"],
    "hdf5": lambda: state()["conv1.weight"],
    "hdf5 latest": lambda: state()["conv1.weight"],
    "home": lambda: home_files.VALUES,
    "checkpoint": lambda: state()["fc.weight"],
}
FEWER = {
    "import safetensors": 10,
    "import keras": 10,
    "import onnx": 10,
    "home": 2,
    "checkpoint": 2,
}  # which take longer

sound = cache(lambda name: SOUND[name]())


def mutation(name: str, seed: int, number: int) -> tuple[bytes, bool]:
    """The changed file, and whether it must be refused or read as it was."""
    rng = random.Random(f"{name} {seed} {number}")
    content = sound(name)
    if name in VALUES and rng.random() < 0.1:
        return mutations.of_values(content, rng, VALUES[name]().tobytes()), True
    if name in STRUCTURE and rng.random() < 0.5:
        return STRUCTURE[name](content, rng), name in ("home", "checkpoint")
    return mutations.of_bytes(content, rng), name in CHECKED


def read(name: str, path: Path, number: int) -> dict[str, np.ndarray]:
    """Read a file in the ways of its format; the arrays that were found, every value of them used once."""
    if name == "home":
        arrays, info = weights.read(path)
        return {**arrays, "info": np.frombuffer(repr(info).encode(), np.uint8)}
    if name == "checkpoint":
        found_state = State.read(path)
        return {**found_state.arrays, "values": np.frombuffer(repr(found_state.values).encode(), np.uint8)}
    if name.startswith("import"):
        import_weights(path, path.with_name("out.h5"), "resnet18")
        return weights.read(path.with_name("out.h5"))[0]
    found = read_foreign(path)
    for array in found.arrays.values():
        with np.errstate(all="ignore"):
            as_float32(array).sum()
    if number % 4 == 0:
        _foreign(path)
    return found.arrays


def _same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and found[name].tobytes() == array.tobytes()
        for name, array in expected.items()
    )


def work(formats: list[str], count: int, seed: int, first: int, folder: Path) -> None:
    """Read mutations and print a line of JSON for each fault; before each mutation its number, for the parent."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, also where it hangs in compiled code
    path = folder / "file"
    for name in formats:
        path.write_bytes(sound(name))
        expected = {key: np.array(array) for key, array in read(name, path, 0).items()}
        totals = {"refused": 0, "read": 0}
        path.write_bytes(b"no weights")
        for number in range(first, max(first, count // FEWER.get(name, 1))):
            os.write(1, f"{name}:{number}\n".encode())
            content, checked = mutation(name, seed, number)
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, HUNG)
            before, start, fault = _most_memory(), time.process_time(), ""
            try:
                found = read(name, path, number)
                totals["read"] += 1
                if checked and not _same(found, expected):
                    fault = "other values were accepted"
            except MinicnnError as error:
                totals["refused"] += 1
                if not str(error).isprintable():
                    fault = f"not a printable line: {str(error)[:200]!r}"
            except Exception as error:
                line = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{type(error).__name__}: {str(error)[:200]} ({Path(line.filename).name}:{line.lineno})"
            signal.setitimer(signal.ITIMER_PROF, 0)
            if time.process_time() - start > MOST_SECONDS:
                fault += f" {time.process_time() - start:.2f} seconds"
            if _most_memory() - before > MOST_BYTES:
                fault += f" {_most_memory() - before:,} bytes"
            if fault:
                print(json.dumps({"format": name, "number": number, "fault": fault}), flush=True)
        print(json.dumps({"format": name, **totals}), flush=True)
        first = 0


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(formats: list[str], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Results of all mutations, from processes that may die: faults, and counts for each format."""
    left, first, deaths = list(formats), 0, 0
    while left and deaths < MOST_DEATHS:
        command = [sys.executable, *(["-W", "error"]), __file__, "--mutations", str(count), "--seed", str(seed)]
        command += ["--first", str(first), "--work", *(word for name in left for word in ("--format", name))]
        place = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
                else:
                    place = line.strip()
        if not child.returncode:
            return
        deaths += 1
        name, _, number = place.rpartition(":")
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else f"status {child.returncode}"
        yield {"format": name or left[0], "number": int(number or -1), "fault": f"the process ended: {how}"}
        if not name:
            return
        left, first = left[left.index(name) :], int(number) + 1


def main() -> int:
    """Parse, run, print; the exit status is 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=5_000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", action="append", choices=list(SOUND), help="all, if none is named")
    parser.add_argument("--number", type=int, help="only this mutation of --format")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    formats = options.format or list(SOUND)
    if options.number is not None:
        path = Path(f"{formats[0].replace(' ', '-')}-{options.seed}-{options.number}")
        path.write_bytes(mutation(formats[0], options.seed, options.number)[0])
        print(path, {name: array.shape for name, array in read(formats[0], path, 0).items()})
        return 0
    if options.work:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (8 * 2**30, 8 * 2**30))
        with tempfile.TemporaryDirectory() as folder:
            work(formats, options.mutations, options.seed, options.first, Path(folder))
        return 0
    faults = 0
    for result in run(formats, options.mutations, options.seed):
        if "fault" in result:
            faults += 1
            print(f"FAULT {result['format']}, seed {options.seed}, number {result['number']}: {result['fault']}")
        else:
            print(f"{result['format']:<20}{result['refused']:>8,} refused{result['read']:>8,} read", flush=True)
    print(f"{faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
