"""SQL that tries to get out, to forge the table's state or to stay for ever."""

import os

import pymysql
import pytest

from tests.tasks.agentbench.tables import ROWS, operate, play, replies, write

EVERYWHERE = {
    "for ever": (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
        "SELECT sum(n) FROM c"
    ),
    "much": "SELECT repeat('x', 2000000000)",
    "multiply": "SELECT count(*) FROM "
    + ", ".join(f"`my pets` p{n}" for n in range(40)),
    "two statements": "SELECT 1; DROP TABLE `my pets`",
    "long": "SELECT " + "1+" * 200_000 + "1",
}
ON_SQLITE = {
    "attach": "ATTACH DATABASE '/scratch/x' AS x",
    "attach a file of the system": "ATTACH DATABASE '/etc/passwd' AS x",
    "schema": "PRAGMA writable_schema = 1",
    "extension": "SELECT load_extension('/lib/x.so')",
    "read": "SELECT readfile('/etc/passwd')",
    "blob": "SELECT zeroblob(2000000000)",
    "printf": "SELECT printf('%.*c', 2000000000, 'x')",
    "vacuum": "VACUUM INTO '/scratch/x'",
}
ON_MARIADB = {
    "sleep": "SELECT sleep(1000)",
    "outfile": "SELECT 1 INTO OUTFILE '/tmp/loraqd-outfile'",
    "read": "LOAD DATA INFILE '/etc/passwd' INTO TABLE `my pets`",
    "read from the client": "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE `my pets`",
    "another database": "SELECT * FROM mysql.global_priv",
    "drop another": "DROP DATABASE mysql",
    "create another": "CREATE DATABASE loraqd_forged",
    "users": "CREATE USER forged",
    "rights": "GRANT ALL ON *.* TO CURRENT_USER()",
    "settings": "SET GLOBAL max_connections = 1",
    "shut down": "SHUTDOWN",
    "plug-in": "INSTALL SONAME 'ha_archive'",
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_an_attack_is_told_off_and_harms_nothing(pets, database, name):
    heard, score = replies(pets, EVERYWHERE[name], "SELECT 7", **database)
    # MariaDB itself bounds the second and the third, with an answer.
    assert len(heard[0]) < 900
    assert not heard[0].startswith("[") or database
    assert heard[1] == "[(7,)]"
    assert score.value == 0
    assert_unharmed(pets, database)


@pytest.mark.parametrize("name", ON_SQLITE)
def test_an_attack_on_sqlite_is_told_off(pets, name):
    heard, _ = replies(pets, ON_SQLITE[name], "SELECT 7")
    assert not heard[0].startswith("[")
    assert heard[1] == "[(7,)]"


@pytest.mark.parametrize("name", ON_MARIADB)
def test_an_attack_on_mariadb_is_told_off(pets, mariadb, monkeypatch, name):
    monkeypatch.setenv("LORAQD_TEST_MYSQL_URL", mariadb)
    database = {"mysql_url_env": "LORAQD_TEST_MYSQL_URL"}
    heard, _ = replies(pets, ON_MARIADB[name], "SELECT 7", **database)
    assert not heard[0].startswith("[")
    assert heard[1] == "[(7,)]"
    assert not os.path.exists("/tmp/loraqd-outfile")
    assert_unharmed(pets, database)


def test_nothing_stays_on_the_server(pets, mariadb, monkeypatch):
    monkeypatch.setenv("LORAQD_TEST_MYSQL_URL", mariadb)
    play(
        pets,
        lambda t, s: operate("DROP DATABASE x"),
        mysql_url_env="LORAQD_TEST_MYSQL_URL",
    )
    socket = mariadb.partition("unix_socket=")[2]
    with pymysql.connect(unix_socket=socket, user="root") as admin:
        cursor = admin.cursor()
        cursor.execute("SHOW DATABASES LIKE 'loraqd%'")
        assert cursor.fetchall() == ()
        cursor.execute("SELECT user FROM mysql.user WHERE user LIKE 'loraqd%'")
        assert cursor.fetchall() == ()


def assert_unharmed(pets, database):
    _, scores = play(pets, lambda task, sample: task.gold(sample), **database)
    assert [s.value for s in scores] == [1.0] * len(ROWS)


def test_a_table_under_the_old_name_is_judged_by_what_it_holds(tmp_path):
    path = write(tmp_path / "own.jsonl", ROWS[4])
    forged = operate(
        "ALTER TABLE `my pets` RENAME TO other",
        "CREATE VIEW `my pets` AS SELECT 'Tom' name, 'cat' kind, '3' age",
    )
    _, scores = play(path, lambda t, s: forged)
    assert scores[0].value == 0
