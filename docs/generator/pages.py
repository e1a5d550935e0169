"""Pages and files of the site before they are built, and where the parts of the repository lead to on it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = {".png", ".svg", ".json", ".txt", ".csv", ".py", ".cu", ".cuh", ".h5", ".toml", ".yaml", ".yml", ""}


class BrokenLinkError(Exception):
    """A link of a page that leads nowhere."""


@dataclass(frozen=True)
class Page:
    """A page that is generated.

    Attributes
    ----------
    path : str
        Where it lies on the site, `"operations/conv2d.md"`.
    title : str
        What the navigation calls it.
    text : str
        Markdown.
    """

    path: str
    title: str
    text: str


@dataclass
class Site:
    """All generated pages, and the files of the repository that they show or link to.

    Attributes
    ----------
    pages : dict
        By path.
    files : dict
        Path on the site to path of the file that is copied.
    places : dict
        Path in the repository to the page that shows it.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, page: Page) -> None:
        """Take a page; two of one path are a mistake."""
        if page.path in self.pages:
            raise ValueError(f"two pages are called {page.path}")
        self.pages[page.path] = page

    def link(self, target: str, source: str, page: str) -> str:
        """Where a link of a file of the repository leads to on the site.

        Parameters
        ----------
        target : str
            As the file has it: relative to the file's own folder, perhaps with an anchor.
        source : str
            Path of the file in the repository.
        page : str
            The page on which the file is shown.

        Returns
        -------
        str
            Relative to the page.

        Raises
        ------
        BrokenLinkError
            Neither page nor file.
        """
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return target
        name, anchor, fragment = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
        found = self.places.get(place) or self.places.get(f"{place}/README.md") or self._copy(place)
        if found is None:
            raise BrokenLinkError(f"{source}: {target} leads to no page and no file of the site")
        return posixpath.relpath(found, posixpath.dirname(page) or ".") + anchor + fragment

    def _copy(self, place: str) -> str | None:
        path = ROOT / place
        if place.startswith("..") or not path.is_file() or path.suffix not in COPIED:
            return None
        self.files[f"files/{place}"] = path
        return f"files/{place}"

    def linked(self, text: str, source: str, page: str) -> str:
        """Markdown of the repository's file `source` with its links leading to the site's pages and files."""
        code_or_link = re.compile(r"^```.*?^```$|`[^`\n]+`|\]\(([^)\s]+)\)", re.MULTILINE | re.DOTALL)
        return code_or_link.sub(lambda m: f"]({self.link(m[1], source, page)})" if m[1] else m[0], text)
