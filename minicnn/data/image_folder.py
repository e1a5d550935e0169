"""Photographs on disk, one sub-folder a class: the same files, order and labels as torchvision's `ImageFolder`.

::

    root/ants/0013035.jpg        class 0, "ants"
    root/ants/nest/a.png         class 0: sub-folders of a class belong to it
    root/bees/1092977343.jpg     class 1, "bees"

Two differences: a symbolic link that leads out of `root` is not followed; such links are listed in `.skipped_links`.
And photographs are turned upright as their EXIF data say (`exif=False`: as they are stored, torchvision's way).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minicnn.data.image_files import ImageFiles
from minicnn.data.images import shown
from minicnn.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder(ImageFiles):
    """A data set of image files; `dataset[i]` is (transformed image, label).

    Parameters
    ----------
    root : str or path
        Folder with one sub-folder a class.
    transform : callable, optional
        From an RGB `PIL.Image` to what the network wants; see `minicnn.data.transforms`.
    exif : bool
        Turn photographs upright as their EXIF data say.
    skip_bad : bool
        Leave out files that cannot be read. All files are decoded once for that, now, so that the number and the order
        of the samples do not change later. Without it, such a file is an error when it is read.
    progress : bool, optional
        Whether that check shows a progress bar; None: if it takes over two seconds and stderr is a terminal.

    Attributes
    ----------
    classes : list of str
        Names of the sub-folders, sorted.
    class_to_idx : dict
        Label of each class.
    samples : list of (path, label)
        All images: classes in order, within a class sorted by folder, then by name.
    targets : list of int
        Label of each image.
    skipped_links : list of str
        Links out of `root`, and links to a folder above themselves, which were not followed.
    skipped : list of (path, reason)
        Files that `skip_bad` left out, and why.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        *,
        exif: bool = True,
        skip_bad: bool = False,
        progress: bool | None = None,
    ) -> None:
        self.root = os.path.expanduser(os.fspath(root))
        self.skipped_links: list[str] = []
        self.classes = self._find_classes()
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        samples = [
            (path, label)
            for name, label in self.class_to_idx.items()
            for path in self._find_images(os.path.join(self.root, name))
        ]
        super().__init__(samples, self.classes, transform, exif=exif, skip_bad=skip_bad, progress=progress)
        self._check_classes()

    def __repr__(self) -> str:
        links = f", {len(self.skipped_links)} links not followed" if self.skipped_links else ""
        return f"ImageFolder({self.root!r}, {self._counts()}{links})"

    # ---- what is in the folder --------------------------------------------------------------------------------------

    def _find_classes(self) -> list[str]:
        try:
            with os.scandir(self.root) as entries:
                folders = sorted(entry.name for entry in entries if entry.is_dir())
        except OSError as error:
            raise DataError(
                "the folder cannot be read",
                called=f"ImageFolder {shown(self.root)}",
                seen=error.strerror or type(error).__name__,
                rule="a folder with one sub-folder a class",
                hint="check the path",
            ) from None
        classes = [name for name in folders if not self._is_skipped(os.path.join(self.root, name))]
        if not classes:
            images = sum(_is_image(name) for name in os.listdir(self.root))
            raise DataError(
                "no class folders",
                called=f"ImageFolder {shown(self.root)}",
                seen=f"{images} images right in the folder, {self._links()}",
                rule="one sub-folder a class, with the images of the class in it",
                hint="make a sub-folder for each class and move the images there",
            )
        return classes

    def _find_images(self, class_folder: str) -> Iterator[str]:
        for folder, names in sorted(self._walk(class_folder)):
            for name in sorted(names):
                path = os.path.join(folder, name)
                if _is_image(name) and not self._is_skipped(path):
                    yield path

    def _walk(self, class_folder: str) -> Iterator[tuple[str, list[str]]]:
        """Every folder of a class once, with its file names; linked folders come last, so that circles end."""
        visited: set[str] = set()
        starts = [class_folder]
        while starts:
            for folder, folders, names in os.walk(starts.pop(0), onerror=self._unreadable):
                if os.path.realpath(folder) in visited:
                    folders.clear()
                    continue
                visited.add(os.path.realpath(folder))
                folders.sort()  # os.walk goes on in this order: the same on every file system
                links = (os.path.join(folder, name) for name in folders)
                starts += [link for link in links if os.path.islink(link) and not self._is_skipped(link)]
                yield folder, names

    def _is_skipped(self, path: str) -> bool:
        """Whether `path` is a link that must not be followed; it is noted then."""
        if not os.path.islink(path):
            return False
        target, here = Path(os.path.realpath(path)), Path(os.path.realpath(os.path.dirname(path)))
        inside = target.is_relative_to(os.path.realpath(self.root))
        if inside and not here.is_relative_to(target):
            return False
        self.skipped_links.append(path)
        return True

    def _unreadable(self, error: OSError) -> None:
        raise DataError(
            "a folder cannot be read",
            called=f"ImageFolder {shown(error.filename)}",
            seen=error.strerror or type(error).__name__,
            hint="check its permissions",
        )

    def _check_classes(self) -> None:
        found = set(self.targets)
        empty = [name for name, label in self.class_to_idx.items() if label not in found]
        if empty:
            raise DataError(
                f"no image in {'class' if len(empty) == 1 else 'classes'} {', '.join(map(shown, empty[:5]))}",
                called=f"ImageFolder {shown(self.root)}",
                seen=f"{len(self.classes)} class folders, {len(empty)} of them without an image, {self._links()}"
                + (f", {len(self.skipped)} files skipped, first {self.skipped[0][1]}" if self.skipped else ""),
                rule=f"at least one image a class; extensions {' '.join(EXTENSIONS)}",
                hint="add images, or remove the folder if it is no class",
            )

    def _links(self) -> str:
        return f"{len(self.skipped_links)} links not followed (out of the folder, or in a circle)"


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)
