"""What the libraries' own readers find of a run: values by name, then by step."""

import json
import sqlite3
import struct
from collections import defaultdict
from contextlib import closing

from lora_qd.runs.history import replay_archives
from lora_qd.store.ledger import Ledger, mean


def by_name(triples):
    """Return values by name and step; a step that is there twice is an error."""
    found = defaultdict(dict)
    for name, step, value in triples:
        assert step not in found[name], (name, step)
        found[name][step] = value
    return dict(found)


def read_tensorboard(trackers, name="run"):
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    events = EventAccumulator(str(trackers / "tensorboard" / name))
    events.Reload()
    return by_name(
        (tag, event.step, event.value)
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    )


def read_wandb(trackers):
    from wandb.proto.wandb_internal_pb2 import Record

    triples = []
    for path in sorted((trackers / "wandb").glob("wandb/offline-run-*/*.wandb")):
        for data in leveldb_records(path.read_bytes()[7:], before=7):
            record = Record()
            record.ParseFromString(data)
            items = record.history.item
            values = {i.key or "/".join(i.nested_key): i.value_json for i in items}
            step = int(values.pop("_step", record.history.step.num))
            triples += [
                (name, step, float(value))
                for name, value in values.items()
                if not name.startswith("_")
            ]
    return by_name(triples)


def leveldb_records(data, *, before, block=32768):
    """Yield the records of a log in LevelDB's format, as .wandb files are.

    ``before`` bytes of a file's own header count in the first block.
    """
    place, whole = 0, b""
    while place < len(data):
        left = block - (place + before) % block
        if left < 7:
            place += left
            continue
        num, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + num]
        place += 7 + num
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def read_trackio(trackers, name="run"):
    triples = []
    with closing(sqlite3.connect(trackers / "trackio" / "loraqd.db")) as database:
        rows = database.execute(
            "select step, metrics from metrics where run_name = ?", (name,)
        ).fetchall()
    for step, metrics in rows:
        triples += [(key, step, value) for key, value in json.loads(metrics).items()]
    return by_name(triples)


def mlflow_client(trackers, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=(trackers / "mlflow").absolute().as_uri())


def mlflow_runs(client):
    experiment = client.get_experiment_by_name("loraqd")
    return client.search_runs([experiment.experiment_id])


def read_mlflow(trackers, monkeypatch):
    client = mlflow_client(trackers, monkeypatch)
    (run,) = mlflow_runs(client)
    return by_name(
        (name, each.step, each.value)
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    )


def read(library, trackers, monkeypatch):
    if library == "mlflow":
        return read_mlflow(trackers, monkeypatch)
    readers = {
        "tensorboard": read_tensorboard,
        "wandb": read_wandb,
        "trackio": read_trackio,
    }
    return readers[library](trackers)


def of_ledger(config):
    """Return what follows from the ledger: scores and archives, by name and step."""
    with Ledger(config.run / "ledger.sqlite") as ledger:
        rows = ledger.children()
    triples = []
    for row in rows:
        triples += [(f"score/{s}", row.index, v) for s, v in row.scores.items()]
        triples.append(("score/mean", row.index, mean(row.scores)))
        archives = replay_archives(rows[: row.index + 1], config).by_task
        for skill, archive in archives.items():
            stats = archive.stats()
            for name in ("coverage", "qd_score", "best"):
                value = getattr(stats, name)
                triples.append((f"archive/{skill}/{name}", row.index, value))
    return by_name(triples)
