"""The drawing: sound XML, names as text, boxes that do not overlap, shortcuts that no box stands in the way of."""

import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.study.graph import draw, tape
from minicnn.study.graph.layout import APART, BEND, place, separated
from minicnn.study.graph.tape import TIMES, graph_of
from minicnn.study.recording import record

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</title><script>alert(1)</script>&\x00"'


class Network(nn.Module):
    """A block with a shortcut, branches that are joined, and a head."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.conv1(x)
        y = self.bn(self.conv2(nn.functional.relu(x)), relu=True, residual=x)
        y = minicnn.cat([y, nn.functional.relu(x)], 1)
        return self.fc(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))


@pytest.fixture(scope="module")
def recording():
    minicnn.manual_seed(0)
    return record(Network(), np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32), [0, 2])


def test_every_operation_stands_there_with_shapes_parameters_and_norms(recording):
    root = ET.fromstring(draw(recording, "a title", "about it"))
    texts = ["".join(item.itertext()) for item in root.iter(f"{SVG}text")]
    assert len(root.findall(f".//{SVG}g")) == len(recording.steps) + 1
    assert TIMES.join("2444") + " · 40 parameters" in texts
    assert f"convolution 3{TIMES}3, stride 2" in texts
    assert "batch norm, ReLU, + shortcut" in texts
    step = next(step for step in recording.steps if step.layer == "fc")
    gradient = np.linalg.norm(recording.gradients["fc.weight"].astype(float))
    assert f"‖∂y‖ {np.linalg.norm(step.dy):.3g} · ‖∂weight‖ {gradient:.3g}" in " ".join(texts)
    assert f"loss {recording.loss.item():.3g}" in root.find(f"{SVG}desc").text
    assert root.get("aria-labelledby") == "title about"
    assert any(line.startswith("‖∂y‖: norm of") for line in texts)
    tracks = {bar.get("width") for bar in root.iter(f"{SVG}rect") if bar.get("class") == "track"}
    assert len(tracks) == 1  # bars of all boxes can be compared


def test_many_norms_take_several_lines():
    lines = tape._lines((5, 2, 8), 112, 0.3, "y", [(f"weight_{i}", 0.25) for i in range(4)])
    assert len(lines) > 2
    assert max(map(len, lines)) <= tape.LONGEST_LINE
    assert [word for line in lines[1:] for word in line.split(" · ")][:2] == ["‖∂y‖ 0.3", "‖∂weight_0‖ 0.25"]


def test_names_stay_text_and_nothing_comes_from_outside(recording):
    drawn = draw(recording, HOSTILE, HOSTILE)
    root = ET.fromstring(drawn)
    assert "<script" not in drawn
    assert root.find(f"{SVG}title").text.startswith("</title><script>alert")
    assert not list(root.iter(f"{SVG}image"))
    assert "url(" not in drawn
    assert drawn.count("http") == 1  # the name space


def test_edges_are_those_of_the_run(recording):
    graph = graph_of(recording)
    names = [box.lines[0] for box in graph.boxes]
    drawn = {(names[a], names[b]) for a, b in graph.edges}
    assert {("images", "conv1"), ("conv1", "bn"), ("conv2", "bn"), ("conv1", "ReLU"), ("fc", "loss")} <= drawn
    assert len(graph.edges) == 12


@pytest.mark.parametrize("more", [0, 6])
def test_boxes_and_bends_keep_apart_and_shortcuts_are_straight(more):
    generator = np.random.default_rng(5)
    many = 40
    edges = [(i, i + 1) for i in range(many - 1)] + [(i, i + 4) for i in range(0, 32, 4)]
    edges += [(int(a), int(b)) for a, b in (sorted(generator.choice(many, 2, replace=False)) for _ in range(more))]
    edges = list(dict.fromkeys(edges))
    widths = [float(width) for width in generator.uniform(60, 200, many)]
    placed = place(widths, edges)
    rows: dict[int, list[tuple[float, float]]] = {}
    for x, rank, width in zip(placed.x, placed.rank, widths, strict=True):
        rows.setdefault(rank, []).append((x, width))
    for bends in placed.bends:
        for rank, x in bends:
            rows.setdefault(rank, []).append((x, BEND))
    for row in rows.values():
        for (left, a), (right, b) in itertools.pairwise(sorted(row)):
            assert right - left >= (a + b) / 2 + APART - 1e-3
    assert np.ptp(placed.x) < 1e-3  # the longest path, all of it, in one line
    shortcuts = [bends for bends in placed.bends if len(bends) == 3]
    assert shortcuts
    if not more:
        assert all(np.ptp([x for _, x in bends]) < 1e-6 for bends in shortcuts)
    assert place(widths, edges) == placed  # the same drawing every time


def test_branches_stand_side_by_side():
    edges = [(0, 1), (0, 2), (1, 3), (2, 4), (4, 5), (3, 6), (5, 6), (0, 6)]
    placed = place([50.0] * 7, edges)
    assert placed.rank == [0, 1, 1, 2, 2, 3, 4]
    assert abs(placed.x[1] - placed.x[2]) >= 50 + APART - 1e-6
    assert placed.x[1] == pytest.approx(placed.x[3])


def test_places_are_the_nearest_that_keep_apart():
    found = separated([0.0, 0.0, 300.0], [1.0, 3.0, 1.0], [10.0, 10.0, 10.0])
    step = 10 + APART
    np.testing.assert_allclose(found, [-0.75 * step, 0.25 * step, 300.0])
    assert separated([5.0, 200.0], [1.0, 1.0], [10.0, 10.0]) == [5.0, 200.0]


def test_too_many_steps_are_refused(recording, monkeypatch):
    monkeypatch.setattr(tape, "MOST_STEPS", 3)
    with pytest.raises(ArgumentError, match="too many steps"):
        draw(recording)
