"""The progress bar, by tqdm."""

from __future__ import annotations

from typing import Any


class Bar:
    """A bar over all steps of a training, with loss, accuracy and images per second.

    Parameters
    ----------
    steps : int
        How many `step` calls make it full.
    show : bool or None
        None: only if stderr is a terminal.
    done : int
        Steps that were done before: of a training that goes on.
    """

    def __init__(self, steps: int, show: bool | None, done: int = 0) -> None:
        self._bar: Any = None
        if show is False:
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=steps,
            initial=done,
            disable=None if show is None else False,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def start(self, name: str) -> None:
        """The next steps are those of `name`."""
        if self._bar is not None:
            self._bar.set_description_str(name)

    def step(self, loss: float, accuracy: float, images_per_second: float) -> None:
        """One step is done; means over the epoch so far."""
        if self._bar is not None:
            text = f"loss {loss:.3f}, accuracy {accuracy:.1%}, {images_per_second:,.0f} images/s"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
