"""Who is measured, and how far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A test of ``contest`` and what to call it.

    ``once`` names the sizes at which it is so slow that it is measured once, ``not_failing`` the
    least size at which telling a difference takes it minutes. Of a ``limit`` only the check counts.
    """

    test: str
    label: str
    once: int | None = None
    not_failing: int | None = None
    limit: bool = False


OURS = "test_nnxrng"
PEERS = (
    Peer(OURS, "pytest-nnxrng"),
    Peer("test_npz_equal", "np.load + array_equal"),
    Peer("test_npz_allclose", "np.load + assert_allclose"),
    Peer("test_safetensors", "safetensors + assert_array_equal"),
    Peer("test_syrupy_npz", "syrupy, single file over npz", not_failing=25_000_000),
    Peer("test_orbax_chex", "orbax + chex.assert_trees_all_close"),
    Peer(
        "test_regressions",
        "pytest-regressions ndarrays_regression",
        once=25_000_000,
        not_failing=25_000_000,
    ),
    Peer("test_syrupy_text", "syrupy, default (text)"),
    Peer("test_array_equal", "limit: np.array_equal in memory", limit=True),
    Peer("test_read", "limit: reading the file once", limit=True),
)
EQUAL, READ, DEFAULT_SYRUPY = "test_array_equal", "test_read", "test_syrupy_text"
