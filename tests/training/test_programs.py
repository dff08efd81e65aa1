"""Programs are kept by what they were made from, and read back as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.training import backend, programs
from thalweg.training.programs import compile_program, fingerprint


@dataclass(frozen=True)
class Layer:
    units: int
    scale: np.ndarray | None = None


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    return tmp_path


def test_what_differs_has_another_fingerprint():
    long = np.zeros(5000)
    other = long.copy()
    other[2500] = 1e-12
    values = [
        1, 1.0, True, "1", None, (1,), [1], (1, 1), {"a": 1}, {"a": 2}, frozenset({"a"}),
        Layer(1), Layer(2), Layer(1, long), Layer(1, other), long, long.astype(np.float32),
        long.reshape(2, -1), (Layer(1), "x"), ("", "ab"), ("a", "b"),
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint(Layer(1, long)) == fingerprint(Layer(1, long.copy()))


def test_a_function_has_none():
    with pytest.raises(TypeError, match="function"):
        fingerprint((Layer(1), lambda x: x))


def test_a_program_is_read_back(own_cache):
    x = np.arange(4.0, dtype=np.float32)
    traced = []

    def double(x):
        traced.append(1)
        return jnp.sin(x) * 2.0

    first = compile_program(double, (x,), made_from=("double", 2.0))
    assert len(list((own_cache / "programs").iterdir())) == 1
    second = compile_program(double, (x,), made_from=("double", 2.0))
    assert len(traced) == 1
    np.testing.assert_array_equal(first.call(x), second.call(x))
    compile_program(double, (np.ones(5, np.float32),), made_from=("double", 2.0))
    compile_program(double, (x,), made_from=("double", 3.0))
    assert len(list((own_cache / "programs").iterdir())) == 3


def test_a_damaged_file_is_made_again(own_cache):
    x = np.arange(4.0, dtype=np.float32)
    compile_program(jnp.cos, (x,), made_from="cos")
    (path,) = (own_cache / "programs").iterdir()
    path.write_bytes(path.read_bytes()[:40])
    program = compile_program(jnp.cos, (x,), made_from="cos")
    np.testing.assert_allclose(program.call(x), np.cos(x), rtol=1e-6)
    assert path.stat().st_size > 40


def test_a_full_cache_loses_what_was_not_used_for_longest(own_cache, monkeypatch):
    x = np.arange(4.0, dtype=np.float32)
    compile_program(jnp.cos, (x,), made_from="old")
    (old,) = (own_cache / "programs").iterdir()
    monkeypatch.setattr(programs, "CACHE_BYTES", int(2.5 * old.stat().st_size))
    compile_program(jnp.cos, (x,), made_from="older")
    (older,) = set((own_cache / "programs").iterdir()) - {old}
    os.utime(older, (1, 1))
    compile_program(jnp.cos, (x,), made_from="new")
    left = set((own_cache / "programs").iterdir())
    assert old in left
    assert older not in left
    os.utime(old, (1, 1))
    compile_program(jnp.cos, (x,), made_from="old")
    assert old.stat().st_mtime > 1


def test_a_file_with_another_content_is_made_again(own_cache):
    x = np.arange(4.0, dtype=np.float32)
    compile_program(jnp.cos, (x,), made_from="cos")
    (path,) = (own_cache / "programs").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    program = compile_program(jnp.cos, (x,), made_from="cos")
    np.testing.assert_allclose(program.call(x), np.cos(x), rtol=1e-6)
    assert path.read_bytes() != content


def test_what_calls_other_libraries_is_not_kept(own_cache):
    # Another process would call them before they are there.
    x = np.eye(3, dtype=np.float32)
    compile_program(jnp.linalg.cholesky, (x,), made_from="cholesky")
    assert not (own_cache / "programs").exists()


def test_what_jax_has_in_its_cache_is_not_kept(own_cache):
    # Machine code that was read from one file cannot be written to another.
    code = (
        "import sys, jax, numpy as np, jax.numpy as jnp\n"
        f"jax.config.update('jax_compilation_cache_dir', {str(own_cache / 'jax')!r})\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)\n"
        "jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)\n"
        "from thalweg.training.programs import compile_program\n"
        "kept = None if sys.argv[1] == 'jax' else sys.argv[1]\n"
        "x = np.arange(4.0, dtype=np.float32)\n"
        "double = lambda x: jnp.sin(x) * 2.0\n"
        "print(compile_program(double, (x,), made_from=kept).call(x).sum())\n"
    )
    printed = []
    for name in ("jax", "own", "own"):
        run = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, check=True
        )
        printed.append(run.stdout)
    assert len(set(printed)) == 1
    assert not (own_cache / "programs").exists()


def test_what_is_kept_is_not_in_jax_cache_too(own_cache):
    x = np.arange(4.0, dtype=np.float32)
    backend.setup()
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    before = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        # Salted: the cache of the tests is shared by several runs of them.
        salt = np.float32(own_cache.stat().st_ino)
        compile_program(lambda x: jnp.tan(x) * salt, (x,), made_from="tan")
        compile_program(lambda x: jnp.tan(x) * salt, (x,))
        assert "/jax/compilation_cache/cache_hits" not in events
        compile_program(lambda x: jnp.tan(x) * salt, (x,))
        assert "/jax/compilation_cache/cache_hits" in events
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
    assert len(list((own_cache / "programs").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "file"))
    x = np.arange(4.0, dtype=np.float32)
    program = compile_program(jnp.cos, (x,), made_from="cos")
    np.testing.assert_allclose(program.call(x), np.cos(x), rtol=1e-6)


def test_sources_are_those_of_programs():
    assert len(programs._sources()) == 32
