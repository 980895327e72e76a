"""Point sets: samples that cover them, exact neighbours, what neighbours look like, and sums over them."""

from medkernels.points.ball_query import ball_query
from medkernels.points.devoxelize import devoxelize
from medkernels.points.edge_softmax import edge_softmax
from medkernels.points.farthest_point_sampling import farthest_point_sampling
from medkernels.points.gather_sum import gather_sum
from medkernels.points.grid_atoms import grid_atoms
from medkernels.points.knn import knn
from medkernels.points.local_reference_axis import local_reference_axis
from medkernels.points.rotation_invariant_features import rotation_invariant_features
from medkernels.points.voxelize import voxelize

__all__ = [
    "ball_query",
    "devoxelize",
    "edge_softmax",
    "farthest_point_sampling",
    "gather_sum",
    "grid_atoms",
    "knn",
    "local_reference_axis",
    "rotation_invariant_features",
    "voxelize",
]
