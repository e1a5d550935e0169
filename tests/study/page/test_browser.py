"""The page in a real Chromium: what it shows equals the recording, whatever step, view and value is chosen."""

import json

import numpy as np
import pytest
from chromium import Page, find

from minicnn.study.page import Server, html, write_page
from minicnn.study.page.assets import script

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium on this machine")

INSIDE = ("im2col", "winograd2", "winograd4", "tile")
TOOLS = """
const step = () => document.querySelector(".minicnn .step");
const until = async (done) => { while (!done()) await new Promise((go) => setTimeout(go, 5)); };
const show = async (number, mode) => {
  if (!step().dataset.shown.startsWith(`${number} `)) {
    document.querySelectorAll(".list button")[number].click();
    await until(() => step().dataset.shown.startsWith(`${number} `));
  }
  step().querySelector(`[data-mode="${mode}"]`).click();
  await until(() => step().dataset.shown.startsWith(`${number} ${mode} `));
};
const choose = async (number, mode, at) => {
  for (const [axis, value] of at.entries()) {
    const box = step().querySelector(`[data-focus="spin ${axis}"]`);
    if (!box) continue;
    const before = step().dataset.shown;
    if (box.value === String(value)) continue;
    box.value = value;
    box.dispatchEvent(new Event("change"));
    await until(() => step().dataset.shown !== before);
  }
};
const read = (number, mode) => {
  const data = (name) => step().querySelector(name)?.dataset;
  return {
    step: number, mode, at: step().dataset.shown.split(" ")[2].split(",").filter(Boolean).map(Number),
    total: data(".total")?.value ?? null,
    engine: data(".engine")?.value ?? null, equal: data(".verdict")?.equal ?? null,
    error: step().querySelector(".error")?.textContent ?? null, math: step().querySelectorAll("math").length,
    maps: step().querySelectorAll("canvas.map").length,
    wide: document.documentElement.scrollWidth,
  };
};
"""
WALK = """(async () => {%s
  const found = [];
  for (const number of %s ?? document.querySelectorAll(".list button").keys()) {
    document.querySelectorAll(".list button")[number].click();
    await until(() => step().dataset.shown.startsWith(`${number} `));
    for (const mode of [...step().querySelectorAll("[data-mode]")].map((button) => button.dataset.mode)) {
      await show(number, mode);
      found.push(read(number, mode));
    }
  }
  return found;
})()"""
PICKS = """(async () => {%s
  const found = [];
  for (const [number, mode, at] of %s) {
    await show(number, mode);
    await choose(number, mode, at);
    found.push(read(number, mode));
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def page():
    made = Page()
    yield made
    made.close()


@pytest.fixture(scope="module")
def file(numbers, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, numbers)
    return path.as_uri()


def opened(page, url, width=1200, height=800):
    page.problems.clear()
    page.requests.clear()
    page.size(width, height, mobile=width < 500)
    page.open(url)
    page.wait("document.querySelector('.minicnn .check')")
    return page


def engine(numbers, step, mode, at):
    """The engine's value that a view is about."""
    told = numbers.description["steps"][step]
    if mode in ("y", *INSIDE):
        key = f"t{told['output']}"
    else:
        key = f"c{step}:{mode}" if mode in told["own"] else f"g{told['inputs'][mode]}"
    return float(numbers.block(key)[tuple(at)])


def test_every_view_of_every_step_arrives_at_the_engines_value_on_a_phone_too(page, file, numbers):
    """The values come out of the document, so that what is read is what a student reads."""
    rows = opened(page, file, 375, 740).run(WALK % (TOOLS, "null"))
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert not [row for row in rows if row["error"]]
    assert not [row for row in rows if row["wide"] > 375]  # nothing to scroll sideways
    assert all(row["math"] >= 2 for row in rows)
    checked = [row for row in rows if row["total"] is not None]
    seen = {(numbers.description["steps"][row["step"]]["operation"], row["mode"]) for row in checked}
    assert {("conv2d", mode) for mode in ("y", "x", "w", "b", *INSIDE)} <= seen
    assert {("batch_norm_relu", mode) for mode in ("y", "x", "weight", "bias", "residual")} <= seen
    assert {("max_pool2d", "x"), ("avg_pool2d", "x"), ("linear", "w"), ("cross_entropy", "x"), ("relu", "x")} <= seen
    for row in checked:
        check(numbers, row)
    assert sum(abs(float(row["total"])) > 1e-3 for row in checked) > len(checked) / 2  # the numbers say something


def check(numbers, row):
    """The engine's number is shown as it is, and the page's own sum equals it."""
    value = engine(numbers, row["step"], row["mode"], row["at"])
    assert float(row["engine"]) == value, row
    np.testing.assert_allclose(float(row["total"]), value, rtol=2e-4, atol=2e-5, err_msg=str(row))
    assert row["equal"] == "true", row


