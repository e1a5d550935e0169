"""Floor 5: weight files. HDF5 is the home format (`hdf5.py`); `safety.py` looks at a file before it is believed.

`save` and `read` work on state dicts, `load` on a network, with a report of what was found (`report.py`);
`transforms` gives what a file says about preparing images (`preprocessing.py`).

Files of other libraries are read by `importers/`, their names matched by tables (`names.py`, `matching.py`), and their
arrays turned into ours (`importing.py`); `minicnn.models.import_weights` puts it together.
"""

from minicnn.weights.embedded import available, find
from minicnn.weights.hdf5 import describe, read, save, shapes
from minicnn.weights.info import WeightsInfo
from minicnn.weights.preprocessing import transforms
from minicnn.weights.report import LoadReport, load, match

__all__ = [
    "LoadReport",
    "WeightsInfo",
    "available",
    "describe",
    "find",
    "load",
    "match",
    "read",
    "save",
    "shapes",
    "transforms",
]
