"""Finding out whose names a file has: the tables of `names.py`, tried behind every beginning that occurs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from minicnn.errors import WeightsError
from minicnn.weights.names import MAPS, OPTIONAL, OTHER_NETWORKS, NameMap

FEW = 4  # names that are shown of many
MOST_PARTS = 12  # of a beginning

# Beginnings under which checkpoints keep a network, the likeliest first: where two of them hold one, this decides.
WRAPPERS = (
    "",
    "state_dict.",
    "model_state_dict.",
    "model_state.",
    "model.",
    "net.",
    "network.",
    "weights.",
    "module.",
    "backbone.",
    "encoder.",
    "_orig_mod.",
)


@dataclass(frozen=True)
class Match:
    """A table of names and the beginning under which a file has them: `names` from ours to the file's."""

    table: NameMap
    prefix: str
    names: dict[str, str]


def match_names(
    found: Collection[str],
    expected: Sequence[str],
    *,
    architecture: str,
    layout: str = "torch",
    prefix: str | None = None,
    called: str = "",
) -> Match:
    """Find the table and the beginning that give names of the file for the most of `expected`.

    Parameters
    ----------
    found : names in the file
    expected : names of the network's parameters and buffers
    architecture : str
    layout : "torch" or "keras"
        Of the file's kernels.
    prefix : str, optional
        The beginning, where a file holds several networks.
    called : str
        The file.

    Raises
    ------
    WeightsError
        If the names are those of another network, of none, or of two.
    """
    names = set(found)
    for other in OTHER_NETWORKS:
        if names.issuperset(other.names):
            raise WeightsError(other.explanation, called=called, rule=architecture, hint=other.hint)
    needed = [name for name in expected if not name.endswith(OPTIONAL)]
    best: list[Match] = []
    for table in MAPS:
        if table.layout != layout or not architecture.startswith(table.architectures):
            continue
        theirs = {name: table.source(name) for name in expected}
        wanted = {theirs[name] for name in needed} - {""}
        for beginning in [prefix] if prefix is not None else _beginnings(names, wanted):
            pairs = {name: beginning + other for name, other in theirs.items() if other and beginning + other in names}
            best.append(Match(table, beginning, pairs))
    scores = [len([name for name in match.names if not name.endswith(OPTIONAL)]) for match in best]
    most = max(scores, default=0)
    if most < len(needed) / 2:
        raise WeightsError(
            f"the names are not those of {architecture}",
            called=called,
            seen=few(found) if not most else f"{most} of {len(needed)} names",
            rule=few(needed),
            hint="is it the right architecture?",
        )
    likeliest = [match for match, score in zip(best, scores, strict=True) if score == most]
    likeliest.sort(key=lambda match: WRAPPERS.index(match.prefix) if match.prefix in WRAPPERS else len(WRAPPERS))
    if len(likeliest) > 1 and likeliest[0].prefix not in WRAPPERS and likeliest[1].prefix != likeliest[0].prefix:
        raise WeightsError(
            "several networks in one file",
            called=called,
            seen=", ".join(repr(match.prefix) for match in likeliest[:FEW]),
            hint="say which with prefix=",
        )
    return likeliest[0]


def _beginnings(names: Iterable[str], wanted: set[str]) -> list[str]:
    """What stands in front of a wanted name somewhere in the file, the most frequent first."""
    counts: dict[str, int] = {}
    for name in names:
        rest, dot = name, "."
        for _ in range(MOST_PARTS):
            if rest in wanted:
                beginning = name[: len(name) - len(rest)]
                counts[beginning] = counts.get(beginning, 0) + 1
            _, dot, rest = rest.partition(".")
            if not dot:
                break
    return sorted(counts, key=lambda beginning: (-counts[beginning], beginning))[:FEW]


def few(names: Collection[str]) -> str:
    """Some of the names, and how many there are."""
    shown = ", ".join(list(names)[:FEW])
    return shown if len(names) <= FEW else f"{shown} and {len(names) - FEW} more"
