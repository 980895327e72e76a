"""Redraw the pictures of the tutorials from their code: ``python docs/tutorials/pictures.py``."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

FOLDER = Path(__file__).parent


def main() -> None:
    """Run the code of render.md and show what it drew."""
    page = (FOLDER / "render.md").read_text(encoding="utf-8")
    drawn: dict = {}
    start = None
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        if "errors = []" in block:
            before, after = block.split("errors = []")
            exec(before, drawn)
            start = drawn["draw"]().detach().numpy()
            exec("errors = []" + after, drawn)
        else:
            exec(block, drawn)
    save("render-variants.png", drawn["variants"])
    fit = {"image": drawn["image"], "start": start, "after 300 steps": drawn["draw"]().detach().numpy()}
    save("render-fit.png", fit)


def save(name: str, pictures: dict) -> None:
    """Pictures [1, 3, H, W] side by side under their names."""
    figure, places = plt.subplots(1, len(pictures), figsize=(2.6 * len(pictures), 1.8), layout="constrained")
    for place, (title, image) in zip(places, pictures.items(), strict=True):
        place.imshow(np.clip(image[0].transpose(1, 2, 0), 0, 1))
        place.set_title(title, fontsize=9)
        place.set_axis_off()
    figure.savefig(FOLDER / name, dpi=90)


if __name__ == "__main__":
    main()
