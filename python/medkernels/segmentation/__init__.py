"""From the logits of a segmentation network to labels and losses, without the upsampled logits."""

from medkernels.segmentation.upsample_argmax import upsample_argmax
from medkernels.segmentation.upsample_dice_ce import upsample_dice_ce

__all__ = ["upsample_argmax", "upsample_dice_ce"]
