"""What is installed is what the lock files say, and both distributions are whole."""

import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pictord

ROOT = Path(__file__).parents[2]
STUBS = sorted(path.stem for path in (ROOT / "clients/python/pictor/v1").glob("*_pb2*.py"))


def pinned(lock):
    """Name → requirement of every package that a lock file pins."""
    lines = (line.split("\\")[0] for line in (ROOT / lock).read_text().splitlines() if line[:1].isalnum())
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def version_of(requirement):
    """The one version that a pin allows."""
    (specifier,) = requirement.specifier
    return specifier.version


def wanted(pyproject):
    """What a distribution asks for, without our own other one; with the extra that is installed beside it."""
    project = tomllib.loads((ROOT / pyproject).read_text())["project"]
    dependencies = [*project["dependencies"], *project["optional-dependencies"].get("cli", ())]
    return [requirement for requirement in map(Requirement, dependencies) if requirement.name != "pictor"]


def test_client_and_server_are_installed_in_the_version_of_the_source():
    """They and the load harness are released together, under the version that the package itself names."""
    versions = {name: metadata.version(name) for name in ("pictor", "pictor-loadtest", "pictord")}

    assert set(versions.values()) == {pictord.__version__}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_environment_has_the_locked_versions(lock):
    """Every package that the lock pins for this platform is installed in that version."""
    locked = {
        name: version_of(pin) for name, pin in pinned(lock).items() if pin.marker is None or pin.marker.evaluate()
    }

    installed = {name: metadata.version(name) for name in locked}

    assert installed == locked


def test_both_lock_files_agree():
    """What runs in production is what was tested: the development lock pins everything alike, and more."""
    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")

    assert {name: str(development.get(name)) for name in runtime} == {name: str(pin) for name, pin in runtime.items()}


@pytest.mark.parametrize("pyproject", ["pyproject.toml", "clients/python/pyproject.toml"])
def test_the_lock_pins_what_the_distribution_asks_for(pyproject):
    """A dependency added or raised without `make lock` is noticed here."""
    runtime = pinned("requirements.lock")

    loose = [
        str(want)
        for want in wanted(pyproject)
        if (pin := runtime.get(canonicalize_name(want.name))) is None
        or not want.specifier.contains(version_of(pin), prereleases=True)
    ]

    assert loose == []


@pytest.mark.parametrize("stub", STUBS)
def test_the_stubs_import(stub):
    """The generated code runs on the installed protobuf and grpcio."""
    assert import_module(f"pictor.v1.{stub}").__name__ == f"pictor.v1.{stub}"


@pytest.mark.parametrize("command", ["pictor", "pictord"])
def test_the_commands_exist(command):
    """Each distribution brings its command."""
    (entry,) = metadata.entry_points(group="console_scripts", name=command)

    assert callable(entry.load())
