"""Settings shared by all tests."""

from __future__ import annotations

import os
import shutil

from hypothesis import HealthCheck, settings

# Triton reads this when it is first imported: without a GPU its kernels run in its interpreter.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples in every run, so that what passes here passes elsewhere; "thorough" draws new ones.
# Timing a shared machine says nothing, so examples have no deadline.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=12)
settings.register_profile(
    "thorough", parent=settings.get_profile("default"), max_examples=1000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
