"""Sharpen an explanation by descending on the ellipses of one image.

The network proposes all ellipses in one pass; with a renderer this quick it costs seconds to let them settle
on the image. This step is not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medkernels.zoo.asr.losses import Objective, objective
from medkernels.zoo.asr.model import ASR, Code, Explanation

RATE = 0.1  # Adam's step on raw parameters, which are of order 1
LATE_RATE = 0.3  # factor on it for the last 40 % of the steps
PRICE_STARTS, PRICE_FULL = 0.3, 0.6  # when the price of ellipses sets in, as shares of the steps


def refine(model: ASR, image: Tensor, goal: Objective, steps: int) -> tuple[Explanation, list[float]]:
    """Descend from the network's explanation of a batch; the network itself is left as it is.

    Parameters
    ----------
    model : ASR
        In eval mode.
    image : [B,C,H,W]
        In [0,1].
    goal : Objective
        What to minimise; its price rises from 0 so that ellipses find their place before they must pay.
    steps : int
        Of Adam; 0 returns the network's own explanation.

    Returns
    -------
    tuple
        The explanation, and the mean square error before each step.
    """
    with torch.no_grad():
        code = model.encode(image)
    free = [part.detach().clone().requires_grad_() for part in (*code.scales, code.background)]
    optimizer = torch.optim.Adam(free, lr=RATE)
    errors: list[float] = []
    with torch.enable_grad():
        for step in range(steps):
            done = step / steps
            optimizer.param_groups[0]["lr"] = RATE * (1.0 if done < 0.6 else LATE_RATE)
            explanation = model.decode(Code(tuple(free[:-1]), free[-1]))
            picture = model.render(explanation, (image.shape[2], image.shape[3]))
            charge = min(1.0, max(0.0, (done - PRICE_STARTS) / (PRICE_FULL - PRICE_STARTS)))
            # Summed over images, so that each descends as if it were alone.
            terms = objective(model, picture, explanation, image, goal, charge)
            optimizer.zero_grad()
            (terms["loss"] * len(image)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            errors.append(float(terms["mse"]))
    with torch.no_grad():
        return model.decode(Code(tuple(free[:-1]), free[-1])), errors
