"""Metrics: true numbers in Prometheus's own format, from all processes, asked with few queries."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from prometheus_client import openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

import config
from jobs import counters
from jobs.store import JobStore
from storage.database import Database
from tests.library import NOBODYS, Library
from tests.queries import asked_here
from tests.rows import WORKER, a_job
from tests.serving import ROOT

SEPARATION = {"stage": "separation", "model": "demucs"}


class Scrape:
    """What a scrape found."""

    def __init__(self, client: FlaskClient) -> None:
        answer = client.get("/metrics")
        assert (answer.status_code, answer.mimetype) == (200, "text/plain")
        self.families = list(text_string_to_metric_families(answer.text))
        self._samples = {(sample.name, *sorted(sample.labels.items())): sample.value
                         for family in self.families for sample in family.samples}  # fmt: skip

    def __call__(self, name: str, **labels: str) -> float | None:
        """A sample's value, None when there is no such sample."""
        return self._samples.get((name, *sorted(labels.items())))


def test_every_family_says_what_it_is(client: FlaskClient, library: Library) -> None:
    library.complete(library.add_job().id, {})
    found = Scrape(client)
    names = [family.name for family in found.families]
    assert len(names) == len(set(names)) > 10
    for family in found.families:
        assert family.documentation, family.name
        assert family.type != "unknown", family.name
        assert family.name.startswith(("studio_", "process_")), family.name


def test_what_operators_are_told_to_set_and_watch_is_there(client: FlaskClient, library: Library) -> None:
    library.complete(library.add_job().id, {})
    client.get("/health")
    guide = (ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    served = {sample.name for family in Scrape(client).families for sample in family.samples}
    served |= {"studio_worker_restarts_total"}  # nothing was restarted
    named = set(re.findall(r"\bstudio_\w+", guide))
    assert len(named) > 4
    assert named <= served
    settings = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", guide))
    assert len(settings) > 10
    assert settings <= set(re.findall(r"`([A-Z_]+)`", config.table()))


def test_jobs_now_and_so_far(client: FlaskClient, library: Library) -> None:
    nothing = Scrape(client)
    for queue in ("gpu", "cpu"):
        assert nothing("studio_queue_depth", queue=queue) == nothing("studio_workers", queue=queue) == 0
    song = library.add_song()
    library.add_stems(song, vocals=b"la")
    library.fail(library.add_job().id)
    waiting = [library.add_job(), library.add_job()]
    library.claim(library.add_job(queue="cpu", model="karaoke", stage="karaoke").id)
    client.post(f"/jobs/{waiting[0].id}/cancel")
    found = Scrape(client)
    assert found("studio_queue_depth", queue="gpu") == found("studio_jobs_active", queue="gpu", status="queued") == 1
    assert found("studio_jobs_active", queue="cpu", status="running") == 1
    assert found("studio_jobs_active", queue="gpu", status="running") == 0
    for status in ("completed", "failed", "cancelled"):
        assert found("studio_jobs_total", **SEPARATION, status=status) == 1
    assert found("studio_job_seconds_count", **SEPARATION) == 1
    assert 0 <= (found("studio_job_seconds_sum", **SEPARATION) or -1) < 10


def test_what_has_happened_stays_counted_when_its_song_is_removed(client: FlaskClient, library: Library) -> None:
    song = library.add_song()
    library.add_stems(song, vocals=b"la")
    assert client.delete(f"/songs/{song}").status_code == 200
    assert Scrape(client)("studio_jobs_total", **SEPARATION, status="completed") == 1


def test_workers_their_memory_models_loads_and_restarts(client: FlaskClient, library: Library) -> None:
    for number in (1, 2):
        info = {"loaded": [["demucs", "htdemucs"], ["whisper", "tiny"]][:number], "resident_bytes": 1000}
        library.store.beat(f"{WORKER}-{number}", "gpu", info)
    library.store.tally(counters.MODEL_LOADS, 2.5, model="demucs", variant="htdemucs")
    library.store.tally(counters.MODEL_LOADS, 0.5, model="demucs", variant="htdemucs")
    library.store.tally(counters.WORKER_RESTARTS, queue="gpu")
    found = Scrape(client)
    assert (found("studio_workers", queue="gpu"), found("studio_workers", queue="cpu")) == (2, 0)
    assert found("studio_workers_resident_memory_bytes", queue="gpu") == 2000
    assert found("studio_models_loaded", model="demucs", variant="htdemucs") == 2
    assert found("studio_models_loaded", model="whisper", variant="tiny") == 1
    assert found("studio_model_load_seconds_count", model="demucs", variant="htdemucs") == 2
    assert found("studio_model_load_seconds_sum", model="demucs", variant="htdemucs") == 3
    assert found("studio_worker_restarts_total", queue="gpu") == 1
    assert (found("process_resident_memory_bytes") or 0) > 1e6


def test_requests_go_by_their_route_whatever_clients_invent(client: FlaskClient) -> None:
    for path in ("/health", "/health", f"/status/{NOBODYS}", "/status/x", *(f"/nope/{n}" for n in range(5))):
        client.get(path)
    client.open("/health", method="BREW")
    found = Scrape(client)
    assert found("studio_http_requests_total", method="GET", route="/health", status="200") == 2
    assert found("studio_http_request_seconds_count", method="GET", route="/health") == 2
    assert found("studio_http_requests_total", method="GET", route="/status/<file_id>", status="404") == 2
    assert found("studio_http_requests_total", method="GET", route="unknown", status="404") == 5
    assert found("studio_http_requests_total", method="other", route="unknown", status="405") == 1


def test_a_scrape_asks_a_fixed_number_of_times(client: FlaskClient, library: Library) -> None:
    asked = asked_here(library.store.database.engine)
    for stage in ("separation", "transcription", "karaoke"):
        for _ in range(5):
            library.fail(library.add_job(stage=stage).id)
    asked.clear()
    Scrape(client)
    assert len(asked) == 3


def test_openmetrics_for_who_asks_for_it(client: FlaskClient, library: Library) -> None:
    library.complete(library.add_job().id, {})
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.mimetype == openmetrics.exposition.CONTENT_TYPE_LATEST.partition(";")[0]
    assert list(openmetrics_parser.text_string_to_metric_families(answer.text))


def test_two_apps_in_one_process_count_apart(app: OpenAPI, reader: FlaskClient) -> None:
    before = Scrape(reader)("studio_http_requests_total", method="GET", route="/status", status="200")
    app.test_client().get("/status")
    assert Scrape(reader)("studio_http_requests_total", method="GET", route="/status", status="200") == before


def test_processes_that_count_at_once_lose_nothing(store: JobStore) -> None:
    url = store.database.engine.url.render_as_string()
    stores = [JobStore(Database(url)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda n: stores[n % 4].tally(counters.WORKER_RESTARTS, 1.0, queue="gpu"), range(40)):
            pass
    with store.database.reading() as connection:
        assert counters.read(connection) == [counters.Counter(counters.WORKER_RESTARTS, {"queue": "gpu"}, 40, 40.0)]
    for each in stores:
        each.database.close()


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_job_that_was_cancelled_is_counted_when_it_has_ended(library: Library, status: str) -> None:
    job = library.store.create(a_job())[0]
    if status == "running":
        library.claim(job.id)
    library.store.request_cancel(job.id, [])
    with library.store.database.reading() as connection:
        assert len(counters.read(connection)) == (1 if status == "queued" else 0)
