"""Make notebooks of the tutorials, and run them.

    pip install 'minicnn[tutorials]'
    python tutorials/build.py                     # all of them, with their outputs
    python tutorials/build.py 01 03               # these two
    python tutorials/build.py --no-execute        # without outputs, in a second

The sources are the numbered `.py` files beside this one, text with a `# %%` before each cell (jupytext's percent
format); the notebooks go to `tutorials/notebooks/`, which git ignores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError, DataError, MinicnnError, MissingPackageError
from minicnn.files import write_atomically

HERE = Path(__file__).resolve().parent
SOURCES = sorted(HERE.glob("[0-9][0-9]_*.py"))
SECONDS = 600  # a cell that takes longer hangs


def main(arguments: list[str] | None = None) -> int:
    """Build what the command line names; 1 after an error."""
    parser = argparse.ArgumentParser(description="Make notebooks of the tutorials, and run them.")
    parser.add_argument("names", nargs="*", help="which: 01, or 01_convolution; default all")
    parser.add_argument("--to", type=Path, default=HERE / "notebooks", help="the folder that they go to")
    parser.add_argument("--no-execute", action="store_true", help="only convert them")
    given = parser.parse_args(arguments)
    try:
        build(chosen(given.names), given.to, execute=not given.no_execute)
    except MinicnnError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def chosen(names: list[str]) -> list[Path]:
    """The sources of these names, or all."""
    for name in names:
        if not any(path.stem.startswith(name) for path in SOURCES):
            known = ", ".join(path.stem for path in SOURCES)
            raise ArgumentError("no such tutorial", called="build", seen=name, rule=f"one of {known}")
    return [path for path in SOURCES if not names or any(path.stem.startswith(name) for name in names)]


def build(sources: list[Path], folder: Path, execute: bool = True) -> None:
    """Write a notebook for each source; one that fails is not written, and stops the rest."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(sources, disable=None, leave=False)
    for source in bar:
        bar.set_description(source.stem)
        made = notebook(source)
        if execute:
            run(made, source.stem, folder)
        write_atomically(folder / f"{source.stem}.ipynb", text(made))
        bar.write(str(folder / f"{source.stem}.ipynb"), file=sys.stdout)


def notebook(source: Path) -> Any:
    """The notebook of a source, valid by nbformat's schema, without outputs."""
    jupytext, nbformat = _needed("jupytext"), _needed("nbformat")
    made = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"  # not random: the same source gives the same notebook
    made.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    made.nbformat, made.nbformat_minor = 4, 5
    nbformat.validate(made)
    return made


def run(made: Any, name: str, folder: Path) -> None:
    """Run all cells of a notebook, in a kernel of its own, and keep what they print and show."""
    nbclient = _needed("nbclient")
    _needed("ipykernel")
    client = nbclient.NotebookClient(
        made,
        timeout=SECONDS,
        startup_timeout=SECONDS,  # of a busy machine
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        raise DataError(f"a cell failed: {error.ename}: {error.evalue}", called=name) from None
    except nbclient.exceptions.CellTimeoutError:
        raise DataError("a cell hangs", called=name, rule=f"at most {SECONDS} seconds a cell") from None
    except nbclient.exceptions.DeadKernelError:
        raise DataError("the kernel died", called=name, hint="is there memory enough?") from None


def text(made: Any) -> str:
    """A notebook as the text of its file."""
    return str(_needed("nbformat").writes(made)) + "\n"


def _needed(package: str) -> Any:
    try:
        return __import__(package)
    except ImportError:
        raise MissingPackageError(
            f"{package} is not installed", called="build", hint="pip install 'minicnn[tutorials]'"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
