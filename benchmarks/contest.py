"""One test for each way to keep a model's weights: copied to a folder, run by ``measure``.

Each does what its documentation shows for data of this kind. ``task`` is what is to be done:
``task.updates`` tells those apart that have no update flag of their own.
"""

import numpy as np


def test_nnxrng(nnx_snapshot, task):
    nnx_snapshot.check(task.model)


def test_syrupy_npz(snapshot, task):
    from syrupy.extensions.single_file import SingleFileSnapshotExtension

    class Npz(SingleFileSnapshotExtension):
        file_extension = "npz"

    assert task.npz() == snapshot(extension_class=Npz)


def test_syrupy_text(snapshot, task):
    assert task.arrays == snapshot


def test_regressions(ndarrays_regression, task):
    ndarrays_regression.check(task.arrays)


def test_npz_allclose(task):
    if task.updates:
        np.savez(task.file("npz"), **task.arrays)
        return
    with np.load(task.file("npz")) as golden:
        for name, array in task.arrays.items():
            np.testing.assert_allclose(array, golden[name], rtol=1e-5)


def test_npz_equal(task):
    if task.updates:
        np.savez(task.file("npz"), **task.arrays)
        return
    with np.load(task.file("npz")) as golden:
        for name, array in task.arrays.items():
            assert np.array_equal(array, golden[name]), name


def test_safetensors(task):
    from safetensors.numpy import load_file, save_file

    if task.updates:
        save_file(task.arrays, task.file("safetensors"))
        return
    golden = load_file(task.file("safetensors"))
    for name, array in task.arrays.items():
        np.testing.assert_array_equal(array, golden[name])


def test_orbax_chex(task):
    import chex
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        if task.updates:
            checkpointer.save(task.file("orbax"), task.jax_arrays)
            return
        golden = checkpointer.restore(task.file("orbax"), task.jax_arrays)
    chex.assert_trees_all_close(task.jax_arrays, golden, rtol=1e-5)


def test_array_equal(task):
    for name, array in task.arrays.items():
        assert np.array_equal(array, task.copies[name])


def test_read(task):
    with task.file("raw").open("rb", buffering=0) as file:
        while file.readinto(task.buffer):
            pass
