"""Point sets: samples that cover them and neighbours, exact, for any number of coordinates up to 64."""

from medkernels.points.ball_query import ball_query
from medkernels.points.farthest_point_sampling import farthest_point_sampling
from medkernels.points.knn import knn

__all__ = ["ball_query", "farthest_point_sampling", "knn"]
