"""The page of the pretrained weights: README.md's table and curves, from the weights file and PyTorch's log.

python weights/page.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from recipe import Recipe

from minicnn import weights
from minicnn.files import write_atomically

HERE = Path(__file__).resolve().parent
NAME = "resnet18-tinyimagenet-64"
TORCH = HERE / f"{NAME}-torch.json"
PICTURE = HERE / f"{NAME}.png"
MARKERS = f"<!-- {NAME}: made by weights/page.py -->", f"<!-- end of {NAME} -->"


def page(info: weights.WeightsInfo, size: int, sha256: str, torch: dict[str, Any]) -> str:
    """The section as Markdown."""
    theirs = {row["epoch"]: row for row in torch["log"]}
    last = info.log[-1]
    rows = []
    for row in info.log:
        other = theirs.get(row["epoch"])
        cells = [str(row["epoch"]), str(row["size"]), f"{row['loss']:.4f}", f"{row['accuracy']:.2%}"]
        cells += [f"{row['test_accuracy']:.2%}", f"{row['test_top5']:.2%}"]
        cells += ["", "", ""] if other is None else [f"{other['loss']:.4f}", f"{other['accuracy']:.2%}"]
        if other is not None:
            cells.append(f"{other['test_accuracy']:.2%}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            f"`{NAME}.h5`: {size / 1e6:.1f} MB, float16, SHA-256 `{sha256}`",
            "",
            f"**{last['test_accuracy']:.2%}** of the test images (9,950, 199 classes) by the highest score, "
            f"{last['test_top5']:.2%} by one of the five highest.",
            "",
            f"![Curves of the training]({PICTURE.name})",
            "",
            "| epoch | pixels | loss | accuracy while training | test | top 5 | PyTorch: loss | accuracy | test |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def picture(info: weights.WeightsInfo, torch: dict[str, Any]) -> bytes:
    """Loss and accuracy of both engines over the epochs, readable in grey."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in info.log]
    left.plot(epochs, [row["loss"] for row in info.log], color="black", label="minicnn")
    right.plot(epochs, [row["accuracy"] for row in info.log], color="black", linestyle=":", label="minicnn, training")
    right.plot(epochs, [row["test_accuracy"] for row in info.log], color="black", label="minicnn, test")
    theirs = [row["epoch"] for row in torch["log"]]
    style: dict[str, Any] = {"linestyle": "none", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": "C1"}
    left.plot(theirs, [row["loss"] for row in torch["log"]], marker="s", label="PyTorch", **style)
    right.plot(theirs, [row["accuracy"] for row in torch["log"]], marker="s", label="PyTorch, training", **style)
    right.plot(theirs, [row["test_accuracy"] for row in torch["log"]], marker="o", label="PyTorch, test", **style)
    changes = [b["epoch"] - 0.5 for a, b in zip(info.log, info.log[1:], strict=False) if a["size"] != b["size"]]
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for x in changes:
            axes.axvline(x, color="0.8", linewidth=1, zorder=0)
        axes.set_xlabel("epoch (lines: larger images from here)")
        axes.set_ylabel(name)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def main() -> None:
    """Write picture and page."""
    path = HERE / f"{NAME}.h5"
    info, torch = weights.describe(path), json.loads(TORCH.read_text())
    assert Recipe.read(HERE / f"{NAME}.toml").epochs == len(info.log)
    content = path.read_bytes()
    start, end = MARKERS
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(start)
    text = page(info, len(content), hashlib.sha256(content).hexdigest(), torch)
    write_atomically(PICTURE, picture(info, torch))
    write_atomically(readme, f"{before}{start}\n{text}\n{end}{rest.split(end, 1)[1]}")


if __name__ == "__main__":
    main()
