"""Where boxes stand: layered from top to bottom (Sugiyama, Tagawa, Toda 1981), the longest path straight.

1. A box stands one rank below the lowest of those before it.
2. An edge over several ranks gets a place in each of them (a bend), so that no box stands in its way.
3. In each rank, boxes and bends are put in the order of the mean place of their neighbours, up and down in turn.
4. Across, each wants to stand at the mean of its neighbours, in order and apart: a least-squares problem whose exact
   solution is that of isotonic regression (pool adjacent violators). The longest path is held in one line.
5. Bends of one edge, and boxes of one branch, come into one line where there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 12
ROUNDS = 40
APART = 22.0  # between neighbours of a rank
BEND = 10.0  # width of a bend
SPINE = 1e7  # how much the longest path wants its place
BETWEEN_BENDS, BETWEEN_BOXES, TO_SPINE = 60.0, 8.0, 0.3  # how much neighbours pull, beside 1 of a box and a bend


@dataclass
class Placed:
    """Centre of each box across, rank of each box, and for each edge the places of its bends (rank, across)."""

    x: list[float]
    rank: list[int]
    bends: list[list[tuple[int, float]]]


def place(widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> Placed:
    """Places for boxes of these widths; an edge leads from a box to one with a larger number."""
    many = len(widths)
    before: list[list[int]] = [[] for _ in range(many)]
    for a, b in edges:
        before[b].append(a)
    rank = [0] * many
    for b in range(many):
        rank[b] = max((rank[a] + 1 for a in before[b]), default=0)
    nodes = _Nodes(list(widths), rank[:])
    chains = [nodes.add_edge(a, b) for a, b in edges]
    spine = _longest_path(rank, before)
    ranks = nodes.in_ranks()
    _order(ranks, nodes)
    x = _across(ranks, nodes, spine, many)
    return Placed(x[:many], rank, [[(nodes.rank[n], x[n]) for n in chain] for chain in chains])


class _Nodes:
    """Boxes and bends by number, with their widths, ranks and neighbours."""

    def __init__(self, widths: list[float], rank: list[int]) -> None:
        self.width, self.rank = widths, rank
        self.above: list[list[int]] = [[] for _ in widths]
        self.below: list[list[int]] = [[] for _ in widths]

    def add_edge(self, a: int, b: int) -> list[int]:
        """Join two boxes, with a bend in each rank between them; returns the bends."""
        chain = []
        last = a
        for between in range(self.rank[a] + 1, self.rank[b]):
            self.width.append(BEND)
            self.rank.append(between)
            self.above.append([])
            self.below.append([])
            chain.append(len(self.width) - 1)
            self._join(last, chain[-1])
            last = chain[-1]
        self._join(last, b)
        return chain

    def _join(self, a: int, b: int) -> None:
        self.below[a].append(b)
        self.above[b].append(a)

    def in_ranks(self) -> list[list[int]]:
        ranks: list[list[int]] = [[] for _ in range(max(self.rank, default=-1) + 1)]
        for node, rank in enumerate(self.rank):
            ranks[rank].append(node)
        return ranks


def _longest_path(rank: list[int], before: list[list[int]]) -> set[int]:
    """The boxes of one longest path from the top to the last box."""
    spine = set()
    at = max(range(len(rank)), key=lambda box: rank[box], default=-1)
    while at >= 0:
        spine.add(at)
        at = next((a for a in before[at] if rank[a] == rank[at] - 1), -1)
    return spine


def _order(ranks: list[list[int]], nodes: _Nodes) -> None:
    """Sort each rank by the mean place of its neighbours, downwards and upwards in turn."""
    place = {node: float(i) for members in ranks for i, node in enumerate(members)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for members in ranks if down else ranks[::-1]:
            beside = nodes.above if down else nodes.below
            mean = {n: sum(place[o] for o in beside[n]) / len(beside[n]) if beside[n] else place[n] for n in members}
            members.sort(key=lambda n: mean[n])  # stable: where nothing says otherwise, the order of the run
            centre = (len(members) - 1) / 2
            place.update({node: i - centre for i, node in enumerate(members)})


def _across(ranks: list[list[int]], nodes: _Nodes, spine: set[int], many: int) -> list[float]:
    x = [0.0] * len(nodes.width)
    for members in ranks:
        at = 0.0
        for node in members:
            x[node] = at + nodes.width[node] / 2
            at += nodes.width[node] + APART
        middle = next((x[node] for node in members if node in spine), at / 2)
        for node in members:
            x[node] -= middle
    for round_ in range(ROUNDS):
        for members in ranks if round_ % 2 == 0 else ranks[::-1]:
            wanted, weights = [], []
            for node in members:
                beside = nodes.above[node] + nodes.below[node]
                if node in spine:
                    wanted.append(0.0)
                    weights.append(SPINE)
                    continue
                pulls = [_pull(node, other, spine, many) for other in beside]
                total = sum(pulls)
                wanted.append(sum(p * x[o] for p, o in zip(pulls, beside, strict=True)) / total if total else x[node])
                weights.append(total or 1.0)
            for node, value in zip(members, separated(wanted, weights, [nodes.width[n] for n in members]), strict=True):
                x[node] = value
    _straighten(ranks, nodes, x, spine, many)
    return x


def _pull(node: int, other: int, spine: set[int], many: int) -> float:
    """How much a neighbour counts: a branch or a shortcut keeps its own line rather than lean to the longest path."""
    if node >= many and other >= many:
        return BETWEEN_BENDS
    if other in spine:
        return TO_SPINE
    return BETWEEN_BOXES if node < many and other < many else 1.0


def _straighten(ranks: list[list[int]], nodes: _Nodes, x: list[float], spine: set[int], many: int) -> None:
    """Put chains (bends of one edge, boxes of one branch) into one line where there is room for it."""
    at = {node: (rank, i) for rank, members in enumerate(ranks) for i, node in enumerate(members)}

    def fits(node: int, to: float) -> bool:
        rank, i = at[node]
        members = ranks[rank]
        for j in (i - 1, i + 1):
            if 0 <= j < len(members):
                room = abs(to - x[members[j]]) - (nodes.width[node] + nodes.width[members[j]]) / 2 - APART
                if room < -1e-6 or (to > x[members[j]]) != (j < i):
                    return False
        return True

    for chain in _chains(nodes, spine, many):
        mean = sum(x[node] for node in chain) / len(chain)
        for to in sorted({x[node] for node in chain}, key=lambda value: abs(value - mean)):
            if all(fits(node, to) for node in chain):
                for node in chain:
                    x[node] = to
                break


def _chains(nodes: _Nodes, spine: set[int], many: int) -> list[list[int]]:
    """Longest runs, downwards, of bends, and of boxes with one neighbour above and below."""
    chains, seen = [], set(spine)
    for first in [*range(many, len(nodes.width)), *range(many)]:  # bends first: a branch can take their line
        if first in seen:
            continue
        chain = [first]
        while len(nodes.below[chain[-1]]) == 1:
            after = nodes.below[chain[-1]][0]
            if after in seen or len(nodes.above[after]) != 1 or (after >= many) != (first >= many):
                break
            chain.append(after)
        seen.update(chain)
        if len(chain) > 1:
            chains.append(chain)
    return chains


def separated(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Places nearest to the wanted ones, in order and `APART` from edge to edge: weighted least squares."""
    shift = [0.0]
    for left, right in pairwise(widths):
        shift.append(shift[-1] + (left + right) / 2 + APART)
    blocks: list[list[float]] = []  # mean, weight, members
    for want, weight, offset in zip(wanted, weights, shift, strict=False):
        blocks.append([want - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, heavy, count = blocks.pop()
            into = blocks[-1]
            into[0] = (into[0] * into[1] + mean * heavy) / (into[1] + heavy)
            into[1] += heavy
            into[2] += count
    means = [mean for mean, _, count in blocks for _ in range(int(count))]
    return [mean + offset for mean, offset in zip(means, shift, strict=False)]
