"""Floor 4: optimizers. Each is the few lines of its formula; trajectories equal PyTorch's, step for step.

| optimizer | idea |
|---|---|
| `SGD` | down the gradient; with momentum, or Nesterov's. On one batch of all samples: gradient descent |
| `Adagrad` | divided by the root of the sum of all squared gradients so far |
| `RMSprop` | divided by the root of their mean over the last steps |
| `Adam` | the mean gradient of the last steps, divided by that root |
| `AdamW` | Adam, and a weight decay of its own |
| `Adamax` | Adam, with the largest gradient in place of that root |

In their formulas w is a parameter, g its gradient, t the number of the step (from 1). Parameters without a gradient
(frozen ones) are passed over: nothing moves them, weight decay included. The steps themselves are compiled
(`minicnn.ops.updates`).

Besides: `lr_scheduler`, learning rates that change; `EMA`, the mean of the weights over the last steps.
"""

from minicnn.optim import lr_scheduler
from minicnn.optim.adagrad import Adagrad
from minicnn.optim.adam import Adam
from minicnn.optim.adamax import Adamax
from minicnn.optim.adamw import AdamW
from minicnn.optim.ema import EMA
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.rmsprop import RMSprop
from minicnn.optim.sgd import SGD

__all__ = ["EMA", "SGD", "Adagrad", "Adam", "AdamW", "Adamax", "Optimizer", "RMSprop", "lr_scheduler"]
