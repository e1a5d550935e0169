"""A page must not ask other machines for anything: no script, style, picture or font of another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

ELSEWHERE = re.compile(r"\s*(https?:|wss?:|ftp:|//)", re.IGNORECASE)
FETCHED = {"src", "srcset", "data", "poster", "background", "xlink:href"}  # attributes that a browser follows by itself
LINKS = {"a", "area"}  # followed only when a reader asks for it
NAMES = {"canonical", "license", "me", "author", "alternate"}  # <link> that names, and fetches nothing
STYLE = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])\s*((?:https?:)?//[^'")\s]+)""", re.IGNORECASE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.style = tag == "style"
        given = {name: value or "" for name, value in attrs}
        for name, value in given.items():
            fetched = name in FETCHED or (
                name == "href" and tag not in LINKS and not set(given.get("rel", "").lower().split()) & NAMES
            )
            if fetched and any(ELSEWHERE.match(part) for part in (value.split(",") if name == "srcset" else [value])):
                self.found.append(f"<{tag} {name}={value!r}>")
            if name == "style":
                self.found += STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        if self.style:
            self.found += STYLE.findall(data)


def fetched_elsewhere(text: str, suffix: str = ".html") -> list[str]:
    """What a page or a style sheet would fetch from another host."""
    if suffix == ".css":
        return STYLE.findall(text)
    page = _Page()
    page.feed(text)
    return page.found


def check_site(folder: Path) -> list[str]:
    """A line for each thing that a built site would fetch from another host."""
    return [
        f"{path.relative_to(folder)}: {found}"
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".html", ".css", ".svg"}
        for found in fetched_elsewhere(path.read_text(encoding="utf-8"), path.suffix)
    ]
