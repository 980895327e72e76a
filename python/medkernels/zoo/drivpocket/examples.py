"""Five proteins with ligands that come with the package, from the Protein Data Bank (wwpdb.org, CC0 1.0).

========= ===== ====================================================== =============================
file      entry protein                                                ligands
========= ===== ====================================================== =============================
1a82a     1A82  dethiobiotin synthetase of E. coli                     substrate DNN and ATP
1aaxa     1AAX  human protein tyrosine phosphatase 1B                  BPM, BOG and 892
1fbl      1FBL  porcine synovial collagenase (MMP-1)                   inhibitor HTA
1t7qa     1T7Q  mouse carnitine acetyltransferase, F565A               coenzyme A and carnitine (152)
2W83      2W83  human ARF6 with JIP4                                   three GTP
========= ===== ====================================================== =============================

The files ``1a82a``, ``1aaxa`` and ``1t7qa`` hold one chain of their entry, as the COACH420 data set has them.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "pdb"
NAMES = ("1a82a", "1aaxa", "1fbl", "1t7qa", "2W83")


def example(name: str) -> Path:
    """The file of one of the proteins above.

    Raises
    ------
    ValueError
        If there is no such one.
    """
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
    return FOLDER / f"{name}.pdb.gz"
