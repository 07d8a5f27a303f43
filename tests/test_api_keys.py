"""API keys: how they are made, kept, read from the settings and from requests, and how old songs get an owner."""

import os
import re
import subprocess
import sys

import pytest

import api_keys
from api_keys import KeyRing, given, hash_of
from config import Config
from errors import InvalidInput
from jobs.store import JobStore
from storage.owners import own, owner_of
from tests.rows import a_job
from tests.serving import ROOT

ONE, OTHER = (f"studio_{letter * 43}" for letter in "ab")  # the same in every process that tests


def test_a_key_is_known_by_its_hash_and_a_name_may_have_two() -> None:
    ring = KeyRing.parse(f"alice:{hash_of(ONE)}, alice:{hash_of(OTHER).upper()} ,bob:{'0' * 64}")
    assert [ring.name_of(key) for key in (ONE, OTHER, ONE + "x", "", "\ud800")] == ["alice", "alice", None, None, None]
    assert ring.names == {"alice", "bob"}
    assert ring
    assert not KeyRing.parse(" ")
    assert KeyRing.parse("").name_of(ONE) is None


@pytest.mark.parametrize(("text", "number"), [
    (ONE, 1), (f"alice:{ONE}", 1), (f"alice:{'0' * 64},", 2), (f"alice:{'0' * 64},bob", 2), (f":{'0' * 64}", 1),
    (f"al ice:{'0' * 64}", 1), (f"a/b:{'0' * 64}", 1), (f"{'a' * 65}:{'0' * 64}", 1), (f"alice:{'0' * 63}g", 1),
    (f"alice:{hash_of(ONE)},bob:{hash_of(ONE)}", 2),
])  # fmt: skip
def test_what_cannot_be_read_is_refused_and_not_shown(text: str, number: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        KeyRing.parse(text)
    assert caught.value.message.startswith(f"API_KEYS: entry {number} ")
    assert not re.search(r"[0-9a-f]{20}|studio_.", caught.value.message)


HOST = {"HTTP_HOST": "studio.example:8443", "HTTP_COOKIE": f"a=b; {api_keys.COOKIE}=c"}


@pytest.mark.parametrize(("environ", "auth", "key"), [
    ({"HTTP_AUTHORIZATION": "bearer  k "}, None, "k"),
    ({"HTTP_X_API_KEY": "k"}, {"api_key": "j"}, "k"),
    ({"HTTP_AUTHORIZATION": "Bearer wrong"} | HOST, None, "wrong"),
    ({"HTTP_AUTHORIZATION": "Basic abc"} | HOST, None, "c"),
    (HOST, {"api_key": "j"}, "j"),
    (HOST, {"api_key": 7}, "c"),
    (HOST, "j", "c"),
    ({}, {"token": "j"}, None),
    (HOST | {"HTTP_ORIGIN": "https://studio.example:8443"}, None, "c"),
    (HOST | {"HTTP_ORIGIN": "https://studio.example"}, None, None),
    (HOST | {"HTTP_ORIGIN": "null"}, None, None),
    (HOST | {"HTTP_ORIGIN": "http://[::1"}, None, None),
    (HOST | {"HTTP_ORIGIN": "http://behind.a.proxy", "HTTP_SEC_FETCH_SITE": "same-origin"}, None, "c"),
    (HOST | {"HTTP_SEC_FETCH_SITE": "none"}, None, "c"),
    (HOST | {"HTTP_SEC_FETCH_SITE": "same-site"}, None, None),
    (HOST | {"HTTP_SEC_FETCH_SITE": "cross-site"}, None, None),
])  # fmt: skip
def test_where_a_key_is_looked_for(environ: dict[str, str], auth: object, key: str | None) -> None:
    assert given(environ, auth) == key


def command(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run the module as an operator does."""
    return subprocess.run([sys.executable, "-m", "api_keys", *arguments], cwd=ROOT, env=os.environ | settings,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip


def test_a_key_is_made_and_shown_with_what_to_set() -> None:
    ran = command("new", "alice")
    key, setting = re.findall(r"^(studio_\S{43}|API_KEYS=\S+)$", ran.stdout, re.MULTILINE)
    assert KeyRing.parse(setting.removeprefix("API_KEYS=")).name_of(key) == "alice"
    assert (ran.returncode, ran.stderr) == (0, "")
    refused = command("new", "a,b")
    assert refused.returncode == 1
    assert "'a,b' is no name" in refused.stderr


def test_what_nobody_owns_is_adopted_and_nothing_else(store: JobStore, config: Config) -> None:
    job, hers = store.create(a_job())[0], store.seen_by("bob").create(a_job())[0]
    again = store.create(a_job(file_id=job.file_id, model="whisper"))[0]
    settings = {"OUTPUT_FOLDER": str(config.output_folder), "DATABASE_URL": str(store.database.engine.url),
                "API_KEYS": f"alice:{hash_of(ONE)}"}  # fmt: skip
    assert "'mallory' is no name in API_KEYS" in command("adopt", "mallory", **settings).stderr
    ran = command("adopt", "alice", **settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("1 songs")
    assert {each.id for each in store.seen_by("alice").find()} == {job.id, again.id}
    assert [each.id for each in store.seen_by("bob").find()] == [hers.id]


def test_one_id_has_one_owner(store: JobStore) -> None:
    from errors import NotFound

    mine, nobodys = store.seen_by("alice").create(a_job())[0], store.create(a_job())[0]
    for job in (mine, nobodys):
        with pytest.raises(NotFound):
            store.seen_by("bob").create(a_job(file_id=job.file_id, parameters={"shifts": 2}))
        with pytest.raises(NotFound):
            store.seen_by("bob").create(a_job(file_id=job.file_id))
    with store.database.writing() as connection:
        assert [owner_of(connection, job.file_id) for job in (mine, nobodys)] == ["alice", None]
        own(connection, nobodys.file_id, None)
    store.create(a_job(file_id=mine.file_id, model="whisper"))
    assert store.seen_by("alice").count() == 2, "without keys one works on what has an owner, and it stays his"
