"""What all pictures of a training share: a figure without a window, lines to be told apart in grey, safe text, PNG.

They are drawn without pyplot, so that nothing global changes.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

# From light to dark, so that the lines keep their order of brightness in grey; the last one is the one that counts.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#e69f00", "linestyle": ":", "marker": "s"},
    {"color": "#0099d4", "linestyle": "--", "marker": "^"},
    {"color": "#1a1a1a", "linestyle": "-", "marker": "o"},
)


def figure(width: float, height: float) -> Any:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def tidy(axes: Any, x: str, y: str, title: str = "") -> None:
    """Names of the axes, a light grid, and no frame above and on the right."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=11)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def percent() -> Any:
    """0.5 as 50%."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1, decimals=0)


def png(drawn: Any) -> bytes:
    """A figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # a class name in a script that the font does not have is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph")
        drawn.savefig(buffer, format="png")
    return buffer.getvalue()


def safe(text: str, longest: int) -> str:
    """Text that matplotlib draws as it stands: one line, not too long, no mathematics between dollars."""
    text = " ".join(text.split())
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("$", r"\$")
