"""Cohorts of subjects on Dask, with results in Zarr: work that takes hours, and may be interrupted."""

from medkernels.distributed._running import CohortError
from medkernels.distributed.cohort import Cohort, open_cohort, persistence_cohort

__all__ = ["Cohort", "CohortError", "open_cohort", "persistence_cohort"]
