"""`pictord db`: what operators do with the database."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from full_disk import no_file_above
from pictord import cli
from pictord.store.database import address
from pictord.store.upkeep import upgrade


@pytest.fixture
def db(monkeypatch, capsys, tmp_path):
    """Run `pictord db …` with this environment alone; exit code and what it said."""

    def run(*words: str, **environ: str) -> tuple[int, str]:
        monkeypatch.setattr("os.environ", {"PICTOR_DATA_DIR": str(tmp_path)} | environ)
        monkeypatch.setattr(sys, "argv", ["pictord", "db", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(statement)


def test_upgrade_makes_the_tables_and_check_finds_them_sound(db, tmp_path):
    """From nothing to a database that `serve` takes; again changes nothing."""
    assert db("upgrade")[0] == 0
    assert db("upgrade")[0] == 0

    code, said = db("check")

    assert code == 0
    assert said.startswith(f"{tmp_path}/pictor.db is sound, at revision 0")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        pytest.param("DELETE FROM alembic_version", "the tables are missing; run `pictord db upgrade`", id="no tables"),
        pytest.param("UPDATE alembic_version SET version_num = '0001'", "the tables are older", id="older tables"),
        pytest.param("UPDATE alembic_version SET version_num = '9999'", "newer than this pictord", id="newer tables"),
        pytest.param("INSERT INTO scope (scope, settled, held) VALUES ('day', 0, 7)", "scope day", id="a lost hold"),
    ],
)
def test_check_names_what_is_wrong_and_exits_with_1(db, tmp_path, statement, words):
    """A sentence for each problem."""
    upgrade(address(f"sqlite:///{tmp_path}/pictor.db"))
    change(tmp_path / "pictor.db", statement)

    code, said = db("check")

    assert code == 1
    assert words in said


def test_check_says_what_is_settled_that_no_attempt_came_to(db, tmp_path):
    """Under each budget in its present window."""
    upgrade(address(f"sqlite:///{tmp_path}/pictor.db"))
    change(tmp_path / "pictor.db", "INSERT INTO budget VALUES ('ten', 'global', '', 'usd', 'day', 10, 1, '50', NULL)")
    today = "INSERT INTO scope SELECT 'usd/' || date('now', value || ' days') || '/global', 7, 0"
    change(tmp_path / "pictor.db", f"{today} FROM json_each('[0, 1]')")  # midnight may come between

    code, said = db("check")

    assert code == 1
    assert "/global: 7 is settled, its attempts came to 0; setting its budget anew counts it anew" in said


def test_a_backup_is_a_whole_database_of_its_own(db, tmp_path):
    """It can be checked like the one it was taken from, is as private, and is never written over another file."""
    db("upgrade")
    copy = tmp_path / "backup.db"

    assert db("backup", str(copy))[0] == 0
    assert {oct(file.stat().st_mode & 0o777) for file in (copy, tmp_path / "pictor.db")} == {"0o600"}

    assert db("check", PICTOR_DATABASE=f"sqlite:///{copy}")[0] == 0
    assert db("backup", str(copy)) == (2, f"pictord: {copy} is there already; name a new file\n")


def test_a_backup_that_cannot_be_written_is_a_sentence_and_leaves_nothing(db, tmp_path):
    """No folder, or no room: half a copy would be taken for a whole one."""
    db("upgrade")
    nowhere, half = tmp_path / "none" / "backup.db", tmp_path / "half.db"

    code, said = db("backup", str(nowhere))

    assert (code, said.startswith(f"pictord: {nowhere}: "), said.count("\n")) == (2, True, 1)

    words = sys.executable, "-m", "pictord.cli", "db", "backup", str(half)
    ran = subprocess.run(  # noqa: S603 - our own command
        no_file_above(50_000, *words),
        check=False,
        env={"PICTOR_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (ran.returncode, ran.stderr.startswith(f"pictord: {half}: "), ran.stderr.count("\n")) == (2, True, 1)
    assert not half.exists()


@pytest.mark.parametrize("words", [("check",), ("backup", "copy.db")])
def test_a_database_that_is_not_there_is_not_made_by_looking(db, tmp_path, words):
    """Or the wrong folder would be found sound, and backed up."""
    assert db(*words) == (2, f"pictord: {tmp_path}/pictor.db: there is no such file\n")
    assert not list(tmp_path.iterdir())


def test_a_server_is_backed_up_by_its_own_tool(db):
    """The command is named, without the password."""
    code, said = db("backup", "of today.dump", PICTOR_DATABASE="postgresql://pictor:canary@db.example/pictor")

    assert code == 2
    assert said == "pg_dump --format=custom --file='of today.dump' 'postgresql://pictor@db.example/pictor'\n"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("mysql://pictor:canary@db/pictor", id="another kind"),
        pytest.param("canary", id="no URL"),
        pytest.param("postgresql://pictor:canary@127.0.0.1:1/pictor", id="nobody there"),
        pytest.param("memory", id="no database"),
        pytest.param("sqlite:////nowhere/canary.db", id="no such folder"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(db, url):
    """Exit code 2, and the password is not in it."""
    code, said = db("check", PICTOR_DATABASE=url)

    assert code == 2
    assert said.startswith("pictord: ")
    assert said.count("\n") == 1
    assert ":canary" not in said


def test_a_server_is_upgraded_and_checked_as_a_file_is(db, postgresql):
    """The same migrations, on PostgreSQL."""
    url = postgresql.url(postgresql.new_database())

    assert db("check", PICTOR_DATABASE=url)[0] == 1
    assert db("upgrade", PICTOR_DATABASE=url)[0] == 0
    assert db("check", PICTOR_DATABASE=url)[0] == 0