def test_terms_from_python_arrive_at_the_engines_value_in_file_and_server(page, others, tmp_path, monkeypatch):
    """Every operation without a view of its own: a file holds the terms of some numbers, a server those of all."""
    monkeypatch.setattr(html, "ENTRIES", 6)
    write_page(tmp_path / "others.html", others)
    steps = others.description["steps"]
    firsts = {(step["operation"], step["view"]): number for number, step in reversed(list(enumerate(steps)))}
    script = WALK % (TOOLS, sorted(firsts.values()))
    rows = opened(page, (tmp_path / "others.html").as_uri(), 375, 740).run(script)
    assert page.problems == []
    assert page.run("document.querySelectorAll('img, .minicnn b').length + (window.hacked ?? 0)") == 0  # a layer's name
    assert not [row for row in rows if row["error"] or row["wide"] > 375]
    checked = {(row["step"], row["mode"]) for row in rows if row["total"]}
    assert checked >= {(number, mode) for number in firsts.values() for mode in steps[number]["terms"]}
    for row in rows:
        if row["total"] is not None:
            check(others, row)
            assert row["maps"] >= 2 or not steps[row["step"]]["terms"], row  # what the terms are made of is shown
    generator = np.random.default_rng(1)
    picks = []
    for number, step in enumerate(steps):
        if step["operation"] in ("conv_transpose2d", "softmax", "lstm", "gru", "max", "div"):
            for mode in step["terms"] or ["y", "x", "w", "b"]:
                shape = others.description["tensors"][step["inputs"].get(mode, step["output"])]["shape"]
                picks.append([number, mode, [int(generator.integers(size)) for size in shape]])
    with Server(others) as server:
        rows = opened(page, server.url).run(PICKS % (TOOLS, json.dumps(picks)))
    assert page.problems == []
    for row, (_, _, at) in zip(rows, picks, strict=True):
        assert row["at"] == at
        check(others, row)


def test_random_picks_change_the_sum_to_the_engines_value(page, file, numbers):
    generator = np.random.default_rng(0)
    picks = []
    for step, mode in [(0, "y"), (0, "x"), (0, "w"), (1, "x"), (2, "x"), (5, "x"), (5, "w"), (5, "winograd2")]:
        told = numbers.description["steps"][step]
        if mode == "winograd2" and told["options"].get("groups") != 1:
            continue
        key = told["inputs"][mode] if mode in told["inputs"] else told["output"]
        shape = numbers.description["tensors"][key]["shape"]
        picks.append([step, mode, [int(generator.integers(size)) for size in shape]])
    rows = opened(page, file).run(PICKS % (TOOLS, json.dumps(picks)))
    for row, (_, _, at) in zip(rows, picks, strict=True):
        assert row["at"] == at
        check(numbers, row)


def test_keys_walk(page, file, numbers):
    opened(page, file)
    page.run("document.querySelector('[data-focus=target]').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp"):
        before = page.run("document.querySelector('.step').dataset.shown")
        page.key(key)
        page.wait(f"document.querySelector('.step').dataset.shown !== {json.dumps(before)}")
    assert page.run("document.querySelector('.step').dataset.shown") == "0 y 0,0,5,6"
    assert page.run("document.activeElement.dataset.focus") == "target"  # the map is drawn anew, the focus stays
    value = engine(numbers, 0, "y", [0, 0, 5, 6])
    assert page.run("Number(document.querySelector('.engine').dataset.value)") == value
    page.wait("document.querySelector('[role=status]').textContent.includes('0, 0, 5, 6')")  # and is spoken
    for key, shown in (
        (".", "0 y 0,1,5,6"),
        ("n", "1 y "),
        ("b", "1 x "),
        ("p", "0 x "),
        ("f", "0 y 0,1,5,6"),
        ("m", "0 im2col"),
    ):
        page.key(key)
        page.wait(f"document.querySelector('.step').dataset.shown.startsWith({json.dumps(shown)})")
    page.key("n"), page.key("n"), page.key("f")
    page.wait("document.querySelector('.step').dataset.shown.startsWith('2 y ')")
    page.key("u")
    page.wait("document.querySelector('.step').dataset.shown.startsWith('1 y ')")
    assert page.problems == []


def test_the_list_is_one_tab_stop_and_arrow_keys_go_through_it(page, file):
    opened(page, file)
    assert page.run("document.querySelectorAll('.list button:not([tabindex=\"-1\"])').length") == 1
    page.run("document.querySelector('.list [aria-current]').focus()")
    page.key("ArrowDown"), page.key("ArrowDown")
    page.wait("document.querySelector('.step').dataset.shown.startsWith('2 ')")
    assert page.run("document.activeElement === document.querySelectorAll('.list button')[2]")


def test_a_value_can_be_chosen_by_pointer(page, file):
    opened(page, file)
    box = page.run(
        "(({left, top}) => [left, top])(document.querySelector('[data-focus=target]').getBoundingClientRect())"
    )
    page.click(box[0] + 3, box[1] + 3)
    page.wait("document.querySelector('.step').dataset.shown === '0 y 0,0,0,0'")
    page.wait("document.querySelectorAll('.grid .pad').length > 0")  # the window hangs over the corner


