"""A package of somebody else brings a table and a profiler, and the contract checks both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_table import make_table

from latency_tables import write_table

SETUP = """
from setuptools import setup
setup(
    name="phone-tables",
    version="1",
    packages=["phone_tables"],
    package_data={"phone_tables": ["*.toml", "*.csv"]},
    entry_points={"evounet.latency_tables": ["phone = phone_tables:TABLE"]},
)
"""
PACKAGE = """
from pathlib import Path
TABLE = Path(__file__).parent / "phone.toml"
"""
CONTRACT = """
import time
import pytest
from latency_tables import BlockProfiler, load_table
from latency_tables.contract import ProfilerContract, TableContract

class TestPhone(TableContract):
    @pytest.fixture
    def table(self):
        return load_table("phone")

class Sleeper(BlockProfiler):
    def describe(self):
        return dict(device="a phone", chip="P1", os="PhoneOS 1", runtime="sleep",
                    runtime_version="1", precision="fp16", threads=None, compute_unit="npu",
                    memory_format="contiguous", compiled=True)
    def prepare(self, signature):
        return lambda: time.sleep(1e-4)

class TestSleeper(ProfilerContract):
    @pytest.fixture
    def profiler(self):
        return Sleeper()
"""


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the package into."""
    source = tmp_path_factory.mktemp("source")
    (source / "setup.py").write_text(SETUP)
    (source / "phone_tables").mkdir()
    (source / "phone_tables" / "__init__.py").write_text(PACKAGE)
    write_table(make_table(name="phone"), source / "phone_tables")
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", f"--target={target}", str(source)], check=True)
    return target


def test_it_runs_the_contract_on_what_it_brings(installed: Path, tmp_path: Path) -> None:
    """In a folder outside of the repository."""
    (tmp_path / "test_phone.py").write_text(CONTRACT)
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout
    assert "9 passed" in answer.stdout
