"""Point sets: samples that cover them, exact neighbours, what neighbours look like, and sums over them."""

from medkernels.points.ball_query import ball_query
from medkernels.points.edge_softmax import edge_softmax
from medkernels.points.farthest_point_sampling import farthest_point_sampling
from medkernels.points.gather_sum import gather_sum
from medkernels.points.knn import knn
from medkernels.points.local_reference_axis import local_reference_axis
from medkernels.points.rotation_invariant_features import rotation_invariant_features

__all__ = [
    "ball_query",
    "edge_softmax",
    "farthest_point_sampling",
    "gather_sum",
    "knn",
    "local_reference_axis",
    "rotation_invariant_features",
]
