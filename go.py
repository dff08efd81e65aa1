"""Make .venv beside this file, install what is needed into it, and run it. Needs Python 3.11.

    python go.py demo                    the main job on real data, with live progress
    python go.py test                    format, lint, types, house order and all tests
    python go.py test tests/optim -x     only pytest, with these arguments
    python go.py examples/xor.py         a script, with what the examples need
    python go.py fit train.csv ...       any other command of thalweg

`--no-torch` after `test` leaves out PyTorch, which the tests only compare against. Nothing is
installed again until pyproject.toml or requirements/constraints.txt changes.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(
        f"go.py: Python 3.11 or later is needed; this is {sys.version.split()[0]} "
        f"({sys.executable}): install a newer one and run it with that"
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
STAMP = VENV / "thalweg-installed.json"
# With what sentences and recordings need: a few megabytes.
PACKAGE = ".[audio,text]"
LOG = VENV / "thalweg-install.log"
NO_NETWORK = (
    "NameResolutionError",
    "NewConnectionError",
    "Temporary failure in name resolution",
    "getaddrinfo failed",
    "Network is unreachable",
    "Connection refused",
    "ConnectTimeoutError",
    "ProxyError",
)


def main(arguments: list[str]) -> int:
    """Do what the arguments ask for, and return the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    first, *rest = arguments
    if first == "test":
        install(["examples", "test", "lint", *([] if "--no-torch" in rest else ["oracles"])])
        return test([argument for argument in rest if argument != "--no-torch"])
    if first.endswith(".py"):
        install(["examples"])
        return run([str(PYTHON), *arguments], cwd=None)
    install([])
    return run([str(BIN / "thalweg"), *arguments], cwd=None)


def test(pytest: list[str]) -> int:
    """Run the checks and all tests, or pytest alone with the given arguments."""
    checks = [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["pyright", "--pythonpath", str(PYTHON)],
        ["lint-imports"],
    ]
    failed = []
    for command in [] if pytest else checks:
        name = " ".join(command[:2]) if command[0] == "ruff" else command[0]
        print(f"\n== {name}", flush=True)
        if run([str(BIN / command[0]), *command[1:]], cwd=ROOT):
            failed.append(name)
    # The whole suite is shared out over the cores.
    pytest = pytest or ["-n", str(min(4, os.cpu_count() or 1))]
    print(f"\n== {' '.join(['pytest', *pytest])}", flush=True)
    status = run([str(PYTHON), "-m", "pytest", *pytest], cwd=ROOT)
    if failed:
        print(f"go.py: failed besides the tests: {', '.join(failed)}", file=sys.stderr)
    return status or int(bool(failed))


def run(command: list[str], cwd: Path | None) -> int:
    """Run a command of the environment, with its folder first on PATH, and return its status."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}
    process = subprocess.Popen(command, cwd=cwd, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The command has had the same Ctrl-C and ends in its own way.
            continue


def install(groups: list[str]) -> None:
    """Make the environment and install the package and these dependency groups, where needed."""
    state = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    wanted = fingerprint()
    known = state.get("fingerprint") == wanted and set(groups) <= set(state["groups"])
    if known and PYTHON.exists():
        return
    groups = sorted({*groups, *state.get("groups", [])})
    make_environment()
    STAMP.unlink(missing_ok=True)
    what = "Thalweg" if not groups else f"Thalweg with what {', '.join(groups)} need"
    print(f"Installing {what} into {VENV} (once; takes a minute or two)", flush=True)
    start = time.monotonic()
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
    status = follow(
        [str(PYTHON), *pip, "-c", str(CONSTRAINTS), "-e", PACKAGE, *requirements(groups)]
    )
    if status:
        fail_to_install()
    STAMP.write_text(json.dumps({"fingerprint": wanted, "groups": groups}))
    print(f"Installed in {time.monotonic() - start:.0f} s", flush=True)


def fingerprint() -> str:
    """Return a hash of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def requirements(groups: list[str]) -> list[str]:
    """Return what the dependency groups of pyproject.toml ask for."""
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        known = tomllib.load(file)["dependency-groups"]
    items = [item for group in groups for item in known[group]]
    found = [[i] if isinstance(i, str) else requirements([i["include-group"]]) for i in items]
    return [requirement for some in found for requirement in some]


def make_environment() -> None:
    """Make .venv, or make it anew where it does not run the Python that runs this."""
    version = "import sys; print(sys.version_info[:2])"
    if PYTHON.exists():
        try:
            seen = subprocess.run(
                [str(PYTHON), "-c", version], capture_output=True, text=True, check=True
            )
            if seen.stdout.strip() == str(sys.version_info[:2]):
                return
        except (OSError, subprocess.CalledProcessError):
            pass
    if Path(sys.prefix).resolve() == VENV.resolve():
        sys.exit("go.py: .venv is of another Python; deactivate it and run go.py from outside")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        if "ensurepip" in made.stdout + made.stderr or "No module named" in made.stderr:
            major, minor = sys.version_info[:2]
            sys.exit(
                "go.py: this Python lacks venv or ensurepip; on Debian and Ubuntu: "
                f"sudo apt install python{major}.{minor}-venv"
            )
        last = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["no reason given"]
        sys.exit(f"go.py: {VENV} could not be made: {last[0]}")


def follow(command: list[str]) -> int:
    """Run pip, keep what it says in the log, and show where it is on one line of a terminal."""
    shown = sys.stdout.isatty()
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if shown:
                print(f"\r  {line.strip()[:76]:76}", end="", flush=True)
        if shown:
            print(f"\r{'':78}\r", end="", flush=True)
        return process.wait()


def fail_to_install() -> None:
    """End with the one line that says why pip failed."""
    text = LOG.read_text(encoding="utf-8", errors="replace")
    if any(sign in text for sign in NO_NETWORK):
        sys.exit(
            "go.py: the package registry cannot be reached: check the network (or pip's proxy and "
            f"index settings) and run the same command again; all that pip said is in {LOG}"
        )
    errors = [line for line in text.splitlines() if line.startswith("ERROR:")]
    last = (errors or text.strip().splitlines() or ["ERROR: it said nothing"])[-1]
    sys.exit(f"go.py: pip failed: {last.removeprefix('ERROR: ')} (all of it: {LOG})")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
