"""A page on which one walks through a recorded run: feature maps, windows, products, sums, and all of it backwards.

The page (`js/`, `widget.css`) is an anywidget, so that the same component lives in notebooks (`explore`), in the page
that `serve` shows, and in the one file that `write_page` writes. It computes products and sums in the browser from the
arrays of the recording (`Numbers`), and shows the engine's own value beside each sum.
"""

from minicnn.study.page.html import check_limit, write_page
from minicnn.study.page.notebook import Embedded, explore, explorer
from minicnn.study.page.numbers import Numbers
from minicnn.study.page.server import Server, serve

__all__ = ["Embedded", "Numbers", "Server", "check_limit", "explore", "explorer", "serve", "write_page"]
