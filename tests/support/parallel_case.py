"""The same 20 steps of plain gradient descent on whatever devices and processes there are; run as a program by tests.

python tests/support/parallel_case.py MODEL DTYPE OUT.npz
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
RATE, STEPS = 1e-3, 20


def outcome(name, dtype="float64", devices=None):
    """Gradients of step 0, losses, and parameters after the last step, of a shrunk model; all by name."""
    import jax

    with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix float64 and float32
        return _outcome(name, dtype, devices)


def _outcome(name, dtype, devices):
    import jax
    import jax.numpy as jnp
    import ml_collections
    import numpy as np
    import optax

    from itm_jax.config.fields import mutable_copy
    from itm_jax.data import pipeline
    from itm_jax.data.prepare import prepare
    from itm_jax.devices.mesh import make_mesh, own_rows, put, put_part, replicated
    from itm_jax.runs.checksums import leaf_names
    from itm_jax.training.build import augment_constants, build_run
    from itm_jax.training.step import make_train_step
    from support.runs import shrunk

    prepared = prepare(shrunk(model__name=name, data__batch_size=16, data__scenes__train=64), ["train"])
    data, config = prepared.with_text(prepared.splits[0]), mutable_copy(prepared.config)
    config.model.dtype = dtype  # a user's config may not have float64
    run = build_run(ml_collections.FrozenConfigDict(config), prepared.text, data)
    mesh = make_mesh(16, devices)
    widen = lambda x: np.asarray(x, dtype if x.dtype == np.float32 else None)  # noqa: E731
    state = jax.tree.map(widen, run.state)
    rate = optax.sgd(RATE)
    state = put(state.replace(opt_state=rate.init(state.params)), replicated(mesh))
    constants = augment_constants(run.config, run.text)
    step = make_train_step(run.model, rate, constants, run.config, constants=data.constants, warmup_steps=5)
    step = jax.jit(step, out_shardings=replicated(mesh))
    mine = own_rows(mesh, 16)
    batches = pipeline.train_batches(data, batch_size=16, seed=0, start=0, prefetch=2, part=mine)
    key = put(jax.random.key_data(jax.random.key(1)), replicated(mesh))
    key = jax.jit(jax.random.wrap_key_data, out_shardings=replicated(mesh))(key)
    names = leaf_names(state.params)
    flat = lambda tree: [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]  # noqa: E731
    begin, losses, gradients = flat(state.params), [], []
    for k in range(STEPS):
        batch = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, next(batches))
        state, metrics = step(state, put_part(batch, mesh), key)
        losses.append(float(metrics["loss"]))
        if k == 0:
            gradients = [(a - b) / RATE for a, b in zip(begin, flat(state.params), strict=True)]
    out = {f"gradient {n}": x for n, x in zip(names, gradients, strict=True)}
    out |= {f"parameter {n}": x for n, x in zip(names, flat(state.params), strict=True)}
    return out | {"losses": np.array(losses)}


def compare(a, b, tolerance=1e-5):
    """Gradients by each leaf's norm, losses, parameters by the norm of all of them; the largest difference of each."""
    import numpy as np

    assert a.keys() == b.keys()
    norm = lambda x: float(np.linalg.norm(np.ravel(x)))  # noqa: E731
    of_all = norm([norm(v) for k, v in a.items() if k.startswith("gradient")])
    worst = {"gradient": 0.0, "parameter": 0.0}
    for k, v in a.items():
        # The gradient of a bias before BatchNorm is zero but for the rounding of float32.
        if k.startswith("gradient") and norm(v) > 1e-6 * of_all:
            worst["gradient"] = max(worst["gradient"], norm(v - b[k]) / norm(v))
    names = [k for k in a if k.startswith("parameter")]
    worst["parameter"] = norm([norm(a[k] - b[k]) for k in names]) / norm([norm(a[k]) for k in names])
    worst["loss"] = float(np.max(np.abs(a["losses"] - b["losses"]) / np.abs(a["losses"])))
    assert all(x <= tolerance for x in worst.values()), worst
    assert len(a["losses"]) == STEPS
    assert np.ptp(a["losses"]) > 0
    return worst


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", sys.argv[2] == "float64")
    jax.config.update("jax_platforms", "cpu")
    from itm_jax.devices import distributed

    distributed.start()
    flags = os.environ.get("XLA_FLAGS", "")  # nothing that is imported here may add virtual devices
    found = len(jax.devices())
    result = outcome(sys.argv[1], sys.argv[2])
    assert len(jax.devices()) == found, flags
    if distributed.first():
        import numpy as np

        np.savez(sys.argv[3], **result)
    print(f"{found} devices, losses {result['losses'][:3]}")
