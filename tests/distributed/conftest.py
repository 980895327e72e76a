"""One cluster of two processes for all tests, and the results of the serial path to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import medkernels as mk
from medkernels.distributed._running import environment_kept
from tests.distributed import jobs


@pytest.fixture(scope="package")
def client() -> Iterator[Client]:
    with (
        environment_kept(),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path: Path = tmp_path_factory.mktemp("expected") / "cohort.zarr"
    cohort = mk.distributed.persistence_cohort(jobs.make_series(), path, client=False, **jobs.CUT)
    return jobs.results(cohort)