def test_hostile_names_are_shown_as_text(page, file):
    opened(page, file)
    assert page.run("document.querySelector('h1').textContent").startswith("a </script><img src=x onerror=")
    assert "<b>" in page.run("document.querySelector('.answer').textContent")
    assert page.run("document.querySelectorAll('img, .minicnn b').length") == 0
    assert page.run("window.hacked === undefined")


def test_everything_can_be_reached_and_has_a_name(page, file):
    opened(page, file)
    nameless = """[...document.querySelectorAll("button, input, canvas[tabindex]")].filter((item) =>
      !(item.textContent.trim() || item.getAttribute("aria-label") || item.labels?.length)).length"""
    assert page.run(nameless) == 0
    assert page.run("document.querySelectorAll('canvas.map:not([aria-label])').length") == 0
    page.run("document.querySelector('[data-focus=target]').focus({ focusVisible: true })")
    assert page.run("getComputedStyle(document.querySelector('[data-focus=target]')).outlineStyle") == "solid"


def test_dark_mode_has_contrast(page, file):
    luminance = """((name, element) => {
      const parts = getComputedStyle(element)[name].match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
      const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b; })"""
    for dark in (False, True):
        page.dark(dark)
        opened(page, file)
        paper = page.run(f"{luminance}('backgroundColor', document.querySelector('.minicnn'))")
        assert (paper < 0.05) == dark
        for name in (".soft", "h2", ".verdict"):
            ink = page.run(f"{luminance}('color', document.querySelector('.minicnn {name}'))")
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, name
    page.dark(False)


def test_the_served_page_asks_for_what_it_shows(page, numbers):
    with Server(numbers) as server:
        opened(page, server.url)
        page.run("document.querySelectorAll('.list button')[3].click()")
        page.wait("document.querySelector('.step').dataset.shown.startsWith('3 ')")
        shown = page.run("document.querySelector('.step').dataset.shown").split(" ")
        value = engine(numbers, 3, "y", [int(v) for v in shown[2].split(",")])
        assert page.run("Number(document.querySelector('.engine').dataset.value)") == value
        assert page.problems == []
        asked = [url for url in page.requests if not url.startswith("data:")]
        assert asked
        assert all(url.startswith(server.url) for url in asked)
    page.run("document.querySelectorAll('.list button')[8].click()")
    page.wait("document.querySelector('.step .error')")  # a server that was ended is said, not hidden


NOTEBOOK = """(async () => {%s
  const { script, description, arrays } = %s;
  document.body.replaceChildren();
  const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  const listeners = new Set();
  const answer = ({ id, key, ranges }) => {
    if (!arrays[key]) { // of another step
      for (const listener of listeners) listener({ id, error: "not here" }, []);
      return;
    }
    const { shape, values } = arrays[key];
    const steps = shape.map((_, axis) => shape.slice(axis + 1).reduce((u, v) => u * v, 1));
    let places = [0];
    ranges.forEach(([start, stop], axis) => {
      const along = Array.from({ length: stop - start }, (_, i) => (start + i) * steps[axis]);
      places = places.flatMap((place) => along.map((more) => place + more));
    });
    const whole = new Float32Array([0, ...places.map((place) => values[place])]);
    for (const listener of listeners) listener({ id, type: "float32" }, [new DataView(whole.buffer, 4)]);
  };
  const model = {
    get: (name) => ({ description })[name],
    on: (name, listener) => name === "msg:custom" && listeners.add(listener),
    off: (_, listener) => listeners.delete(listener),
    send: (request) => setTimeout(() => answer(request), 0),
  };
  const close = module.default.render({ model, el: document.body });
  await until(() => step()?.querySelector(".check"));
  const found = read(0, "y");
  const ours = [];
  const look = (event) => ours.push(event.target.hasAttribute("data-lm-suppress-shortcuts"));
  document.addEventListener("keydown", look, true); // as Jupyter Notebook does, before the widget sees a key
  for (const key of ["d", "ArrowDown", "a", "Shift+Enter", "Control+s", "m"]) {
    const [held, name] = key.includes("+") ? key.split("+") : ["", key];
    const how = { key: name, shiftKey: held === "Shift", ctrlKey: held === "Control", bubbles: true };
    step().querySelector("[data-focus=target]").dispatchEvent(new KeyboardEvent("keydown", how));
  }
  document.removeEventListener("keydown", look, true);
  close();
  return { ...found, ours, left: document.body.children.length, listeners: listeners.size };
})()"""


def test_the_same_component_lives_in_a_notebook(page, numbers):
    """As an anywidget: `render` of the module, messages with a view of a larger buffer, and a way to end it."""
    keys = numbers.keys_of(0)
    arrays = {key: {"shape": numbers.shape(key), "values": numbers.block(key).ravel().tolist()} for key in keys}
    data = {"script": script(), "description": numbers.description, "arrays": arrays}
    page.problems.clear()
    page.open("about:blank")
    row = page.run(NOTEBOOK % (TOOLS, json.dumps(data)))
    check(numbers, row)
    assert row["ours"] == [True, True, False, False, False, True]  # the rest is the notebook's: a new cell, run, save
    assert (row["left"], row["listeners"]) == (0, 0)
    assert page.problems == []
