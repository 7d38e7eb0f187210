"""Airflow's REST API, as a person or a program uses it: runs are started, reviews answered, tasks cleared."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

# Seconds; a loaded machine of two cores needs them.
JOB, HEARD = 2700, 10
Tasks = dict[tuple[str, int], str]


class Airflow:
    """An API server."""

    def __init__(self, url: str) -> None:
        """Args: its `url`."""
        self.url, self.token = url, ""

    def sign_in(self, password: str, user: str = "admin") -> None:
        """Takes a token; the right words are refused while there is no such user yet."""
        login = {"username": user, "password": password}
        self.token = self.call("POST", "/auth/token", login)[1].get("access_token", "")

    def call(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def start(self, dag: str, **conf: Any) -> Run:
        """Starts a run, which must be taken."""
        path = f"/api/v2/dags/{dag}"
        assert self.call("PATCH", path, {"is_paused": False})[0] == 200
        status, answer = self.call("POST", f"{path}/dagRuns", {"logical_date": None, "conf": conf})
        assert status == 200, answer
        return Run(self, dag, answer["dag_run_id"])


class Run:
    """A run of a DAG."""

    def __init__(self, server: Airflow, dag: str, name: str) -> None:
        self.server, self.dag, self.name = server, dag, name
        self.path = f"/api/v2/dags/{dag}/dagRuns/{name}"

    @property
    def state(self) -> str:
        return self.server.call("GET", self.path)[1]["state"]

    @property
    def tasks(self) -> Tasks:
        """State of each task by name and index."""
        found = self.server.call("GET", f"{self.path}/taskInstances?limit=100")[1]["task_instances"]
        return {(task["task_id"], task["map_index"]): task["state"] for task in found}

    def of(self, name: str) -> list[str]:
        """States of a mapped task, by index."""
        return [state for (task, index), state in sorted(self.tasks.items()) if task == name and index >= 0]

    def wait_for(self, condition: Callable[[], bool], seconds: float = JOB) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.state, self.tasks)
            time.sleep(5)

    def wait_for_reviews(self) -> None:
        """Until every review waits for an answer, or the run is over without any."""
        self.wait_for(
            lambda: self.over or (self.of("release.review") and set(self.of("release.review")) == {"awaiting_input"})
        )
        assert set(self.of("release.review")) == {"awaiting_input"}, self.tasks
        # Airflow 3.3.2 fails a task that is answered before its scheduler has heard that the worker left it.
        time.sleep(HEARD)

    @property
    def over(self) -> bool:
        return self.state in ("success", "failed")

    def review(self, index: int) -> dict:
        """What a reviewer sees."""
        return self.server.call("GET", f"{self.path}/taskInstances/release.review/{index}/hitlDetails")[1]

    def answer(self, index: int, option: str) -> int:
        body = {"chosen_options": [option], "params_input": {}}
        return self.server.call("PATCH", f"{self.path}/taskInstances/release.review/{index}/hitlDetails", body)[0]

    def mark_review(self, index: int, state: str) -> int:
        """Sets the state of a review by hand, as Airflow's page can."""
        path = f"{self.path}/taskInstances/release.review/{index}"
        return self.server.call("PATCH", path, {"new_state": state})[0]

    def clear(self, *tasks: str | list) -> None:
        """Runs tasks again; a mapped one is [name, index]."""
        body = {"dry_run": False, "dag_run_id": self.name, "task_ids": list(tasks), "only_failed": False}
        status, answer = self.server.call("POST", f"/api/v2/dags/{self.dag}/clearTaskInstances", body)
        assert status == 200, answer
