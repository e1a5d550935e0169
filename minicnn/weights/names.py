"""Names of parameters: from those of other libraries to torchvision's, which are minicnn's. Tables, in one place."""

from __future__ import annotations
