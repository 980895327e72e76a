"""Numbers as reports print them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_SUPERSCRIPT = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def format_value(value: object) -> str:
    """Text of a value as reports show it: floats to four significant digits, thousands set apart.

    Examples
    --------
    >>> format_value(0.0123456), format_value(True), format_value(12345)
    ('0.01235', 'yes', '12\u202f345')
    """
    if value is None:
        return "\u2013"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return _typeset(f"{int(value):,}")
    if not isinstance(value, (float, np.floating)):
        return str(value)
    return _format_float(float(value), _decimals(float(value)))


def format_column(values: Sequence[object]) -> list[str]:
    """Texts of a column: numbers of like size get the same number of decimals."""
    sizes = [abs(float(v)) for v in values if isinstance(v, (float, np.floating)) and math.isfinite(v) and v]
    if not sizes or max(sizes) > 1e3 * min(sizes):
        return [format_value(value) for value in values]
    decimals = _decimals(max(sizes))
    return [
        _format_float(float(value), decimals)
        if isinstance(value, (float, np.floating))
        else format_value(value)
        for value in values
    ]


def _decimals(number: float) -> int:
    """Decimals that show four significant digits."""
    if number == 0 or not math.isfinite(number):
        return 0
    return max(0, 3 - math.floor(math.log10(abs(number))))


def _format_float(number: float, decimals: int) -> str:
    if number != 0 and math.isfinite(number) and not 1e-4 <= abs(number) < 1e7:
        digits, power = f"{number:.3e}".split("e")
        return f"{_typeset(digits)}\u202f\u00d7\u202f10{str(int(power)).translate(_SUPERSCRIPT)}"
    return _typeset(f"{number:,.{decimals}f}")


def _typeset(number: str) -> str:
    return number.replace("-", "\u2212").replace(",", "\u202f")


def is_number(value: object) -> bool:
    """Whether a value is a number; truth values are not."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
