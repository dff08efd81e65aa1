"""Optuna's relational storage (SQLite, PostgreSQL, MySQL), written in bulk.

Optuna makes the tables and says what stands in them; trials are written by a few statements for a
whole rung, where Optuna itself would use one transaction for each value. Trials are numbered under
a lock on their study's row, so that any number of processes may write to one study.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from thalweg.errors import MissingExtraError, RunError
from thalweg.study.distributions import Distribution, internal_values
from thalweg.study.records import Trial
from thalweg.study.request import without_password
from thalweg.study.store import (
    COMPLETE,
    FAIL,
    LEASE,
    LEASE_SECONDS,
    OWNER,
    PRUNED,
    RECORD,
    RUNNING,
    THIS_PROCESS,
    Choose,
    Snapshot,
    Stored,
    facts_of,
    results_of,
    state_of,
)

DRIVERS = {
    "postgresql": {"psycopg": "psycopg", "psycopg2": "psycopg2"},
    "mysql": {"MySQLdb": "mysqldb", "pymysql": "pymysql"},
}
"""Modules that talk to each kind of database, and what SQLAlchemy calls them."""
_NAMES = {"postgresql": "PostgreSQL", "mysql": "MySQL"}

OPENINGS = 10
"""How often a database is opened while another process makes its tables."""

OPENING_PAUSE_SECONDS = 0.3


class Database:
    """One study in a database.

    Args:
        url: as SQLAlchemy writes it, such as ``sqlite:///studies.db``.
        name: the study's name in it; made where there is none.
        owner: who writes.
        maximise: whether more is better.
        metric: what the trials' values are.
        distributions: what is searched.
        about: user attributes of the study.

    Raises:
        RunError: where the database cannot be reached, or the URL makes no sense.
        MissingExtraError: where the database's driver is not installed.
    """

    def __init__(
        self,
        url: str,
        name: str,
        owner: str,
        *,
        maximise: bool,
        metric: str,
        distributions: Mapping[str, Distribution],
        about: Mapping[str, Any],
    ) -> None:
        import optuna
        import sqlalchemy
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sql, self._refusal = sqlalchemy, SQLAlchemyError
        self.shown, self.name, self.owner = without_password(url), name, owner
        self.distributions = distributions
        self._texts = {key: known.to_json() for key, known in distributions.items()}
        self.snapshot = Snapshot()
        self._stale = True
        try:
            storage = _open(with_driver(url))
        except ImportError as error:
            raise MissingExtraError(
                f"the driver of {self.shown} is not installed ({error}): install it, or name "
                "another one in --storage"
            ) from None
        except (SQLAlchemyError, RuntimeError, ValueError) as error:
            raise RunError(
                f"the storage {self.shown} cannot be opened ({_first_line(error)}): start its "
                "server, or correct --storage"
            ) from None
        self.engine = storage.engine
        # The tables have no public name; in the tests Optuna reads back what is written to them.
        models = importlib.import_module("optuna.storages._rdb.models")
        self.tables: Mapping[str, Any] = models.BaseModel.metadata.tables
        self.states = optuna.trial.TrialState
        directions = optuna.study.StudyDirection
        wanted = directions.MAXIMIZE if maximise else directions.MINIMIZE
        with self._errors():
            try:
                self.study = storage.create_new_study([wanted], name)
                for key, value in {"metric": metric, **about}.items():
                    storage.set_study_user_attr(self.study, key, value)
                storage.set_study_system_attr(self.study, "study:metric_names", [metric])
            except optuna.exceptions.DuplicatedStudyError:
                self.study = storage.get_study_id_from_name(name)
            self.about: Mapping[str, Any] = storage.get_study_user_attrs(self.study)
            storage.remove_session()

    # --------------------------------------------------------------------------------- operations

    def begin(self, choose: Choose) -> None:
        """Give the chosen trials their numbers, and write that they are running."""
        sql, table = self.sql, self.tables["trials"]
        with self._writing() as connection:
            self._catch_up(connection)
            trials = choose(self.snapshot)
            last = connection.execute(
                sql.select(sql.func.max(table.c.number)).where(table.c.study_id == self.study)
            ).scalar()
            first = 0 if last is None else last + 1
            now = datetime.now()
            rows = [
                {
                    "number": first + i,
                    "study_id": self.study,
                    "state": self.states(RUNNING),
                    "datetime_start": now,
                }
                for i in range(len(trials))
            ]
            self._insert(connection, "trials", rows)
            keys = dict(
                connection.execute(
                    sql.select(table.c.number, table.c.trial_id).where(
                        table.c.study_id == self.study, table.c.number >= first
                    )
                ).all()
            )
            params, facts, owners = [], [], []
            for i, trial in enumerate(trials):
                key = keys[first + i]
                for name, value in internal_values(self.distributions, trial.config).items():
                    params.append(
                        {
                            "trial_id": key,
                            "param_name": name,
                            "param_value": value,
                            "distribution_json": self._texts[name],
                        }
                    )
                facts += _attributes(key, facts_of(trial))
                owners += _attributes(key, {OWNER: self.owner})
            self._insert(connection, "trial_params", params)
            self._insert(connection, "trial_user_attributes", facts)
            self._insert(connection, "trial_system_attributes", owners)
        for i, trial in enumerate(trials):
            trial.id = first + i
            stored = Stored(trial.id, keys[trial.id], RUNNING, self.owner)
            self.snapshot.trials[trial.id] = stored

    def report(self, trials: Sequence[Trial], finished: Sequence[Trial]) -> None:
        """Write what is new of trials, and of those among them that are finished, all."""
        seen: dict[int, int] = {}
        ended: dict[int, int] = {}
        with self._writing() as connection:
            known = self.snapshot.trials
            values, results, records, scores = [], [], [], []
            for trial in trials:
                stored = known[trial.id]
                if stored.state != RUNNING:
                    continue
                steps = trial.curve.get("step", [])[stored.seen :]
                new = trial.curve.get("validation", [])[stored.seen :]
                values += [
                    _value(stored.key, int(step), value)
                    for step, value in zip(steps, new, strict=True)
                ]
                seen[trial.id] = stored.seen + len(steps)
            for trial in finished:
                stored = known[trial.id]
                if stored.state != RUNNING:
                    continue
                state = state_of(trial) if math.isfinite(trial.score) else FAIL
                results += _attributes(stored.key, results_of(trial))
                records += _attributes(stored.key, {RECORD: trial.state()})
                if state != FAIL:
                    scores.append(
                        {
                            "trial_id": stored.key,
                            "objective": 0,
                            "value": trial.score,
                            "value_type": "FINITE",
                        }
                    )
                ended[trial.id] = state
            self._insert(connection, "trial_intermediate_values", values)
            self._insert(connection, "trial_user_attributes", results)
            self._insert(connection, "trial_system_attributes", records)
            self._insert(connection, "trial_values", scores)
            for state in (COMPLETE, PRUNED, FAIL):
                keys = [known[number].key for number, s in ended.items() if s == state]
                self._end(connection, keys, state)
        for number, count in seen.items():
            known[number].seen = count
        for number, state in ended.items():
            known[number].state = state

    def give_up(self, numbers: Sequence[int]) -> None:
        """Mark running trials as failed: nobody trains them any more."""
        with self._writing() as connection:
            known = [self.snapshot.trials[number] for number in numbers]
            running = [stored for stored in known if stored.state == RUNNING]
            self._end(connection, [stored.key for stored in running], FAIL)
        for stored in running:
            stored.state = FAIL

    def _end(self, connection: Any, keys: Sequence[int], state: int) -> None:
        table = self.tables["trials"]
        for some in _parts(keys):
            connection.execute(
                self.sql.update(table)
                .where(table.c.trial_id.in_(some))
                .values(state=self.states(state), datetime_complete=datetime.now())
            )

    def read(self) -> Snapshot:
        """Return what all owners have done."""
        with self._errors(), self.engine.begin() as connection:
            self._catch_up(connection)
        return self.snapshot

    def beat(self) -> None:
        """Renew this owner's lease."""
        self._lease(time.time() + LEASE_SECONDS)

    def close(self) -> None:
        """Give up the lease, and the connections."""
        self._lease(0.0)
        self.engine.dispose()

    def _lease(self, until: float) -> None:
        sql, table = self.sql, self.tables["study_user_attributes"]
        row = {"study_id": self.study, "key": LEASE + self.owner}
        text = json.dumps([round(until, 1), THIS_PROCESS])
        with self._errors(), self.engine.begin() as connection:
            mine = sql.and_(*(table.c[name] == value for name, value in row.items()))
            if not connection.execute(
                sql.update(table).where(mine).values(value_json=text)
            ).rowcount:
                connection.execute(sql.insert(table).values(**row, value_json=text))

    # ------------------------------------------------------------------------------------ the rows

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the database refuses into an OSError, which is tried again."""
        try:
            yield
        except self._refusal as error:
            # What was written, and what not, is not known.
            self._stale = True
            raise ConnectionError(f"the storage {self.shown}: {_first_line(error)}") from None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """Lock the study, know all that was written, and write all or nothing."""
        with self._errors(), self.engine.begin() as connection:
            studies = self.tables["studies"]
            # Any database holds this lock to the end of the transaction.
            connection.execute(
                self.sql.update(studies)
                .where(studies.c.study_id == self.study)
                .values(study_name=self.name)
            )
            if self._stale:
                self._catch_up(connection)
            yield connection

    def _insert(self, connection: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            connection.execute(self.sql.insert(self.tables[table]), rows)

    def _catch_up(self, connection: Any) -> None:
        """Read what other owners, or this one in an earlier life, have written."""
        sql, snapshot = self.sql, self.snapshot
        trials = self.tables["trials"]
        mine = trials.c.study_id == self.study
        known = {} if self._stale else snapshot.trials
        rows = connection.execute(
            sql.select(trials.c.trial_id, trials.c.number, trials.c.state).where(mine)
        ).all()
        news = {
            key: Stored(number, key, state.value, "")
            for key, number, state in rows
            if number not in known or known[number].state != state.value
        }
        attributes = self.tables["trial_system_attributes"]
        for key, name, text in self._of(connection, attributes, list(news)):
            if name == OWNER:
                news[key].owner = json.loads(text)
            elif name == RECORD:
                news[key].record = json.loads(text)
        facts: dict[int, dict[str, Any]] = {}
        for key, name, text in self._of(
            connection, self.tables["trial_user_attributes"], list(news)
        ):
            facts.setdefault(key, {})[name] = json.loads(text)
        values = self.tables["trial_intermediate_values"]
        for some in _parts(list(news)):
            for key, count in connection.execute(
                sql.select(values.c.trial_id, sql.func.count())
                .where(values.c.trial_id.in_(some))
                .group_by(values.c.trial_id)
            ):
                news[key].seen = count
        for key, stored in news.items():
            stored.facts = facts.get(key, {})
            snapshot.trials[stored.number] = stored
        table = self.tables["study_user_attributes"]
        for name, text in connection.execute(
            sql.select(table.c.key, table.c.value_json).where(table.c.study_id == self.study)
        ):
            if name.startswith(LEASE):
                until, process = json.loads(text)
                snapshot.leases[name.removeprefix(LEASE)] = float(until), process
        self._stale = False

    def _of(self, connection: Any, table: Any, keys: Sequence[int]) -> Iterator[Any]:
        for some in _parts(keys):
            yield from connection.execute(
                self.sql.select(table.c.trial_id, table.c.key, table.c.value_json).where(
                    table.c.trial_id.in_(some)
                )
            ).all()


def _parts(keys: Sequence[int], size: int = 500) -> list[Sequence[int]]:
    """Cut keys into lists that every database takes as arguments."""
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def _attributes(key: int, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": key, "key": name, "value_json": json.dumps(value)}
        for name, value in values.items()
    ]


def _value(key: int, step: int, value: float) -> dict[str, Any]:
    finite = math.isfinite(value)
    kind = "FINITE" if finite else "NAN" if math.isnan(value) else "INF_POS"
    if value == -math.inf:
        kind = "INF_NEG"
    return {
        "trial_id": key,
        "step": step,
        "intermediate_value": value if finite else None,
        "intermediate_value_type": kind,
    }


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def with_driver(url: str) -> str:
    """Return a URL that names an installed driver, where it names a kind of database only.

    Which driver is meant by ``postgresql://`` depends on SQLAlchemy's version; whichever is there
    does.

    Raises:
        MissingExtraError: none is installed.
    """
    kind, mark, rest = url.partition("://")
    # Some hosts still write the old name.
    kind = "postgresql" if kind == "postgres" else kind
    if not mark or kind not in DRIVERS:
        return url
    for module, name in DRIVERS[kind].items():
        if find_spec(module) is not None:
            return f"{kind}+{name}://{rest}"
    raise MissingExtraError(f"{_NAMES[kind]} needs a driver: pip install 'thalweg[{kind}]'")


def _open(url: str) -> Any:
    """Return Optuna's storage, whose tables it makes where there are none."""
    import optuna
    from sqlalchemy.exc import DatabaseError, IntegrityError

    for left in range(OPENINGS - 1, -1, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return optuna.storages.RDBStorage(url)
        except DatabaseError as error:
            # Another process is making the same tables.
            made = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not made or not left:
                raise
            time.sleep(OPENING_PAUSE_SECONDS)
    return None
