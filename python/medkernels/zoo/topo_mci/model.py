"""The published network: convolutions and a linear layer, side by side, on one distance matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64, 128, 256)
POOLED_AFTER = 64  # the one max-pooling layer follows the convolution to this many channels
FLAT = 256  # outputs of the one-dimensional branch
HEAD = (128, 64, 32)


class DistanceCNN(nn.Module):
    """Tells classes apart by the distance matrix of one subject, one network and one dimension of homology.

    Parameters
    ----------
    rois : int
        Side n of the matrix, at least 2.
    outputs : int
        Classes.
    dropout : float
        After each hidden layer of the head.
    """

    def __init__(self, rois: int, outputs: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for channels in CHANNELS:
            layers += [nn.Conv2d(width, channels, kernel_size=3, padding=1), nn.ReLU()]
            if channels == POOLED_AFTER:
                layers.append(nn.MaxPool2d(2))
            width = channels
        self.branch_2d = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.branch_1d = nn.Sequential(nn.Flatten(), nn.Linear(rois * rois, FLAT))
        head: list[nn.Module] = []
        width += FLAT
        for size in HEAD:
            head += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
            width = size
        self.head = nn.Sequential(*head, nn.Linear(width, outputs))

    def forward(self, matrices: Tensor) -> Tensor:
        """Standardised matrices [B,n,n] -> logits [B,outputs]."""
        wide = self.branch_2d(matrices[:, None])  # [B,64,n,n] -> [B,64,n/2,n/2] -> [B,256,n/2,n/2] -> [B,256]
        flat = self.branch_1d(matrices)  # [B,n,n] -> [B,n*n] -> [B,256]
        logits: Tensor = self.head(torch.cat([wide, flat], dim=1))  # [B,512] -> 128 -> 64 -> 32 -> outputs
        return logits
