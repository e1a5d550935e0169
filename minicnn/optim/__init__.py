"""Floor 4: optimizers."""

from minicnn.optim.optimizers import SGD, Adam, Optimizer

__all__ = ["SGD", "Adam", "Optimizer"]
