"""All that the service needs to load releases and to answer from them.

The service imports this module before it loads its first release, and not earlier: FAISS, ONNX Runtime, Arrow and
DuckDB, which come with it, take more memory than all the rest of a service that has no release. A release that answers
has been loaded with it, so that no request waits for an import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modit.index.exact import search_threads
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import FanOutRelease, NextItemRelease, Release, SearchRelease, SeedsRelease
from modit.release.untrained_release import make_untrained_release, sha256_of_verdicts
from modit.serve import explore
from modit.serve.fan_out import FanOutTask
from modit.serve.feature_seeds import FeatureSeeds
from modit.serve.recommend import RecommendTask
from modit.serve.request_log import LoggedRequest, RequestLog
from modit.serve.retrieve import RetrieveTask
from modit.serve.search import SearchTask
from modit.serve.settings import Limits
from modit.serve.tasks import Task

__all__ = [
    "LoggedRequest",
    "RequestLog",
    "explore",
    "load_release",
    "make_tasks",
    "make_untrained_release",
    "search_threads",
    "sha256_of_verdicts",
]


def make_tasks(limits: Limits, features: FeatureSeeds | None) -> Mapping[type[Release], Task[Any, Any, Any, Any]]:
    """The task that each type of release answers.

    Args:
        limits: of a request.
        features: the online store that seeds are read from first; None reads them from the bundle.
    """
    return {
        SeedsRelease: RetrieveTask(limits, features),
        NextItemRelease: RecommendTask(limits),
        SearchRelease: SearchTask(limits),
        FanOutRelease: FanOutTask(limits),
    }
