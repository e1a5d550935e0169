"""Convolution on the GPU: tiles divided among warps, in sizes chosen by layer (`warps.cu`); float32: the default."""

from __future__ import annotations

import functools

from minicnn.ops.conv2d.cuda_common import PROCESSORS, grad_bias, tiles
from minicnn.ops.conv2d.cuda_product import Rung, Tile, Work
from minicnn.ops.conv2d.cuda_product import supports_aligned as supports

__all__ = ["forward", "fused", "grad_bias", "grad_input", "grad_weight", "supports"]

ENOUGH_WARPS = 8  # on a processor, two for each of its schedulers: with fewer it waits
DEPTH = 16  # of a step, as in warps.cu
SHORTEST = 8  # steps of a part: fewer would hardly pay for its beginning and end
MOST_PARTS = 256
# In the time of one product: what it costs to write a number and read it again, and to launch the sum of the parts.
EXTRA_NUMBER, EXTRA_LAUNCH = 40, 6e7


def _tile(rows: int, columns: int, warp_rows: int) -> Tile:
    threads = rows // warp_rows * (columns // 32) * 32
    return Tile(rows, columns, threads, (("ROWS", rows), ("COLUMNS", columns), ("WARP_ROWS", warp_rows)))


# With the share of a processor's products that each reaches: estimates from the instructions that its loop takes.
RATES = {_tile(128, 128, 64): 0.80, _tile(128, 64, 64): 0.77, _tile(64, 64, 32): 0.65, _tile(64, 32, 32): 0.58}


def seconds(tile: Tile, parts: int, work: Work) -> float:
    """How long a pass takes, in units of one product on the whole GPU."""
    blocks = tile.blocks(work.rows, work.columns) * work.remainders * parts
    steps = tiles(tiles(work.depth, DEPTH), parts)
    each = max(1, tiles(blocks, PROCESSORS))  # blocks of the processor that has most
    busy = min(1, min(each, 512 // tile.threads) * tile.threads / 32 / ENOUGH_WARPS)
    products = each * PROCESSORS * tile.rows * tile.columns * steps * DEPTH / (RATES[tile] * busy)
    if parts == 1:
        return products
    return products + EXTRA_NUMBER * parts * work.rows * work.remainders * work.columns + EXTRA_LAUNCH


@functools.lru_cache(4096)
def plan(rung: Rung, work: Work) -> tuple[Tile, int]:
    """The tile and the number of parts that cost least; only the layer decides, never the GPU."""
    most = max(1, min(MOST_PARTS, tiles(work.depth, DEPTH) // SHORTEST))
    choices = ((tile, parts) for tile in rung.tiles for parts in range(1, most + 1))
    return min(choices, key=lambda choice: seconds(choice[0], choice[1], work))


RUNG = Rung("warps", tuple(RATES), aligned=True, extra=1, plan=plan)
forward, fused, grad_input, grad_weight = RUNG.forward, RUNG.fused, RUNG.grad_input, RUNG.grad_weight
