"""The tape as a drawing: operations from top to bottom, what flows between them, shapes, parameters, gradients' norms.

svg = draw(record(model, images, labels))
"""

from minicnn.study.graph.svg import draw

__all__ = ["draw"]
