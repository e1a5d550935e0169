"""Floor 1: where arrays live and how kernels are compiled. Knows no operation."""
