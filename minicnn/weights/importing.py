"""From a foreign file's arrays to a network's: renamed, transposed, conventions converted, everything checked.

Nothing is written here, and nothing is half done: either every parameter is found, of the right shape and finite, or an
error says what is wrong. `minicnn.models.import_weights` puts it together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers import Foreign, as_float32, dtype_name
from minicnn.weights.matching import Match, few
from minicnn.weights.names import OPTIONAL

Shape = tuple[int, ...]
CLASS_LISTS = ("classes", "class_names", "labels", "categories")
CLASS_INDICES = ("class_to_idx", "label2id")


@dataclass
class ImportReport:
    """What an import did with each name.

    Attributes
    ----------
    source, format, library, prefix : str
        The file, its format, whose names it has, and what stands before them.
    architecture : str
    arguments : dict
        Of the architecture, as the shapes in the file say.
    loaded : list of names
        Of the network, whose values come from the file.
    renamed : list of (name in the file, name in the network)
    transposed : list of (name, what was done)
    converted : list of (name, what was done)
        Batch normalisations with another epsilon.
    missing : list of (name, shape)
        Of the network, not in the file, and not needed.
    unexpected : list of (name, shape)
        Of the file, not in the network: ignored.
    notes : list of str
    """

    source: str = ""
    format: str = ""
    library: str = ""
    prefix: str = ""
    architecture: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    transposed: list[tuple[str, str]] = field(default_factory=list)
    converted: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, Shape]] = field(default_factory=list)
    unexpected: list[tuple[str, Shape]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        arguments = "".join(f", {name}={value}" for name, value in self.arguments.items())
        behind = f", behind {self.prefix!r}" if self.prefix else ""
        rows: list[tuple[str, Any, str]] = [
            ("format", "", self.format),
            ("names", "", self.library + behind),
            ("network", "", self.architecture + arguments),
            ("loaded", len(self.loaded), ""),
            ("renamed", len(self.renamed), _first(f"{theirs} -> {ours}" for theirs, ours in self.renamed)),
            ("transposed", len(self.transposed), _first(f"{name}: {how}" for name, how in self.transposed)),
            ("converted", len(self.converted), _first(f"{name}: {how}" for name, how in self.converted)),
            ("missing", len(self.missing), few([name for name, _ in self.missing])),
            ("unexpected", len(self.unexpected), few([f"{name} {shape}" for name, shape in self.unexpected])),
        ]
        lines = [self.source, *(f"  {word:<11}{count!s:>5}  {text}".rstrip() for word, count, text in rows)]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _first(texts: Iterable[str]) -> str:
    return next(iter(texts), "")


def convert(
    foreign: Foreign,
    match: Match,
    expected: Mapping[str, Shape],
    report: ImportReport,
    *,
    eps: Mapping[str, float],
    new: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """The state of a network from a foreign file.

    Parameters
    ----------
    foreign : Foreign
    match : Match
        Which names of the file are which of ours.
    expected : mapping of name to shape
        Of the network.
    report : ImportReport
        Is filled in.
    eps : mapping of name of a batch normalisation to its epsilon in the network
    new : tuple of beginnings of names
        Of a head that may be missing.

    Returns
    -------
    dict of name to array
        float32; int64 for the counters of batch normalisation.

    Raises
    ------
    WeightsError
        For names that are missing, or that only another network has; for shapes, dtypes or values that cannot be.
    """
    _check_names(foreign, match, expected, report, new)
    problems: list[str] = []
    state: dict[str, np.ndarray] = {}
    for name, shape in expected.items():
        theirs = match.names.get(name)
        if theirs is None:
            report.missing.append((name, shape))
            continue
        found = foreign.arrays[theirs]
        array, how = _fitted(name, found, shape, match, foreign.layout)
        if array is None:
            problems.append(f"{theirs} is {found.shape}, {name} is {shape}")
            continue
        if theirs != name:
            report.renamed.append((theirs, name))
        if how:
            report.transposed.append((name, how))
        state[name] = _values(name, theirs, array, report.source)
        report.loaded.append(name)
    if problems:
        raise WeightsError(
            f"shapes that are not those of {report.architecture}",
            called=report.source,
            seen=few(problems),
            hint="is it the right architecture?",
        )
    _note_dtypes(foreign, match, report)
    _note_conventions(foreign, match, report)
    for module, own in eps.items():
        _with_epsilon(state, module, own, foreign, match, report)
    return state


def _check_names(
    foreign: Foreign, match: Match, expected: Mapping[str, Shape], report: ImportReport, new: tuple[str, ...]
) -> None:
    """Raise for names that are missing, and for those that only another network of the same family has."""
    lacking = [name for name in expected if name not in match.names and not name.endswith(OPTIONAL)]
    lacking = [name for name in lacking if not name.startswith(new)] if new else lacking
    if lacking:
        raise WeightsError(
            f"parameters of {report.architecture} are missing",
            called=report.source,
            seen=f"{len(lacking)} of {len(expected)}: {few(lacking)}",
            hint="is it the right architecture? For a network without its head, say how many classes it is to have",
        )
    strange = stranger(foreign, match)
    used = {match.names[name] for name in expected if name in match.names}
    report.unexpected += [(name, array.shape) for name, array in foreign.arrays.items() if name not in used]
    if strange:
        raise WeightsError(
            f"parameters that {report.architecture} does not have",
            called=report.source,
            seen=few(strange),
            hint="is it the right architecture?",
        )


def stranger(foreign: Foreign, match: Match) -> list[str]:
    """Arrays that stand among the network's own, but that it does not have: it is another network's file.

    Others (an optimizer's, a second network's) have other beginnings, and are only reported.
    """
    used = set(match.names.values())
    families = {name.removeprefix(match.prefix).split(".")[0] for name in used}
    found: list[str] = []
    for name, array in foreign.arrays.items():
        if name not in used and name.startswith(match.prefix):
            rest = name.removeprefix(match.prefix)
            if rest.split(".")[0] in families or ("." not in rest and array.ndim > 1):
                found.append(name)
    return found


def _fitted(name: str, array: np.ndarray, shape: Shape, match: Match, layout: str) -> tuple[np.ndarray | None, str]:
    """The array with its axes as in the network, and what was done; None if it does not fit."""
    if layout == "keras" and len(shape) == array.ndim == 4:
        array, how = array.transpose(3, 2, 0, 1), "(h, w, in, out) to (out, in, h, w)"
    elif layout == "keras" and len(shape) == array.ndim == 2:
        how = "(in, out) to (out, in)"
        if name in match.table.flattened:
            h, w = match.table.flattened[name]
            if array.shape[0] % (h * w):
                return None, ""
            array = array.reshape(h, w, -1, array.shape[1]).transpose(3, 2, 0, 1).reshape(array.shape[1], -1)
            how += f", inputs ({h}, {w}, C) to (C, {h}, {w})"
        else:
            array = array.T
    elif len(shape) == 2 and array.ndim == 4 and array.shape[0] == shape[0]:
        array, how = array.reshape(shape[0], -1), "a convolution over the whole image to a linear layer"
    elif shape == () and array.shape == (1,):
        array, how = array.reshape(()), ""
    else:
        how = ""
    return (array, how) if array.shape == shape else (None, "")


def _values(name: str, theirs: str, array: np.ndarray, called: str) -> np.ndarray:
    """The values as the network has them; raises for what no trained network holds."""
    counter = name.endswith(OPTIONAL)
    kind = array.dtype.kind
    if not (kind == "f" or dtype_name(array.dtype) == "bfloat16" or (counter and kind in "iu")):
        raise WeightsError(
            f"{theirs} is not of floating point",
            called=called,
            seen=str(array.dtype),
            rule="float16, bfloat16, float32 or float64",
            hint="quantised weights are not imported" if kind in "iu" else "",
        )
    if counter:
        count = float(array)
        return np.array(int(count) if 0 <= count < 2**53 else 0, np.int64)
    values = as_float32(array)
    if not np.isfinite(values).all():
        infinite = np.isfinite(array).all() if kind == "f" else False
        raise WeightsError(
            f"{theirs} holds values beyond float32" if infinite else f"{theirs} holds NaN or infinity", called=called
        )
    if name.endswith("running_var") and (values < 0).any():
        raise WeightsError(f"{theirs} is a variance, and negative", called=called, seen=f"{values.min():.3g}")
    return values


def _note_conventions(foreign: Foreign, match: Match, report: ImportReport) -> None:
    """What the file does not say, and is taken from its names."""
    if foreign.layout == "keras" and match.table.eps is not None:
        if not foreign.eps:
            report.notes.append(
                f"a Keras file does not say its epsilon of batch normalisation: {match.table.eps:g}, by its names "
                "(another one: --bn-epsilon)"
            )
        report.notes.append(
            "a Keras file does not say how its network pads: results are the same if it pads both sides, as "
            "torchvision does (ZeroPadding2D), not where a stride of 2 has padding='same'"
        )
    said = match.table.preprocessing
    if "channels" in said:
        report.notes.append(
            f"images are {said['channels']}, 0 to {said['scale']}, less {said['mean']}: so the new file says, and "
            "its transforms do it; the weights are as they were"
        )


def _note_dtypes(foreign: Foreign, match: Match, report: ImportReport) -> None:
    names = [name for ours, name in match.names.items() if not ours.endswith(OPTIONAL)]
    kinds = {dtype_name(foreign.arrays[name].dtype) for name in names} - {"float32"}
    if kinds:
        report.notes.append(f"values of {', '.join(sorted(kinds))} became float32")
    counters = [name for name, _ in report.missing if name.endswith(OPTIONAL)]
    if counters:
        report.notes.append(
            "the file is from before num_batches_tracked, or does not keep it: it counts batches, and nothing is "
            "computed from it"
        )


def _with_epsilon(
    state: dict[str, np.ndarray], module: str, own: float, foreign: Foreign, match: Match, report: ImportReport
) -> None:
    """Make a batch normalisation with epsilon `own` compute what the file's does with its epsilon e.

    y = w (x - mean) / sqrt(var + e) + b: the variance becomes var + e - own. Where that is negative it becomes 0, and w
    is scaled by sqrt(own / (var + e)). Results are the same; training goes on with `own`.
    """
    name = f"{module}.running_var"
    e = foreign.eps.get(match.names.get(name, ""), match.table.eps)
    if e is None or name not in state or abs(e - own) <= 1e-3 * own:
        return
    if not 0 <= e < 1:
        raise WeightsError(f"an epsilon that cannot be, of {module}", called=report.source, seen=f"{e:.3g}")
    variance = state[name].astype(np.float64) + e
    shifted = variance - own
    small = shifted < 0
    state[name] = np.where(small, 0, shifted).astype(np.float32)
    if small.any():
        weight = f"{module}.weight"
        scale = np.sqrt(own / np.where(small, np.maximum(variance, np.finfo(np.float32).tiny), own))
        state[weight] = (state[weight] * scale).astype(np.float32)
    report.converted.append((module, f"epsilon {e:g} to {own:g}, results the same"))


def classes_of(values: Mapping[str, Any], count: int) -> list[str]:
    """Names of `count` classes, if the file says them: as a list, or as a mapping of name to number."""
    for name, value in values.items():
        if name.rpartition(".")[2] in CLASS_LISTS and isinstance(value, list) and len(value) == count:
            return value
    for word in CLASS_INDICES:
        numbered: dict[int, str] = {}
        for name, value in values.items():
            _, found, label = f".{name}".partition(f".{word}.")
            if found and isinstance(value, int) and not isinstance(value, bool):
                numbered[value] = label
        if len(numbered) == count and sorted(numbered) == list(range(count)):
            return [numbered[i] for i in range(count)]
    return []
