"""Matching the names and shapes of a file with those of a network, and saying what was found: never silent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minicnn.errors import WeightsError
from minicnn.weights import hdf5
from minicnn.weights.adaptation import fit_kernels, how_fitted

Shape = tuple[int, ...]
FEW = 6  # names that are printed of a list


@dataclass
class LoadReport:
    """What loading did with each name.

    Attributes
    ----------
    loaded : list of names
    replaced : list of (name, shape in the file, shape in the network)
        Parts of the head, which keep the values of the network: the task has another number of classes.
    missing : list of (name, shape)
        In the network, not in the file.
    unexpected : list of (name, shape)
        In the file, not in the network.
    mismatched : list of (name, shape in the file, shape in the network)
        The same name, another shape, and not in the head.
    adapted : list of (name, shape in the file, shape in the network)
        The first convolution's kernels, made to fit another number of channels: see `minicnn/weights/adaptation.py`.
    """

    source: str = ""
    loaded: list[str] = field(default_factory=list)
    replaced: list[tuple[str, Shape, Shape]] = field(default_factory=list)
    missing: list[tuple[str, Shape]] = field(default_factory=list)
    unexpected: list[tuple[str, Shape]] = field(default_factory=list)
    mismatched: list[tuple[str, Shape, Shape]] = field(default_factory=list)
    adapted: list[tuple[str, Shape, Shape]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.source}: loaded {len(self.loaded)}, replaced {len(self.replaced)}, missing {len(self.missing)}, "
            f"unexpected {len(self.unexpected)}, mismatched {len(self.mismatched)}"
        ]
        for kind in ("replaced", "mismatched"):
            for name, found, own in getattr(self, kind):
                lines.append(f"  {kind}: {name} (file {found}, network {own})")
        for name, found, own in self.adapted:
            lines.append(f"  adapted: {name} (file {found}, network {own}; {how_fitted(found[1], own[1])})")
        for kind in ("missing", "unexpected"):
            for name, shape in getattr(self, kind):
                lines.append(f"  {kind}: {name} {shape}")
        return "\n".join(lines)

    def raise_unless_complete(self, *, strict: bool = True) -> None:
        """Raise if nothing was loaded, if shapes differ, or (strict) if names are missing or unexpected."""
        problems = [f"{name} is {found} in the file, {own} in the network" for name, found, own in self.mismatched]
        if strict:
            problems += [f"{name} {shape} is missing" for name, shape in self.missing]
            problems += [f"{name} {shape} is unexpected" for name, shape in self.unexpected]
        if not self.loaded:
            raise WeightsError(
                "no name in the file matches the network",
                called=self.source,
                seen=", ".join(name for name, *_ in self.unexpected[:FEW]) or "no names",
                rule=", ".join(name for name, *_ in self.missing[:FEW]),
                hint="are these weights for another architecture?",
            )
        if problems:
            more = f" and {len(problems) - FEW} more" if len(problems) > FEW else ""
            raise WeightsError(
                "the weights do not fit the network",
                called=self.source,
                seen="; ".join(problems[:FEW]) + more,
                hint="check architecture, width and number of classes",
            )


def match(
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    *,
    head: Sequence[str] = (),
    first: str = "",
    source: str = "",
) -> LoadReport:
    """Compare names and shapes.

    Parameters
    ----------
    expected, found : mapping of name to shape
        Of the network, of the file.
    head : sequence of str
        Beginnings of names whose shape may differ, `("fc.",)`; they are then "replaced".
    first : str
        Name of the weight of the first convolution, whose number of channels may differ; it is then "adapted".
    source : str
        The file, for the report.

    Notes
    -----
    `num_batches_tracked` may be missing: files made before it existed do not have it, and nothing is computed from it.
    """
    report = LoadReport(source)
    for name, own in expected.items():
        if name not in found:
            if not name.endswith("num_batches_tracked"):
                report.missing.append((name, own))
        elif found[name] == own:
            report.loaded.append(name)
        elif name.startswith(tuple(head)):
            report.replaced.append((name, found[name], own))
        elif name == first and _differ_in_channels(found[name], own):
            report.adapted.append((name, found[name], own))
        else:
            report.mismatched.append((name, found[name], own))
    report.unexpected += [(name, shape) for name, shape in found.items() if name not in expected]
    return report


def _differ_in_channels(found: Shape, own: Shape) -> bool:
    """Whether these are kernels (K, C, R, S) that differ in C alone."""
    return len(found) == len(own) == 4 and found[0] == own[0] and found[2:] == own[2:]


def load(
    model: Any,
    path: str | os.PathLike[str],
    *,
    head: Sequence[str] = ("fc.",),
    first: str = "",
    strict: bool = True,
) -> LoadReport:
    """Load a weights file into a network; nothing is changed unless everything fits.

    Parameters
    ----------
    model : Module
        With `state_dict()` and `load_state_dict(state, strict)`.
    path : path
    head : sequence of str
        Beginnings of names that keep the network's values where shapes differ. If one part of a head differs, the whole
        head is kept: a new weight does not go with an old bias.
    first : str
        Name of the weight of the first convolution: where it takes another number of channels than in the file, its
        kernels are made to fit (`minicnn/weights/adaptation.py`).
    strict : bool
        Missing and unexpected names are errors.

    Returns
    -------
    LoadReport
    """
    own = model.state_dict()
    found = hdf5.shapes(path)
    report = match(
        {name: array.shape for name, array in own.items()}, found, head=head, first=first, source=os.fspath(path)
    )
    for beginning in [start for start in head if any(name.startswith(start) for name, *_ in report.replaced)]:
        also = [name for name in report.loaded if name.startswith(beginning)]
        report.loaded = [name for name in report.loaded if name not in also]
        report.replaced += [(name, found[name], own[name].shape) for name in also]
    report.raise_unless_complete(strict=strict)
    wanted = [*report.loaded, *(name for name, *_ in report.adapted)]
    state, _ = hdf5.read(path, only=wanted)
    if set(state) != set(wanted):
        raise WeightsError("the file changed while it was read", called=os.fspath(path), hint="load it again")
    for name, _, shape in report.adapted:
        state[name] = fit_kernels(state[name], shape[1])
    model.load_state_dict(state, strict=False)
    return report
