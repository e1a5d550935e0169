"""Verifying a weights file: is it whole, does its network fit, and are its values those of the file it came from?"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import weights as weight_files
from minicnn.errors import ArgumentError, WeightsError
from minicnn.models.importing import import_weights
from minicnn.models.pretrained import check_arguments
from minicnn.nn import init

FEW = 4
TOLERANCE = 1e-4  # of the largest logit: what float32 sums in another order differ by, through many layers


@dataclass
class Verification:
    """What was found sound.

    Attributes
    ----------
    file, architecture : str
    arrays, values : int
        How many arrays and numbers were read, and compared with their checksums.
    against : str
        The source whose values are the same to the bit; "" if none was given.
    outputs : str
        How near the outputs are to those of the source in its own framework; "" if they were not compared.
    notes : list of str
    """

    file: str
    architecture: str
    arrays: int
    values: int
    against: str = ""
    outputs: str = ""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.file}: sound",
            f"  {self.arrays} arrays, {self.values:,} values; checksums match, all values are finite",
            f"  names and shapes are those of {self.architecture}",
        ]
        if self.against:
            lines.append(f"  the same values, to the bit, as {self.against}")
        if self.outputs:
            lines.append(f"  {self.outputs}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def verify_weights(
    path: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    *,
    prefix: str | None = None,
    bn_epsilon: float | None = None,
    outputs: bool = False,
) -> Verification:
    """Read a whole weights file and check everything that can be checked about it.

    Parameters
    ----------
    path : path
        A weights file of minicnn.
    against : path, optional
        The file that it was imported from, in any format of `import_weights`: it is imported once more, and every
        array is compared to the bit.
    prefix, bn_epsilon : optional
        As they were given to `import_weights`.
    outputs : bool
        Run the source in its own framework too, and compare the outputs of two images (`source_outputs`).

    Returns
    -------
    Verification

    Raises
    ------
    WeightsError
        For the first thing that is wrong.
    """
    called = os.fspath(path)
    state, info = weight_files.read(path)
    _check_network(called, info, state)
    found = Verification(called, info.architecture, len(state), sum(array.size for array in state.values()))
    if info.accuracy is None:
        found.notes.append("the file does not say how accurate its network is")
    if against is not None:
        _compare(called, state, info.architecture, against, prefix, bn_epsilon)
        found.against = os.fspath(against)
    if outputs:
        if against is None:
            raise ArgumentError("outputs are compared with those of a source", called=called, hint="give --against")
        found.outputs = _compare_outputs(called, info, against)
    return found


def _check_network(called: str, info: weight_files.WeightsInfo, state: dict[str, np.ndarray]) -> None:
    """Raise unless the state is that of the network which the file names."""
    from minicnn.models import MODELS

    if info.architecture not in MODELS:
        raise WeightsError(
            "an unknown architecture", called=called, seen=ascii(info.architecture)[:60], rule=", ".join(MODELS)
        )
    check_arguments(called, info)
    with init.uninitialized():
        model = MODELS[info.architecture](**info.arguments)
    expected = {name: array.shape for name, array in model.state_dict().items()}
    report = weight_files.match(expected, {name: array.shape for name, array in state.items()}, source=called)
    report.raise_unless_complete()
    for name, array in state.items():
        if name.endswith("running_var") and (array < 0).any():
            raise WeightsError(f"{name} is a variance, and negative", called=called, seen=f"{array.min():.3g}")


def _compare(
    called: str,
    state: dict[str, np.ndarray],
    architecture: str,
    against: str | os.PathLike[str],
    prefix: str | None,
    bn_epsilon: float | None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="minicnn-verify-") as folder:
        again = Path(folder) / "again.h5"
        import_weights(against, again, architecture, prefix=prefix, bn_epsilon=bn_epsilon)
        other, _ = weight_files.read(again)
    differing = []
    for name, array in state.items():
        theirs = other.get(name)
        if theirs is None or theirs.shape != array.shape:
            differing.append(f"{name} {array.shape}, there {None if theirs is None else theirs.shape}")
        elif theirs.dtype != array.dtype or theirs.tobytes() != array.tobytes():
            difference = np.abs(theirs.astype(np.float64) - array.astype(np.float64)).max()
            differing.append(f"{name} by up to {difference:.3g}")
    differing += [f"{name} is only there" for name in other if name not in state]
    if differing:
        more = f" and {len(differing) - FEW} more" if len(differing) > FEW else ""
        raise WeightsError(
            f"other values than those of {os.fspath(against)}",
            called=called,
            seen="; ".join(differing[:FEW]) + more,
            rule="the same bits",
            hint="weights stored as float16, or trained since, differ",
        )


def _compare_outputs(called: str, info: weight_files.WeightsInfo, against: str | os.PathLike[str]) -> str:
    """Raise unless two images of noise give the same logits here and in the source's framework."""
    from minicnn.autograd import Tensor, no_grad
    from minicnn.models import MODELS
    from minicnn.models.source_outputs import source_outputs

    channels = info.arguments.get("in_channels", 3)
    size = (2, channels, info.input_size, info.input_size)
    images = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    framework, theirs = source_outputs(against, info.architecture, info.arguments, images)
    with no_grad():
        ours = MODELS[info.architecture](weights=called).eval()(Tensor(images)).numpy()
    if ours.shape != theirs.shape:
        raise WeightsError(f"{framework} gives another shape", called=called, seen=f"{theirs.shape}, here {ours.shape}")
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"other outputs than {framework} gives for {os.fspath(against)}",
            called=called,
            seen=f"a difference of {difference:.2g} of the largest logit",
            rule=f"at most {TOLERANCE:g}",
        )
    return f"outputs of {framework} for two images differ by {difference:.1g} of the largest logit"
