"""Foreign clients of the broker: what they send, our workers run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers.run import CACHE, run_pytest
from tests.servers.table import Row

TESTS = ("tests/servers/clients",)
NODE = ("celery-node", "0.5.9")
CELERY = {"5.2.7": ("kombu<5.3", "redis<5"), "5.3.6": ("kombu<5.4", "redis<5.1"), "5.4.0": ("kombu<5.5", "redis<5.3")}
"""Older versions, each with what it was released with."""
RUST = "0.5.5"
CARGO = """[package]
name = "sender"
version = "0.0.0"
edition = "2021"

[dependencies]
celery = "=%s"
serde = { version = "1", features = ["derive"] }
tokio = { version = "1", features = ["macros", "rt"] }
"""


def rows() -> Iterator[Row]:
    """What each client's messages came to."""
    try:
        modules = _node_modules()
    except (OSError, subprocess.SubprocessError) as error:
        yield Row(NODE[0], NODE[1], "messages", f"npm or node: {type(error).__name__}", passed=None)
    else:
        yield run_pytest(*NODE, "messages", TESTS, {"TEST_NODE_MODULES": str(modules)}, "node")
    for version in CELERY:
        try:
            python = _old_celery(version)
        except (OSError, subprocess.SubprocessError) as error:
            yield Row("Celery", version, "messages", f"pip: {type(error).__name__}", passed=None)
        else:
            yield run_pytest("Celery", version, "messages", TESTS, {"TEST_OLD_CELERY": str(python)}, "older")
    try:
        sender = _rust_sender()
    except (OSError, subprocess.SubprocessError) as error:
        yield Row("Rust's celery", RUST, "refused", f"cargo: {type(error).__name__}", passed=None)
    else:
        yield run_pytest("Rust's celery", RUST, "refused", TESTS, {"TEST_RUST_SENDER": str(sender)}, "rust")


def _node_modules() -> Path:
    home = CACHE / "celery-node"
    if not (home / "node_modules" / NODE[0]).is_dir():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(home), "@".join(NODE)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return home / "node_modules"


def _old_celery(version: str) -> Path:
    home = CACHE / f"celery-{version}"
    python = home / "bin" / "python"
    if not (home / "bin" / "celery").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, stdout=sys.stderr)
        command = [str(python), "-m", "pip", "install", "-q", f"celery=={version}", *CELERY[version]]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return python


def _rust_sender() -> Path:
    """Built of `sender.rs`, as another user of the crate would."""
    home = CACHE / f"rust-celery-{RUST}"
    (home / "src").mkdir(parents=True, exist_ok=True)
    (home / "Cargo.toml").write_text(CARGO % RUST)
    shutil.copyfile(Path(__file__).with_name("sender.rs"), home / "src" / "main.rs")
    cargo = shutil.which("cargo", path=f"{os.environ.get('PATH', '')}:{Path.home()}/.cargo/bin") or "cargo"
    subprocess.run([cargo, "build", "-j", "1"], check=True, cwd=home, stdout=sys.stderr)
    return home / "target" / "debug" / "sender"
