"""What the gate reads, made by hand: a report of one or more domains, and all that has to agree with it."""

from __future__ import annotations

from typing import Any

from modit.release.gate.champion import NONE, READY, Champion
from modit.release.gate.gate import Evidence, judge
from modit.release.gate.servability import CHECKS
from modit.release.kinds import OF_SEEDS
from modit.release.params import GateParams

PARITY = {"status": "passed", "tolerance": 1e-4, "greatest_difference": 2e-6}
SAMPLER = {
    "model_digest": "a" * 64,
    "readout_digest": "9" * 64,
    "sampler_digest": "b" * 64,
    "index_digest": "c" * 64,
}
STAGE = {"second_stage_digest": "8" * 64}
FIRST = Champion(NONE, "no version of modit-drama has the alias champion")
CHAMPION = Champion(READY, None, "modit-drama", 3, "/runs/old", "d" * 64, "e" * 64, lost_items=0.0)
AVERAGE_GAIN, CHAMPION_GAIN = "HPPO + rerank - Average pooling", "HPPO + rerank - Champion"
GAINS = {AVERAGE_GAIN: 0.1, "HPPO - MO-DiT": 0.03, "HPPO - best classical": 0.01, CHAMPION_GAIN: 0.03}
GAINS |= {"HPPO + rerank - best two-stage": 0.01}
HALF = 0.02
NOTHING = {"pattern_low": None, "pattern_high": None}


def interval(mean: float, half: float = HALF, patterns: int = 6) -> dict[str, Any]:
    """Symmetric over patterns, a tenth as wide over cases; fewer than five patterns have no interval."""
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    over_patterns = {"pattern_low": low, "pattern_high": high} if patterns >= 5 else NOTHING
    over_cases = {"case_low": mean - half / 10, "case_high": mean + half / 10}
    return {"mean": mean, "patterns": patterns} | over_patterns | over_cases


def a_slice(name: str, cases: int, joint: float = 0.0, same: float = 0.0, half: float = HALF) -> dict[str, Any]:
    """An entry of `slices`."""
    figures = {"cases": cases, "difference": {"joint": interval(joint, half), "same": interval(same, half)}}
    return {"name": name} | (figures if cases else {"cases": 0, "reason": "no case belongs to it"})


def split(champion: bool = False, same: float = 0.0, half: float = HALF, **gains: float) -> dict[str, Any]:
    """A split whose HPPO has a Joint of 0.5, with gains over other rows by the comparison's name."""
    gains = {name: value for name, value in (GAINS | gains).items() if champion or name != CHAMPION_GAIN}
    rows = {"HPPO": (0.5, 0.9), "MO-DiT": (0.5 - gains["HPPO - MO-DiT"], 0.9)}
    rows["Average pooling"] = (0.52 - gains[AVERAGE_GAIN], 0.98)
    rows["Rocchio"] = (0.5 - gains["HPPO - best classical"], 0.9)
    if champion:
        rows["Champion"] = (0.52 - gains[CHAMPION_GAIN], 0.88 - same)
    rows["HPPO + rerank"] = (0.52, 0.88)
    rows["Rocchio + rerank"] = (0.52 - gains["HPPO + rerank - best two-stage"], 0.9)
    against = {AVERAGE_GAIN: "Average pooling", "HPPO - MO-DiT": "MO-DiT", CHAMPION_GAIN: "Champion"}
    against |= {"HPPO + rerank - best two-stage": "Rocchio + rerank"}

    def same_of(comparison: str) -> float:
        return rows["HPPO + rerank" if "rerank" in comparison else "HPPO"][1]

    compared = [
        {
            "name": name,
            "joint": interval(mean, half),
            "same": interval(same_of(name) - rows[against.get(name, "Rocchio")][1], half / 4),
        }
        for name, mean in gains.items()
    ]
    return {
        "cases": 300,
        "rows": [{"name": name, "joint": joint, "same": same} for name, (joint, same) in rows.items()],
        "best_classical": {"test": "Rocchio", "validation": "Rocchio", "two_stage": "Rocchio + rerank"},
        "comparisons": compared,
        "slices_against": "Champion" if champion else "Average pooling",
        "slices": [
            a_slice("head patterns", 180),
            a_slice("tail patterns", 120),
            a_slice("new items", 40 if champion else 0),
            a_slice("few seeds", 300),
        ],
    }


def evidence(domain: str = "drama", champion: Champion = FIRST, **splits: dict[str, Any]) -> Evidence:
    """A domain that passes, but for the splits that are given."""
    ready = champion.status == READY
    measured = {
        "candidate": SAMPLER["model_digest"],
        "candidate_readout": SAMPLER["readout_digest"],
        "candidate_second_stage": STAGE["second_stage_digest"],
        "champion": champion.facts,
        "catalog": {"index_digest": SAMPLER["index_digest"]},
        "splits": {"item_holdout": split(ready), "pattern_holdout": split(ready)} | splits,
    }
    trial = {name: SAMPLER[name] for name in ("sampler_digest", "index_digest")} | STAGE
    checks = [
        {"name": name, "holds": True, "sentence": f"{name} is as it should be"} for name in CHECKS[OF_SEEDS.retriever]
    ]
    return Evidence(
        domain,
        measured,
        SAMPLER,
        champion,
        trial | {"checks": checks, "budgets": {"p99_ms": 250.0}},
        PARITY,
    )


def verdict_of(*found: Evidence, skipped: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    """The verdict on some domains."""
    return judge(found, skipped or {}, GateParams(**params))


def reasons_of(found: Evidence, **params: Any) -> list[str]:
    """Why the one domain passes or fails."""
    return verdict_of(found, **params)["domains"][found.domain]["reasons"]
