from __future__ import annotations

import subprocess
import sys


def test_the_import_is_light():
    code = (
        "import sys, minicnn.training;"
        "print(*sorted({'sklearn', 'matplotlib', 'tqdm', 'numba', 'PIL', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
