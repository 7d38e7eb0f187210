"""Names of rows and comparisons, as `evaluation.json` has them."""

from __future__ import annotations

PRETRAINED, CONTINUED, SFT, POLICY = "Pre. GR", "CPT only", "MO-DiT", "HPPO"
STAGES = (PRETRAINED, CONTINUED, SFT, POLICY)
# What HPPO's served query is made of, each part by itself.
NETWORK, VOTE = f"{POLICY}, network alone", f"{POLICY}, vote alone"
# Of a domain that is added to a run: what its verdicts gave before anything was trained for it.
UNTRAINED = "Before training"
AVERAGE, CHAMPION = "Average pooling", "Champion"
# What callers get where nothing is said of it: HPPO's list, reranked where the second stage is on.
SERVED = f"{POLICY} + rerank"
# The same from the site's own engine, where the catalogue was staged into one.
FROM_ENGINE = f"{SERVED}, from the engine"
FIXED_MOVE, LOCAL_FEEDBACK = "Fixed move", "Local feedback"
FILTER = "Filter on all verdicts"
AGAINST_SFT, SFT_GAIN = f"{POLICY} - {SFT}", f"{SFT} - {PRETRAINED}"
AGAINST_CLASSICAL, AGAINST_VALIDATED = f"{POLICY} - best classical", f"{POLICY} - best classical by validation"
AGAINST_AVERAGE = f"{POLICY} - {AVERAGE}"
SERVED_AGAINST_AVERAGE, AGAINST_CHAMPION = f"{SERVED} - {AVERAGE}", f"{SERVED} - {CHAMPION}"
AGAINST_UNTRAINED = f"{POLICY} - {UNTRAINED}"
ENGINE_COST = f"{FROM_ENGINE} - {SERVED}"
AGAINST_TWO_STAGE = f"{SERVED} - best two-stage"


def reranked(row: str) -> str:
    """The name of a row whose lists are reranked."""
    return f"{row} + rerank"


def against(row: str) -> str:
    """The name of the comparison of HPPO with a row."""
    return f"{POLICY} - {row}"
