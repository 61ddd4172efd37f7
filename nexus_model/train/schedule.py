"""Learning rate as a function of the step: linear warm-up, then half a cosine to zero."""

import math


def warmup_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """Factor in (0, 1] for a step counted from 0.

    >>> [round(warmup_cosine(step, 2, 6), 3) for step in (0, 1, 2, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    rest = max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / rest)))
